"""From the JSON of the Docker-compatible API to polyrun's values; both engines speak it."""

from __future__ import annotations

import re
from contextlib import contextmanager
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any, cast

from polyrun import Container, EngineError, Image, PolyrunError, Port
from polyrun.adapter._engine import ContainerDetail, ImageDetail
from polyrun.adapter._naming import CALL_LABEL, IMAGE_LABEL, familiar

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Mapping

    from polyrun import Health, Json, State

# Podman shows "stopped" until its cleanup has run, and libpod says "initialized" and "configured"
# where the compatible API says "created".
_STATES: dict[str, State] = {
    "created": "created",
    "configured": "created",
    "initialized": "created",
    "running": "running",
    "stopping": "running",
    "paused": "paused",
    "restarting": "restarting",
    "removing": "removing",
    "stopped": "exited",
    "exited": "exited",
    "dead": "dead",
}

_ENDED = ("exited", "dead")
_HEALTH: tuple[Health, ...] = ("starting", "healthy", "unhealthy")


@contextmanager
def reading(what: str, engine: str) -> Generator[None]:
    """Turn what goes wrong with an answer that is not as it should be into an `EngineError`."""
    try:
        yield
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        if isinstance(error, PolyrunError):
            raise
        problem = f"{type(error).__name__}: {error}"
        raise EngineError(f"the answer about {what} cannot be read: {problem}", engine=engine) from error


def made(raw: Mapping[str, Any], engine: str) -> str:
    """Return the id of what was made."""
    with reading("what it made", engine):
        return str(raw["Id"])


def state(word: str) -> State:
    """Return the engine's word for a state as polyrun's."""
    return _STATES.get(word.lower(), "unknown")


def health(word: Any) -> Health | None:
    """Return a health; the ``""`` and ``none`` of a container without a health check are ``None``."""
    return word if word in _HEALTH else None


def moment(text: str | float | None) -> datetime | None:
    """Return an aware time in UTC; the year 1 is how Go writes that there is none."""
    if not text:
        return None
    if isinstance(text, (int, float)):
        return datetime.fromtimestamp(text, timezone.utc) if text > 0 else None
    found = re.fullmatch(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d+))?(Z|[+-]\d\d:\d\d)", text)
    if not found or text.startswith("0001-"):
        return None
    seconds, fraction, zone = found.groups()
    offset = "+00:00" if zone == "Z" else zone
    return datetime.fromisoformat(f"{seconds}.{(fraction or '0')[:6]:0<6}{offset}").astimezone(timezone.utc)


_HIDDEN = frozenset({CALL_LABEL, "io.buildah.version"})


def labels(found: Mapping[str, str] | None) -> dict[str, str]:
    """Return labels without polyrun's own of the call, and the one that Podman's builder adds to every image."""
    return {name: value for name, value in (found or {}).items() if name not in _HIDDEN}


def label_filters(wanted: Mapping[str, str]) -> dict[str, list[str]]:
    """Return the filters of a list for labels; one with ``=`` in its name cannot be asked for, and is not."""
    rows = [f"{name}={value}" for name, value in wanted.items() if "=" not in name]
    return {"label": rows} if rows else {}


def image_name(engine_name: str, found: Mapping[str, str] | None) -> str:
    """Return what the image was called at the creation, for a container that polyrun made."""
    return (found or {}).get(IMAGE_LABEL) or familiar(engine_name)


def ports(rows: Iterable[tuple[int, str, str, int]]) -> tuple[Port, ...]:
    """Return published ports from rows of container port, protocol, address and host port.

    Docker has a row each for ``0.0.0.0`` and ``::``, Podman one with an empty address: one row here.
    """
    found = {
        Port(container, host or None, "" if address == "0.0.0.0" else address, cast("Any", protocol))  # noqa: S104
        for container, protocol, address, host in rows
    }
    any_v4 = {(port.container, port.protocol) for port in found if not port.host_ip}
    return tuple(
        sorted(
            (port for port in found if port.host_ip != "::" or (port.container, port.protocol) not in any_v4),
            key=lambda port: (port.container, port.protocol, port.host_ip, port.host or 0),
        )
    )


def part(raw: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    """Return the object below *key*; one that is missing or null is empty."""
    return cast("Mapping[str, Any]", raw.get(key) or {})


def inspected(raw: Mapping[str, Any]) -> ContainerDetail:
    """Return a container from ``GET /containers/{id}/json``."""
    life, config, host = raw["State"], raw["Config"], raw["HostConfig"]
    now = state(life["Status"])
    finished = moment(life.get("FinishedAt"))
    if now == "exited" and finished is None:
        # Podman's "stopped" before its end is recorded: the exit code is not there yet either.
        now = "running"
    started = moment(life.get("StartedAt"))
    if started and finished:
        # Podman notes the start of a short one after its end.
        started = min(started, finished)
    published = part(part(raw, "NetworkSettings"), "Ports")
    container = Container(
        id=raw["Id"],
        name=raw["Name"].lstrip("/"),
        image=image_name(config["Image"], config.get("Labels")),
        state=now,
        created=cast("datetime", moment(raw["Created"])),
        started=started,
        finished=finished,
        # An exit code counts once the end is recorded: Podman shows 0 for what never started.
        exit_code=life["ExitCode"] if now in _ENDED and finished else None,
        ports=ports(_rows(published)) if now in ("running", "paused") else (),
        labels=labels(config.get("Labels")),
        # Podman has a Health with an empty Status where there is no health check.
        health=health((part(life, "Health") or part(life, "Healthcheck")).get("Status")),
    )
    test: list[str] = part(config, "Healthcheck").get("Test") or []
    return ContainerDetail(
        container=container,
        call=part(config, "Labels").get(CALL_LABEL),
        tty=bool(config.get("Tty")),
        has_health=bool(test) and test[0] != "NONE",
        memory=host.get("Memory") or None,
        cpus=_cpus(host),
        pids=host.get("PidsLimit") or None,
        env=tuple(_values(config.get("Env") or ())),
        requested_ports=tuple(sorted(name for name, rows in part(host, "PortBindings").items() if rows)),
    )


# What every container has, and no secret is in.
_PLAIN = frozenset({"PATH", "HOME", "HOSTNAME", "TERM", "LANG", "container"})


def _values(env: Iterable[str]) -> Iterable[str]:
    pairs = (line.partition("=") for line in env)
    return (value for name, _, value in pairs if name not in _PLAIN)


def _cpus(host: Mapping[str, Any]) -> float | None:
    if host.get("NanoCpus"):
        return float(host["NanoCpus"]) / 1e9
    if host.get("CpuQuota") and host.get("CpuPeriod"):
        return float(host["CpuQuota"]) / float(host["CpuPeriod"])
    return None


def _rows(published: Mapping[str, Any]) -> Iterable[tuple[int, str, str, int]]:
    for name, bindings in published.items():
        number, _, protocol = name.partition("/")
        for binding in bindings or ():
            yield int(number), protocol or "tcp", binding.get("HostIp") or "", int(binding.get("HostPort") or 0)


def listed_image(raw: Mapping[str, Any]) -> Image:
    """Return an image from a row of ``GET /images/json`` or from ``GET /images/{name}/json``."""
    found: Mapping[str, str] = part(raw, "Labels") or part(part(raw, "Config"), "Labels")
    identifier = raw["Id"]
    return Image(
        id=identifier if identifier.startswith("sha256:") else f"sha256:{identifier}",
        # A dangling image is ["<none>:<none>"] on Docker and null on Podman.
        tags=tuple(sorted(familiar(tag) for tag in raw.get("RepoTags") or () if not tag.startswith("<none>"))),
        created=moment(raw.get("Created")),
        size=raw.get("Size") or 0,
        labels=labels(found),
    )


def inspected_image(raw: Mapping[str, Any]) -> ImageDetail:
    """Return an image from ``GET /images/{name}/json``."""
    return ImageDetail(
        image=listed_image(raw),
        os=raw.get("Os") or "linux",
        arch=raw.get("Architecture") or "",
        variant=raw.get("Variant") or "",
    )


def merged(body: dict[str, Any], extra: Mapping[str, Json]) -> dict[str, Any]:
    """Return *body* with *extra* put into it, level by level."""
    for key, value in extra.items():
        if isinstance(value, dict) and isinstance(body.get(key), dict):
            body[key] = merged(body[key], cast("Mapping[str, Json]", value))
        else:
            body[key] = value
    return body
