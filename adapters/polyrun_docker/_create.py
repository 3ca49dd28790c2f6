"""From a `ContainerSpec` to the body of ``POST /containers/create``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from polyrun.adapter.http import merged

if TYPE_CHECKING:
    from polyrun import ContainerSpec, HealthCheck, Mount


def create_body(spec: ContainerSpec, *, selinux: bool) -> dict[str, Any]:
    """Return the request for *spec*, with what ``extra["docker"]`` adds to it.

    Only Binds relabel for SELinux, but they make a folder of a source that is not there, which
    Mounts refuse; so Mounts are used wherever there is nothing to relabel for.
    """
    binds = [mount for mount in spec.mounts if mount.relabel and selinux and mount.type != "tmpfs"]
    mounts = [mount for mount in spec.mounts if mount not in binds and mount.type != "tmpfs"]
    host: dict[str, Any] = {
        "NetworkMode": spec.network or "default",
        "PortBindings": _bindings(spec),
        "Mounts": [_mount(mount) for mount in mounts],
        "Binds": [_bind(mount) for mount in binds],
        "Tmpfs": {**spec.tmpfs, **_memory(spec)},
        "ReadonlyRootfs": spec.read_only,
        "CapAdd": list(spec.cap_add),
        "CapDrop": list(spec.cap_drop),
        "Devices": [_device(device) for device in spec.devices],
        "Ulimits": [{"Name": name, "Soft": soft, "Hard": hard} for name, (soft, hard) in spec.ulimits.items()],
        "ExtraHosts": [f"{name}:{address}" for name, address in spec.extra_hosts.items()],
        "RestartPolicy": _restart(spec.restart),
        "UsernsMode": spec.userns or "",
    }
    if spec.init:
        host["Init"] = True
    if spec.limits.memory is not None:
        host["Memory"] = spec.limits.memory
    if spec.limits.cpus is not None:
        host["NanoCpus"] = round(spec.limits.cpus * 1e9)
    if spec.limits.pids is not None:
        host["PidsLimit"] = spec.limits.pids
    if spec.gpus is not None:
        count = -1 if spec.gpus == "all" else spec.gpus
        host["DeviceRequests"] = [{"Driver": "", "Count": count, "Capabilities": [["gpu"]]}]
    body: dict[str, Any] = {
        "Image": spec.image,
        "Env": [f"{name}={value}" for name, value in spec.env.items()],
        "Labels": dict(spec.labels),
        # A binding for a port that is not exposed is silently not published.
        "ExposedPorts": {f"{port.container}/{port.protocol}": {} for port in spec.ports},
        "Tty": spec.tty,
        "OpenStdin": spec.stdin,
        "StdinOnce": spec.stdin,
        "AttachStdin": spec.stdin,
        "StopTimeout": spec.stop_timeout,
        "HostConfig": host,
    }
    if spec.command is not None:
        body["Cmd"] = list(spec.command)
    if spec.entrypoint is not None:
        # [""] is how the API clears an entrypoint; [] keeps the image's.
        body["Entrypoint"] = list(spec.entrypoint) or [""]
    named = {
        "Hostname": spec.hostname,
        "User": spec.user,
        "WorkingDir": spec.workdir,
        "StopSignal": spec.stop_signal,
    }
    body |= {key: value for key, value in named.items() if value is not None}
    if spec.health is not None:
        body["Healthcheck"] = _health(spec.health)
    if spec.network is not None and spec.aliases:
        body["NetworkingConfig"] = {"EndpointsConfig": {spec.network: {"Aliases": list(spec.aliases)}}}
    return merged(body, spec.extra.get("docker", {}))


def _bindings(spec: ContainerSpec) -> dict[str, list[dict[str, str]]]:
    bindings: dict[str, list[dict[str, str]]] = {}
    for port in spec.ports:
        row = {"HostIp": port.host_ip, "HostPort": str(port.host or "")}
        bindings.setdefault(f"{port.container}/{port.protocol}", []).append(row)
    return bindings


def _memory(spec: ContainerSpec) -> dict[str, str]:
    return {mount.target: "ro" if mount.read_only else "" for mount in spec.mounts if mount.type == "tmpfs"}


def _mount(mount: Mount) -> dict[str, Any]:
    return {"Type": mount.type, "Source": mount.source, "Target": mount.target, "ReadOnly": mount.read_only}


def _bind(mount: Mount) -> str:
    return f"{mount.source}:{mount.target}:{'ro' if mount.read_only else 'rw'},{mount.relabel}"


def _device(device: str) -> dict[str, str]:
    outside, _, rest = device.partition(":")
    inside, _, permissions = rest.partition(":")
    return {"PathOnHost": outside, "PathInContainer": inside or outside, "CgroupPermissions": permissions or "rwm"}


def _restart(policy: str) -> dict[str, Any]:
    name, _, count = policy.partition(":")
    return {"Name": name, "MaximumRetryCount": int(count or 0)}


def _health(check: HealthCheck) -> dict[str, Any]:
    test = ["CMD-SHELL", check.command] if isinstance(check.command, str) else ["CMD", *check.command]
    return {
        "Test": test,
        "Interval": round(check.interval * 1e9),
        "Timeout": round(check.timeout * 1e9),
        "Retries": check.retries,
        "StartPeriod": round(check.start_period * 1e9),
    }
