"""The Docker engine: where it differs from the Docker-compatible API that Podman answers too."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, ClassVar

from polyrun import (
    Capabilities,
    Conflict,
    Container,
    ContainerNotFound,
    ImageNotFound,
    InUse,
    InvalidArgument,
    NetworkNotFound,
    NotRunning,
    Reference,
    StartFailed,
    Unsupported,
)
from polyrun.adapter import EngineRuntime, familiar, start_failed
from polyrun.adapter.http import (
    CompatEngine,
    Failure,
    HttpClient,
    diagnosed,
    failure,
    health,
    image_name,
    label_filters,
    labels,
    made,
    moment,
    ports,
    probe,
    reading,
    reason,
    segment,
    state,
    unix_pool,
)
from polyrun_docker import _endpoint
from polyrun_docker._create import create_body

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from polyrun import CheckReport, ContainerSpec, PolyrunError, Runtime
    from polyrun.adapter import StreamName
    from polyrun.adapter.http import Endpoint, Reply

# The newest API that was tried with this adapter, and what every engine from 20.10 on speaks.
_NEWEST, _OLDEST = (1, 52), (1, 41)

_NETWORK_MODES = frozenset({"default", "bridge", "host", "none"})

# How Status tells an exit code and a health: "Exited (3) 5 minutes ago", "Up 2 hours (healthy)".
_EXITED = re.compile(r"Exited \((\d+)\)")
_EXEC_FAILURE = re.compile(rb"OCI runtime exec failed: .*|unable to find (?:user|group) .*")
_HEALTH = re.compile(r"\((?:health: )?(starting|healthy|unhealthy)\)")


def open_runtime(url: str | None, timeout: float) -> Runtime:
    """Connect to the engine at *url*, or where Docker's own rules lead."""
    return EngineRuntime(DockerEngine(_endpoint.find(url), timeout))


class DockerEngine(CompatEngine):
    """Docker Engine, API 1.41 and newer."""

    failures: ClassVar[tuple[Failure, ...]] = (
        Failure(404, r"no such container", ContainerNotFound),
        Failure(404, r"no such image", ImageNotFound),
        Failure(404, r"network .* not found|no such network", NetworkNotFound),
        # A container whose removal has begun answers 409 to everything.
        Failure(409, r"marked for removal|dead or|removal of container .* is already in progress", ContainerNotFound),
        Failure(409, r"is not running|is paused, unpause|container .* is paused", NotRunning),
        Failure(409, r"container name .* is already in use", Conflict),
        Failure(409, r"used by|is using|in use|dependent child images", InUse),
        Failure(409, r"", Conflict),
        Failure(403, r"endpoints", InUse),
        # Unpausing what is not paused is a 500.
        Failure(500, r"is not paused", Conflict),
        Failure(500, r"could not select device driver", Unsupported),
        Failure(500, r"not a directory", InvalidArgument),
        Failure(400, r"", InvalidArgument),
    )

    def __init__(self, endpoint: Endpoint, timeout: float) -> None:
        self._endpoint = endpoint
        label = f"docker+{endpoint.url}"
        super().__init__(
            HttpClient(lambda: unix_pool(endpoint.path), engine=label, timeout=timeout, broken=self._broken),
            name="docker",
            url=label,
            host_address="127.0.0.1",
        )
        self._api = f"/v{_negotiated(self._greet(_endpoint.WORDS).get('api-version', ''))}"

    def _broken(self, cause: BaseException) -> PolyrunError:
        report = diagnosed(self._endpoint, _endpoint.WORDS, cause)
        return failure(_endpoint.explain(report), cause)

    def _find_capabilities(self) -> Capabilities:
        raw = self._get("/info", "the engine's capabilities").json()
        with reading("its capabilities", self._label):
            limits = all(raw.get(name) for name in ("MemoryLimit", "CpuCfsQuota", "PidsLimit"))
            return Capabilities(limits=limits, gpus="nvidia" in (raw.get("Runtimes") or {}))

    def check(self) -> CheckReport:
        """Ping, and then ask for a list: a ping can be allowed where a list is not."""
        report, _ = probe(self._endpoint, _endpoint.WORDS)
        return _endpoint.finish(report, self)

    def create(self, spec: ContainerSpec) -> str:
        """Make a container; what this engine would ignore in silence is refused."""
        if spec.userns not in (None, "host"):
            # Anything else is ignored in silence.
            raise self._unsupported(f"userns={spec.userns!r}", "keep_id", "It is a feature of Podman.")
        if spec.secrets:
            raise self._unsupported("secrets", "secrets", "Docker has them for Swarm services only; mount a file.")
        if spec.gpus is not None and not self.capabilities.gpus:
            raise self._unsupported("gpus", "gpus", "Install the NVIDIA container toolkit on the engine's host.")
        if spec.network is not None and spec.network not in _NETWORK_MODES and ":" not in spec.network:
            # The engine would notice it only at the start.
            self._get(f"/networks/{segment(spec.network)}", f"create {spec.name}", missing=NetworkNotFound)
        fail = self._fail(f"create {spec.name}", ImageNotFound)

        def failed(reply: Reply) -> PolyrunError:
            message, _ = reason(reply)
            # What this engine finds at the create, the other finds at the start.
            if "memory limit" in message or "Cannot mkdir" in message:
                return start_failed(f"container {spec.name}", message, self._label)
            return fail(reply)

        selinux = any(mount.relabel for mount in spec.mounts) and self._has_selinux()
        reply = self._http.request(
            "POST",
            f"{self._api}/containers/create",
            query={"name": spec.name, "platform": spec.platform},
            body=create_body(spec, selinux=selinux),
            fail=failed,
        ).json()
        return made(reply, self._label)

    def _has_selinux(self) -> bool:
        raw = self._get("/info", "the engine's security options").json()
        return any("name=selinux" in option for option in raw.get("SecurityOptions") or ())

    def _unsupported(self, what: str, capability: str, hint: str) -> Unsupported:
        return Unsupported(f"Docker cannot do {what} here", capability=capability, engine=self._label, hint=hint)

    def start(self, container: str) -> None:
        """Start; a network that does not exist is noticed only here."""
        try:
            super().start(container)
        except StartFailed as error:
            if "could not select device driver" in error.message:
                raise self._unsupported("gpus", "gpus", "") from error
            raise

    def _exec_failure(self, stream: StreamName, text: bytes) -> str | None:
        """Return the reason, which this engine writes to the process's standard output."""
        found = _EXEC_FAILURE.match(text) if stream == "stdout" else None
        return found.group().decode("utf-8", "replace").strip() if found else None

    def containers(self, *, all: bool, labels: Mapping[str, str]) -> Sequence[Container]:
        """List containers in one request; the rest of what is known stands in ``Status``."""
        filters = label_filters(labels)
        rows = self._get("/containers/json", "the containers", {"all": all or None, "filters": filters or None}).json()
        with reading("the containers", self._label):
            return [_listed(row) for row in rows]

    def qualified(self, reference: str) -> str:
        """Return the reference as Docker keeps it: without ``localhost/``, which Podman puts before its own."""
        return Reference.parse(reference).familiar

    def local(self, image: str) -> str:
        """Return the reference without ``localhost/``."""
        return familiar(image) if image.startswith("localhost/") else image

    def credentials(self, registry: str) -> Mapping[str, str] | None:
        """Return the user's stored credentials for *registry*, as the ``docker`` command would use them."""
        return _endpoint.credentials(registry)


def _negotiated(version: str) -> str:
    """Return the API version to speak: a version in a path that is too new is refused."""
    found = re.fullmatch(r"(\d+)\.(\d+)", version)
    theirs = (int(found[1]), int(found[2])) if found else _OLDEST
    return "{}.{}".format(*min(theirs, _NEWEST))


def _own_name(row: Mapping[str, Any]) -> str:
    """Return a container's own name; it is listed under those of its links as well: "/web/db"."""
    names: list[str] = row["Names"] or []
    return next((name[1:] for name in names if name.count("/") == 1), row["Id"])


def _listed(row: Mapping[str, Any]) -> Container:
    now = state(row["State"])
    exited = _EXITED.match(row["Status"])
    sick = _HEALTH.search(row["Status"])
    created = moment(row["Created"])
    assert created is not None  # noqa: S101  # every container has a time of creation
    return Container(
        id=row["Id"],
        name=_own_name(row),
        image=image_name(row["Image"], row.get("Labels")),
        state=now,
        created=created,
        exit_code=int(exited[1]) if exited else None,
        ports=ports(
            (port["PrivatePort"], port["Type"], port.get("IP") or "", port["PublicPort"])
            for port in row["Ports"] or ()
            if port.get("PublicPort")
        )
        if now in ("running", "paused")
        else (),
        labels=labels(row.get("Labels")),
        health=health(sick[1] if sick else None),
    )
