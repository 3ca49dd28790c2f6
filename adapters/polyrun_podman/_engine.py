"""The Podman engine: its own API where the Docker-compatible one is slower or says something else."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from polyrun import (
    Capabilities,
    Conflict,
    Container,
    ContainerNotFound,
    EngineError,
    ImageNotFound,
    InUse,
    InvalidArgument,
    NetworkNotFound,
    NotRunning,
    PolyrunError,
    Reference,
    Unsupported,
)
from polyrun.adapter import EngineRuntime, ExecOutcome, shown, start_failed, start_failure
from polyrun.adapter.http import (
    CompatEngine,
    Failure,
    HttpClient,
    diagnosed,
    failure,
    health,
    image_name,
    inspected_image,
    label_filters,
    labels,
    listed_image,
    made,
    moment,
    ports,
    probe,
    reading,
    segment,
    state,
    unix_pool,
)
from polyrun_podman import _endpoint
from polyrun_podman._create import create_body

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from polyrun import CheckReport, ContainerSpec, Health, Image, Runtime
    from polyrun.adapter import ByteStream, ExecRequest, Execution, ImageDetail, ProcessStream, StreamName
    from polyrun.adapter.http import Endpoint, Reply

# Whether the answers say "container state improper" because it does not run, or because it does.
_MUST_RUN = r"can only kill running|can only create exec|exec sessions on running|is not running"

_EXEC_FAILURE = re.compile(
    rb"Error: (.*: OCI (?:runtime attempted to invoke a command that was not found|permission denied|runtime error))\n"
    rb"(?:Error: read unixpacket .*\n)?$"
)

_INITS = ("/usr/libexec/podman/catatonit", "/usr/local/libexec/podman/catatonit", "/usr/lib/podman/catatonit")

_VANISHED = 10
"""How often a list is tried in which an image vanished."""


def open_runtime(url: str | None, timeout: float) -> Runtime:
    """Connect to the service at *url*, or where Podman's own rules lead."""
    return EngineRuntime(PodmanEngine(_endpoint.find(url), timeout))


class PodmanEngine(CompatEngine):
    """Podman 4.3 and newer."""

    failures: ClassVar[tuple[Failure, ...]] = (
        Failure(None, r"no such container|no container with", ContainerNotFound),
        Failure(None, r"no such exec session", ContainerNotFound),
        Failure(None, r"image not known|no such image", ImageNotFound),
        Failure(None, r"network not found", NetworkNotFound),
        Failure(None, r"name .* is already in use|name is already in use", Conflict),
        Failure(None, r"image is in use|image used by|volume is being used|network is being used", InUse),
        Failure(None, _MUST_RUN, NotRunning),
        Failure(None, r"by ID with more than one tag|more than one tag", Conflict),
        Failure(None, r"can not pause containers on rootless", Unsupported),
        Failure(None, r"container state improper", Conflict),
        Failure(None, r"keep-id is only supported in rootless", Unsupported),
        Failure(None, r"container-init binary not found", Unsupported),
        Failure(
            None,
            r"no command or entrypoint|invalid argument|unknown capability|invalid signal|names must match",
            InvalidArgument,
        ),
        Failure(None, r"statfs .*: no such file|stat /.*: no such file|no secret with name", InvalidArgument),
        Failure(409, r"paused", NotRunning),
        Failure(409, r"", Conflict),
        Failure(400, r"", InvalidArgument),
    )

    def __init__(self, endpoint: Endpoint, timeout: float) -> None:
        self._endpoint = endpoint
        label = f"podman+{endpoint.url}"
        super().__init__(
            HttpClient(lambda: unix_pool(endpoint.path), engine=label, timeout=timeout, broken=self._broken),
            name="podman",
            url=label,
            host_address="127.0.0.1",
        )
        headers = self._greet(_endpoint.WORDS)
        self._api = f"/v{headers.get('api-version', '1.41')}"
        # Its own API has to be versioned; any version up to its own is accepted.
        self._libpod = f"/v{headers.get('libpod-api-version', '4.0.0')}/libpod"

    def _broken(self, cause: BaseException) -> PolyrunError:
        return failure(diagnosed(self._endpoint, _endpoint.WORDS, cause), cause)

    def _find_capabilities(self) -> Capabilities:
        # Takes the engine a quarter of a second, so only when somebody asks.
        info = self._own("GET", "/info", "the engine's capabilities").json()
        with reading("its capabilities", self._label):
            host = info["host"]
            rootless = bool(host.get("security", {}).get("rootless"))
            v2 = host.get("cgroupVersion") == "v2"
            return Capabilities(
                # Rootless on cgroup v1 there is no freezer to use, and limits are ignored with a warning.
                pause=v2 or not rootless,
                limits=not rootless or (v2 and "memory" in (host.get("cgroupControllers") or ())),
                # Where its init is on this machine; the engine has the last word at a create.
                init=any(Path(path).exists() for path in _INITS),
                host_gateway=False,
                keep_id=rootless,
                secrets=True,
                # Its attach returns at the first error of the input (seen on 4.3.1).
                unread_input=False,
                # Its timers are systemd's.
                schedules_health=Path("/run/systemd/system").is_dir(),
            )

    def check(self) -> CheckReport:
        """Ping, and then ask for a list: a ping can be allowed where a list is not."""
        report, _ = probe(self._endpoint, _endpoint.WORDS)
        return _endpoint.finish(report, self)

    def _own(
        self,
        method: str,
        path: str,
        what: str,
        query: Mapping[str, object] | None = None,
        *,
        body: object = None,
        missing: type[ContainerNotFound | ImageNotFound] | None = None,
        timeout: float | None = None,
    ) -> Reply:
        """Send a request of Podman's own API."""
        return self._http.request(
            method, self._libpod + path, query=query, body=body, fail=self._fail(what, missing), timeout=timeout
        )

    # Images

    def qualified(self, reference: str) -> str:
        """Return the full name; one without a registry is ``localhost/…``, as for ``podman build -t``.

        The compatible API would call it ``docker.io/library/…``.
        """
        name = Reference.parse(reference)
        if name.qualified:
            return str(name)
        return f"localhost/{name.repository.removeprefix('library/')}:{name.tag}"

    def local(self, image: str) -> str:
        """Return an id without ``sha256:``, before which a short one is not found."""
        return image.removeprefix("sha256:")

    def images(self) -> Sequence[Image]:
        """List images."""
        for attempt in range(_VANISHED):
            try:
                rows = self._own("GET", "/images/json", "the images").json()
                with reading("the images", self._label):
                    return [listed_image(row) for row in rows or ()]
            except ImageNotFound:
                # An image that vanishes while it is listed fails the whole list here.
                if attempt == _VANISHED - 1:
                    raise
        return []

    def image(self, image: str) -> ImageDetail:
        """Return one image."""
        path = f"/images/{segment(self.local(image))}/json"
        raw = self._own("GET", path, f"image {image}", missing=ImageNotFound).json()
        with reading(f"image {image}", self._label):
            return inspected_image(raw)

    def tag(self, image: str, reference: str) -> None:
        """Add a reference."""
        name = Reference.parse(self.qualified(reference))
        self._own(
            "POST",
            f"/images/{segment(self.local(image))}/tag",
            f"tag {image} as {reference}",
            {"repo": name.name, "tag": name.tag},
            missing=ImageNotFound,
        )

    def rmi(self, image: str) -> None:
        """Remove an image or a reference."""
        self._own(
            "DELETE",
            f"/images/{segment(self.local(image))}",
            f"rmi {image}",
            missing=ImageNotFound,
        )

    # Containers

    def create(self, spec: ContainerSpec) -> str:
        """Make a container; what this engine would ignore in silence is refused."""
        if spec.gpus is not None:
            # Ignored in silence up to Podman 5.4.
            raise Unsupported(
                "Podman cannot do gpus= over its API",
                capability="gpus",
                engine=self._label,
                hint='Use its device names: devices=["nvidia.com/gpu=all"].',
            )
        if "host-gateway" in spec.extra_hosts.values():
            # Written to /etc/hosts as it is, where it is no address.
            raise Unsupported(
                "Podman does not know host-gateway",
                capability="host_gateway",
                engine=self._label,
                hint="The host has a name in every container of Podman: host.containers.internal.",
            )
        fail = self._fail(f"create {spec.name}", ImageNotFound)

        def failed(reply: Reply) -> PolyrunError:
            error = fail(reply)
            if isinstance(error, Unsupported):
                error.capability = "init" if "init binary" in error.message else "keep_id"
            return error

        body = create_body(spec, self.local(spec.image))
        reply = self._http.request("POST", f"{self._libpod}/containers/create", body=body, fail=failed).json()
        return made(reply, self._label)

    def containers(self, *, all: bool, labels: Mapping[str, str]) -> Sequence[Container]:
        """List containers over its own API, whose list has exit code and health."""
        filters = label_filters(labels)
        if not all:
            # Without all it leaves out the paused ones; it has no state of restarting.
            filters["status"] = ["running", "paused"]
        rows = self._own("GET", "/containers/json", "the containers", {"all": True, "filters": filters}).json()
        with reading("the containers", self._label):
            return [_listed(row) for row in rows or ()]

    def stop(self, container: str, timeout: float) -> None:
        """Stop; a paused container is a failure here, so it is let go on first."""
        try:
            super().stop(container, timeout)
        except (Conflict, NotRunning, EngineError):
            if self.container(container).container.state != "paused":
                raise
            self.unpause(container)
            super().stop(container, timeout)

    def pause(self, container: str) -> None:
        """Freeze; the engine says "not running" of a paused container too."""
        try:
            super().pause(container)
        except Unsupported as error:
            error.capability = "pause"
            raise
        except NotRunning as error:
            if self.container(container).container.state == "paused":
                raise Conflict(f"pause {shown(container)}: it is paused", engine=self._label) from error
            raise

    def rm(self, container: str, *, force: bool, volumes: bool) -> None:
        """Remove; force alone would wait ten seconds for the stop signal, with no timeout it is a tenth of one."""
        self._own(
            "DELETE",
            f"/containers/{segment(container)}",
            f"rm {shown(container)}",
            # Here it is "volumes"; "v" is the compatible API's, and ignored.
            {"force": force or None, "timeout": 0 if force else None, "volumes": volumes or None},
            missing=ContainerNotFound,
        )

    def wait(self, container: str, timeout: float | None) -> int:
        """Wait; its own default looks every quarter of a second only."""
        path = f"/containers/{segment(container)}/wait"
        query = {"interval": "5ms"}
        reply = self._held(
            timeout,
            lambda limit: self._own(
                "POST", path, f"wait {shown(container)}", query, missing=ContainerNotFound, timeout=limit
            ),
        )
        with reading("a wait", self._label):
            code = int(reply.json())
        if code < 0:
            raise EngineError(f"wait {shown(container)}: the engine knows no exit code", engine=self._label)
        return code

    def health(self, container: str, timeout: float) -> Health | None:
        """Run the health check and return what it found: without systemd nobody else runs it."""
        reply = self._own(
            "GET",
            f"/containers/{segment(container)}/healthcheck",
            f"health check of {shown(container)}",
            missing=ContainerNotFound,
            timeout=max(0.1, timeout),
        )
        return health(reply.json().get("Status"))

    def attach(self, container: str, *, stdin: bool, tty: bool) -> ProcessStream:
        """Attach, which prepares the process here: what would fail at the start fails already now."""
        try:
            return super().attach(container, stdin=stdin, tty=tty)
        except PolyrunError as error:
            if "preparing container" not in error.message:
                raise
            raise start_failed(f"container {shown(container)}", error.message, self._label) from error

    def exec(self, container: str, request: ExecRequest) -> Execution:
        """Start a further process; an unknown user is an HTTP failure here, and a result for the caller."""
        try:
            return super().exec(container, request)
        except EngineError as error:
            text, code = error.message, start_failure(error.message)
            if code[0] == "other":
                raise
            return _NotStarted(start_failed("the command", text, "").exit_code, text)

    def _exec_failure(self, stream: StreamName, text: bytes) -> str | None:
        """Return the reason, which this engine writes to standard error, with a second line of its own."""
        found = _EXEC_FAILURE.match(text) if stream == "stderr" else None
        return found.group(1).decode("utf-8", "replace").strip() if found else None

    # It joins such a line to the one before.
    _cuts_tails: ClassVar[bool] = False

    def _deaths_of(self, container: str) -> Callable[[], ByteStream]:
        """Return what opens a stream of a container's deaths, after which this engine's follow drops lines."""
        return lambda: self._http.stream(
            "GET",
            f"{self._libpod}/events",
            query={"stream": True, "filters": {"container": [container], "event": ["died"]}},
            fail=self._fail("the events"),
        )

    def kill(self, container: str, signal: str) -> None:
        """Send a signal; to a paused container it would not get, so that goes on first, as on Docker."""
        if self.container(container).container.state == "paused":
            self.unpause(container)
        super().kill(container, signal)


class _NotStarted:
    """A further process that there never was."""

    def __init__(self, code: int, text: str) -> None:
        self._outcome = ExecOutcome(exit_code=code, raw_exit_code=125, failure=text)

    def read(self, timeout: float | None = None) -> tuple[StreamName, bytes] | None:  # noqa: ARG002
        return None

    def write(self, data: bytes) -> None:
        """Take what nobody reads."""

    def end_input(self) -> None:
        """End what nobody reads."""

    def close(self) -> None:
        """Close nothing."""

    def outcome(self) -> ExecOutcome:
        return self._outcome


def _listed(row: Mapping[str, Any]) -> Container:
    now = state(row["State"])
    created = moment(row["Created"])
    assert created is not None  # noqa: S101  # every container has a time of creation
    return Container(
        id=row["Id"],
        name=row["Names"][0],
        image=image_name(row["Image"], row.get("Labels")),
        state=now,
        created=created,
        exit_code=row["ExitCode"] if row["Exited"] and now == "exited" else None,
        ports=ports(_port_rows(row.get("Ports") or ())) if now in ("running", "paused") else (),
        labels=labels(row.get("Labels")),
        health=health(row.get("Status")),
    )


def _port_rows(rows: Iterable[Mapping[str, Any]]) -> Iterable[tuple[int, str, str, int]]:
    for row in rows:
        # Neighbouring ports are one row with a range.
        for step in range(row.get("range") or 1):
            yield row["container_port"] + step, row["protocol"], row["host_ip"], row["host_port"] + step
