"""From a `ContainerSpec` to Podman's own create request, a SpecGenerator.

Podman's own API is used for creating because the compatible one changes what was asked: it makes
a folder of a bind mount's missing source, puts writable tmpfs on a read-only root, and looks for
every short name on Docker Hub.
"""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Any

from polyrun import InvalidArgument
from polyrun.adapter.http import merged

if TYPE_CHECKING:
    from polyrun import ContainerSpec, HealthCheck, Limits, Mount

_CPU_PERIOD = 100_000
"""Microseconds; the period that both engines use for a limit in cores."""


def create_body(spec: ContainerSpec, image: str) -> dict[str, Any]:
    """Return the request for *spec*, with what ``extra["podman"]`` adds to it."""
    restart, _, tries = spec.restart.partition(":")
    body: dict[str, Any] = {
        "name": spec.name,
        "image": image,
        # What was typed, so that a list can say it.
        "raw_image_name": spec.image,
        "env": dict(spec.env),
        "labels": dict(spec.labels),
        "terminal": spec.tty,
        "stdin": spec.stdin,
        # Without one, a stop is an immediate SIGKILL on Podman before 4.7.
        "stop_timeout": spec.stop_timeout,
        "restart_policy": restart,
        "restart_tries": int(tries or 0),
        "portmappings": [
            {"container_port": port.container, "host_port": port.host or 0, "host_ip": port.host_ip}
            | {"protocol": port.protocol}
            for port in spec.ports
        ],
        "mounts": [*(_mount(mount) for mount in spec.mounts if mount.type != "volume"), *_tmpfs(spec)],
        "volumes": [_volume(mount) for mount in spec.mounts if mount.type == "volume"],
        "cap_add": list(spec.cap_add),
        "cap_drop": list(spec.cap_drop),
        "devices": [{"path": device} for device in spec.devices],
        "hostadd": [f"{name}:{address}" for name, address in spec.extra_hosts.items()],
        "read_only_filesystem": spec.read_only,
        "init": spec.init,
        "secrets": [{"Source": name} for name in spec.secrets],
        "r_limits": [{"type": name, "soft": soft, "hard": hard} for name, (soft, hard) in spec.ulimits.items()],
        "resource_limits": _limits(spec.limits),
        "command": None if spec.command is None else list(spec.command),
        "entrypoint": None if spec.entrypoint is None else list(spec.entrypoint),
        "hostname": spec.hostname,
        "user": spec.user,
        "work_dir": spec.workdir,
        "create_working_dir": spec.workdir is not None,
        "stop_signal": None if spec.stop_signal is None else _signal(spec.stop_signal),
        "healthconfig": None if spec.health is None else _health(spec.health),
        "userns": None if spec.userns is None else _namespace(spec.userns),
        **_network(spec),
    }
    return merged({key: value for key, value in body.items() if value is not None}, spec.extra.get("podman", {}))


def _network(spec: ContainerSpec) -> dict[str, Any]:
    if spec.network is None:
        return {}
    if spec.network in ("host", "none", "bridge") or ":" in spec.network:
        return {"netns": _namespace(spec.network)}
    return {"netns": {"nsmode": "bridge"}, "networks": {spec.network: {"aliases": list(spec.aliases)}}}


def _namespace(text: str) -> dict[str, str]:
    mode, _, value = text.partition(":")
    return {"nsmode": mode, "value": value}


def _mount(mount: Mount) -> dict[str, Any]:
    if mount.type == "tmpfs":
        return _memory(mount.target, "ro" if mount.read_only else "")
    options = ["rbind", "ro" if mount.read_only else "rw", *([mount.relabel] if mount.relabel else [])]
    return {"type": "bind", "source": mount.source, "destination": mount.target, "options": options}


def _volume(mount: Mount) -> dict[str, Any]:
    options = ["ro" if mount.read_only else "rw", *([mount.relabel] if mount.relabel else [])]
    return {"Name": mount.source, "Dest": mount.target, "Options": options}


def _tmpfs(spec: ContainerSpec) -> list[dict[str, Any]]:
    return [_memory(path, options) for path, options in spec.tmpfs.items()]


def _memory(path: str, options: str) -> dict[str, Any]:
    # Podman would copy what the image has there.
    words = [*(word for word in options.split(",") if word), "notmpcopyup"]
    return {"type": "tmpfs", "source": "tmpfs", "destination": path, "options": words}


def _limits(limits: Limits) -> dict[str, Any] | None:
    if not limits:
        return None
    found: dict[str, Any] = {}
    if limits.memory is not None:
        found["memory"] = {"limit": limits.memory}
    if limits.cpus is not None:
        found["cpu"] = {"period": _CPU_PERIOD, "quota": round(limits.cpus * _CPU_PERIOD)}
    if limits.pids is not None:
        found["pids"] = {"limit": limits.pids}
    return found


def _signal(name: str) -> int:
    try:
        return int(name) if name.isdigit() else signal.Signals[f"SIG{name.upper().removeprefix('SIG')}"]
    except KeyError:
        raise InvalidArgument(f"not a signal: {name!r}", hint='A signal is "TERM" or "SIGTERM".') from None


def _health(check: HealthCheck) -> dict[str, Any]:
    test = ["CMD-SHELL", check.command] if isinstance(check.command, str) else ["CMD", *check.command]
    return {
        "Test": test,
        "Interval": round(check.interval * 1e9),
        "Timeout": round(check.timeout * 1e9),
        "Retries": check.retries,
        "StartPeriod": round(check.start_period * 1e9),
    }
