"""The values that go in and the snapshots that come out: frozen, typed, equal by content."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeAlias, TypedDict, TypeVar, cast

from attr import evolve, field, frozen

from polyrun._errors import ContainerNotFound, InvalidArgument
from polyrun._parse import Reference, is_image_id, is_text, parse_command, parse_duration, parse_size, short_id

if TYPE_CHECKING:
    from datetime import datetime
    from os import PathLike
    from pathlib import Path
    from types import TracebackType

    from typing_extensions import Self

    from polyrun._runtime import LogStream, Probe, Runtime

T_co = TypeVar("T_co", covariant=True)

State = Literal["created", "running", "paused", "restarting", "removing", "exited", "dead", "unknown"]
"""Where a container is in its life; `polyrun.Runtime` tells the story."""

Health = Literal["starting", "healthy", "unhealthy"]
"""What the last health checks said."""

Json: TypeAlias = "bool | int | float | str | Sequence[Json] | Mapping[str, Json] | None"
"""A JSON value, as `ContainerSpec.extra` takes it."""


# Ports, mounts, limits, health checks: what a container is made with


@frozen
class Port:
    """A published port: *container* inside, *host* outside.

    A *host* of ``None`` lets the engine choose one; read it back from `Container.ports`.
    A *host_ip* of ``""`` is every IPv4 address of the host. Whether IPv6 is served as well
    differs between engines (Docker does, Podman 4 does not), so do not rely on it.
    """

    container: int
    host: int | None = None
    host_ip: str = ""
    protocol: Literal["tcp", "udp", "sctp"] = "tcp"

    def __attrs_post_init__(self) -> None:
        """Refuse what is no port."""
        for number in (self.container, self.host):
            if number is not None and not 0 < number < 65536:
                raise InvalidArgument(f"not a port: {number!r}", hint="A port is a number from 1 to 65535.")
        if self.protocol not in ("tcp", "udp", "sctp"):
            raise InvalidArgument(f"not a protocol: {self.protocol!r}", hint="It is tcp, udp or sctp.")

    @classmethod
    def parse(cls, port: PortLike) -> Port:
        """Read *port* as ``-p`` reads it: ``8080``, ``"8080:80"``, ``"127.0.0.1:8080:80/udp"``."""
        if isinstance(port, Port):
            return port
        found = None if isinstance(port, bool) else _PORT.fullmatch(str(port))
        if not found:
            raise InvalidArgument(
                f"not a port: {port!r}",
                hint='A port is 80 (the engine chooses the host\'s), "8080:80", "127.0.0.1:8080:80" or '
                '"[::1]:8080:80", with "/udp" or "/sctp" behind it, or polyrun.Port(...).',
            )
        address, host, container, protocol = found.groups()
        return cls(
            container=int(container),
            host=int(host) or None if host else None,
            host_ip=_any_address((address or "").strip("[]")),
            protocol=cast("Literal['tcp', 'udp', 'sctp']", protocol or "tcp"),
        )

    def __str__(self) -> str:
        if self.host is None and not self.host_ip:
            return f"{self.container}/{self.protocol}"
        address = f"[{self.host_ip}]" if ":" in self.host_ip else self.host_ip
        return f"{address + ':' if address else ''}{self.host or ''}:{self.container}/{self.protocol}"


_PORT = re.compile(
    r"(?:(?:((?:\d{1,3}\.){3}\d{1,3}|\[[0-9a-fA-F:.]+\]):)?(\d{1,5})?:)?(\d{1,5})(?:/(tcp|udp|sctp))?", re.ASCII
)


def _any_address(address: str) -> str:
    return "" if address in ("0.0.0.0", "") else address  # noqa: S104  # compared with, never bound


PortLike: TypeAlias = int | str | Port
"""How a port can be written."""


@frozen
class Mount:
    """Something of the host, or of the engine, inside the container.

    *type* is ``"bind"`` (a file or folder of the host, which must exist), ``"volume"`` (a named
    volume, made when it is missing; an empty *source* makes an anonymous one) or ``"tmpfs"``
    (memory, gone with the container). *relabel* is SELinux's ``"z"`` (shared) or ``"Z"``
    (private); engines without SELinux ignore it.
    """

    source: str
    target: str
    type: Literal["bind", "volume", "tmpfs"] = "bind"
    read_only: bool = False
    relabel: Literal["z", "Z"] | None = None

    def __attrs_post_init__(self) -> None:
        """Refuse what no engine takes, before one drops it."""
        if self.type not in ("bind", "volume", "tmpfs"):
            raise InvalidArgument(f"not a type of mount: {self.type!r}", hint="It is bind, volume or tmpfs.")
        if not self.target.startswith("/") or not self.target.strip("/"):
            raise InvalidArgument(f"a mount's target is an absolute path below / in the container: {self.target!r}")
        if self.type == "bind" and not self.source.startswith("/"):
            raise InvalidArgument(f"a bind mount's source is an absolute path of the host: {self.source!r}")
        if self.type == "volume" and self.source and not _VOLUME.fullmatch(self.source):
            raise InvalidArgument(
                f"not the name of a volume: {self.source!r}",
                hint="A name has two or more letters, digits, '_', '.' and '-', and begins with a letter or digit.",
            )

    @classmethod
    def parse(cls, mount: MountLike) -> Mount:
        """Read *mount* as ``-v`` reads it: ``"/host:/inside"``, ``"volume:/inside:ro,z"``."""
        if isinstance(mount, Mount):
            return mount
        source, _, rest = mount.partition(":")
        target, _, options = rest.partition(":")
        words = [word for word in options.split(",") if word]
        if not source or not target or set(words) - {"ro", "rw", "z", "Z"}:
            raise InvalidArgument(
                f"not a mount: {mount!r}",
                hint='A mount is "/on/the/host:/inside", "volume:/inside", with ":ro", ":z" or ":ro,Z" behind '
                "it, or polyrun.Mount(...).",
            )
        return cls(
            source=source,
            target=target,
            type="bind" if source.startswith("/") else "volume",
            read_only="ro" in words,
            relabel="Z" if "Z" in words else "z" if "z" in words else None,
        )

    def __str__(self) -> str:
        words = [*(["ro"] if self.read_only else []), *([self.relabel] if self.relabel else [])]
        return ":".join([self.source, self.target, *([",".join(words)] if words else [])])


_VOLUME = re.compile(r"[A-Za-z0-9][\w.-]+", re.ASCII)

MountLike: TypeAlias = str | Mount
"""How a mount can be written."""


def _optional_size(size: int | str | None) -> int | None:
    return None if size is None else parse_size(size)


@frozen(kw_only=True)
class Limits:
    """The most a container may use: *memory* in bytes (``"64m"``), *cpus* in cores, *pids* in processes.

    After a create the engine is asked what it took; one that it dropped is `Unsupported`.
    """

    memory: int | None = field(default=None, converter=_optional_size)
    cpus: float | None = None
    pids: int | None = None

    def __attrs_post_init__(self) -> None:
        """Refuse limits that mean nothing."""
        for name, value, least in (("cpus", self.cpus, 0.01), ("pids", self.pids, 1), ("memory", self.memory, 1)):
            if value is not None and not least <= value < _MOST:
                raise InvalidArgument(f"not a limit on {name}: {value!r}", hint=f"The least is {least}.")

    def __bool__(self) -> bool:
        return any(value is not None for value in (self.memory, self.cpus, self.pids))


_MOST = 2**63
"""Engines hold numbers in 64 bits."""


def _health_command(command: Sequence[str] | str) -> tuple[str, ...] | str:
    return command if isinstance(command, str) else cast("tuple[str, ...]", parse_command(command))


@frozen(kw_only=True)
class HealthCheck:
    """A command that says whether the container is well: exit code 0 is, 1 is not.

    *command* is a sequence of strings; text is given to the container's ``/bin/sh``. The times
    are seconds, or text such as ``"500ms"``. *retries* failures in a row make it ``unhealthy``;
    failures within *start_period* do not count.
    """

    command: tuple[str, ...] | str = field(converter=_health_command)
    interval: float = field(default=30.0, converter=parse_duration)
    timeout: float = field(default=30.0, converter=parse_duration)
    retries: int = 3
    start_period: float = field(default=0.0, converter=parse_duration)

    def __attrs_post_init__(self) -> None:
        """Refuse what one engine refuses, and the other runs as it likes."""
        if self.retries < 1:
            raise InvalidArgument(f"a health check has one retry at the least: {self.retries!r}")
        for name, value in (("interval", self.interval), ("timeout", self.timeout)):
            if value < _SHORTEST:
                raise InvalidArgument(f"the {name} of a health check is a millisecond at the least: {value!r}")


_SHORTEST = 0.001


# The specification of a container


class ContainerOptions(TypedDict, total=False):
    """The options of `Runtime.create`, `Runtime.spawn` and `Runtime.run`; `ContainerSpec` explains each."""

    name: str | None
    env: Mapping[str, str]
    ports: Sequence[PortLike]
    mounts: Sequence[MountLike]
    network: str | None
    aliases: Sequence[str]
    hostname: str | None
    user: str | None
    workdir: str | None
    entrypoint: Sequence[str] | None
    labels: Mapping[str, str]
    limits: Limits | None
    restart: str
    health: HealthCheck | None
    init: bool
    read_only: bool
    tmpfs: Sequence[str] | Mapping[str, str]
    cap_add: Sequence[str]
    cap_drop: Sequence[str]
    devices: Sequence[str]
    gpus: int | Literal["all"] | None
    ulimits: Mapping[str, int | tuple[int, int]]
    extra_hosts: Mapping[str, str]
    stop_signal: str | None
    stop_timeout: int
    platform: str | None
    tty: bool
    stdin: bool
    userns: str | None
    secrets: Sequence[str]
    extra: Mapping[str, Mapping[str, Json]]


def _strings(words: Iterable[str]) -> tuple[str, ...]:
    if isinstance(words, str):
        raise InvalidArgument(f"a list of strings is needed, not one string: {words!r}", hint=f"Write [{words!r}].")
    return tuple(words)


def _string_map(pairs: Mapping[str, str]) -> Mapping[str, str]:
    if not isinstance(cast("object", pairs), Mapping):
        raise InvalidArgument(f"names and values are a mapping, not {type(pairs).__name__}", hint='Write {"A": "b"}.')
    copy = dict(pairs)
    for key, value in copy.items():
        if not all(isinstance(cast("object", word), str) for word in (key, value)):
            # The value may be a secret: only its type is shown.
            raise InvalidArgument(f"{key!r} needs a string as its value, not {type(value).__name__}")
        if not is_text(key) or not is_text(value):
            raise InvalidArgument(f"{key!r}, or its value, is not text that UTF-8 can hold")
    return copy


def environment(env: Mapping[str, str]) -> Mapping[str, str]:
    """Return a copy of environment variables that every engine takes as they are."""
    copy = _string_map(env)
    for key, value in copy.items():
        if not key or "=" in key or "\0" in key or "\0" in value:
            raise InvalidArgument(f"not the name and value of an environment variable: {key!r}")
    return copy


def _names_only(env: Mapping[str, str]) -> str:
    """Environment values are secrets until proven otherwise, so a repr shows the names."""
    return "{" + ", ".join(f"{name!r}: …" for name in env) + "}"


def _is_no_list(value: object) -> bool:
    return isinstance(value, (Mapping, str)) or not isinstance(value, Iterable)


def _ports(ports: Iterable[PortLike]) -> tuple[Port, ...]:
    if _is_no_list(ports):
        raise InvalidArgument(f"ports is a list: {ports!r}", hint='Write ports=["8080:80"], the host\'s first.')
    return tuple(Port.parse(port) for port in ports)


def _mounts(mounts: Iterable[MountLike]) -> tuple[Mount, ...]:
    if _is_no_list(mounts):
        raise InvalidArgument(f"mounts is a list: {mounts!r}", hint='Write mounts=["/on/the/host:/inside"].')
    return tuple(Mount.parse(mount) for mount in mounts)


def _tmpfs(tmpfs: Sequence[str] | Mapping[str, str]) -> Mapping[str, str]:
    if isinstance(tmpfs, Mapping):
        return _string_map(tmpfs)
    pairs = (word.partition(":") for word in _strings(tmpfs))
    return {path: options for path, _, options in pairs}


def _limits(limits: Limits | None) -> Limits:
    if limits is None:
        return Limits()
    if not isinstance(cast("object", limits), Limits):
        raise InvalidArgument(f"not limits: {limits!r}", hint='Write polyrun.Limits(memory="64m", cpus=0.5).')
    return limits


def _health_check(health: HealthCheck | None) -> HealthCheck | None:
    if not isinstance(cast("object", health), (HealthCheck, type(None))):
        raise InvalidArgument(f"not a health check: {health!r}", hint="Write polyrun.HealthCheck(command=[...]).")
    return health


def _ulimits(ulimits: Mapping[str, int | tuple[int, int]]) -> Mapping[str, tuple[int, int]]:
    found: dict[str, tuple[int, int]] = {}
    for name, value in ulimits.items():
        soft, hard = (value, value) if isinstance(value, int) else value
        if name not in _ULIMITS or min(soft, hard) < -1 or soft > hard >= 0:
            raise InvalidArgument(
                f"not a limit of a process: {name!r}: {value!r}",
                hint=f'It reads {{"nofile": 1024}} or {{"nofile": (soft, hard)}}; the names are {", ".join(_ULIMITS)}.',
            )
        found[name] = soft, hard
    return found


# setrlimit(2), without what no engine has a name for.
_ULIMITS = (
    "core",
    "cpu",
    "data",
    "fsize",
    "locks",
    "memlock",
    "msgqueue",
    "nice",
    "nofile",
    "nproc",
    "rss",
    "rtprio",
    "rttime",
    "sigpending",
    "stack",
)


def _entrypoint(entrypoint: Sequence[str] | None) -> tuple[str, ...] | None:
    return parse_command(entrypoint, what="entrypoint")


_ADDRESS = re.compile(r"[0-9.]+|[0-9a-fA-F:.]*:[0-9a-fA-F:.]*(%\w+)?", re.ASCII)
_NAME = re.compile(r"[A-Za-z0-9][\w.-]+", re.ASCII)
_RESTART = re.compile(r"no|always|unless-stopped|on-failure(?::\d+)?")


@frozen(kw_only=True)
class ContainerSpec:
    """Everything a container is made with. Every verb that takes options also takes one of these.

    Args:
        image: a reference, or the id of an `Image`.
        command: replaces the image's command; a sequence of strings.
        name: letters, digits, ``_``, ``.`` and ``-``; made up when it is ``None``.
        env: environment variables. Their values are in no message, repr or label of polyrun's.
        ports: what to publish; see `Port`. The image need not expose it.
        mounts: see `Mount`.
        network: a network's name, ``"host"`` or ``"none"``; the engine's default when ``None``.
        aliases: further names in that network.
        user: name or id, with ``:group`` behind it if wanted.
        workdir: an absolute path; made when it is missing.
        entrypoint: replaces the image's; ``()`` clears it.
        limits: see `Limits`.
        restart: ``"no"``, ``"always"``, ``"unless-stopped"``, ``"on-failure"`` or ``"on-failure:3"``.
        health: see `HealthCheck`.
        init: run a small init as process 1, which reaps zombies and forwards signals.
        read_only: the root file system cannot be written, ``/tmp`` and ``/run`` neither.
        tmpfs: paths in memory: ``["/tmp"]``, or with options ``{"/tmp": "size=64m"}``.
        cap_add, cap_drop: Linux capabilities. The defaults differ: Docker grants ``NET_RAW``,
            ``MKNOD`` and ``AUDIT_WRITE``, Podman does not.
        devices: ``"/dev/fuse"``, ``"/dev/sda:/dev/xvda:rwm"``.
        gpus: how many, or ``"all"``.
        ulimits: ``{"nofile": 1024}`` or ``{"nofile": (soft, hard)}``.
        extra_hosts: lines for ``/etc/hosts``: ``{"db": "10.0.0.5"}``.
        stop_signal: what `Runtime.stop` sends first; the image's, else ``TERM``.
        stop_timeout: seconds that the engine's own stop waits before it kills.
        platform: ``"linux/arm64"``; an image of another platform is refused.
        tty: give it a terminal; its output is then one stream.
        stdin: keep its standard input open; `Runtime.run` does so by itself for *input*.
        userns: the user namespace, such as ``"keep-id"``.
        secrets: names of the engine's secrets, mounted below ``/run/secrets``.
        extra: ``{"docker": {...}, "podman": {...}}``: JSON merged into that engine's own create
            request, for what has no option here.
    """

    image: str
    command: tuple[str, ...] | None = field(default=None, converter=parse_command)
    name: str | None = None
    env: Mapping[str, str] = field(factory=dict[str, str], converter=environment, repr=_names_only, hash=False)
    ports: tuple[Port, ...] = field(default=(), converter=_ports)
    mounts: tuple[Mount, ...] = field(default=(), converter=_mounts)
    network: str | None = None
    aliases: tuple[str, ...] = field(default=(), converter=_strings)
    hostname: str | None = None
    user: str | None = None
    workdir: str | None = None
    entrypoint: tuple[str, ...] | None = field(default=None, converter=_entrypoint)
    labels: Mapping[str, str] = field(factory=dict[str, str], converter=_string_map, hash=False)
    limits: Limits = field(default=Limits(), converter=_limits)
    restart: str = "no"
    health: HealthCheck | None = field(default=None, converter=_health_check)
    init: bool = False
    read_only: bool = False
    tmpfs: Mapping[str, str] = field(factory=dict[str, str], converter=_tmpfs, hash=False)
    cap_add: tuple[str, ...] = field(default=(), converter=_strings)
    cap_drop: tuple[str, ...] = field(default=(), converter=_strings)
    devices: tuple[str, ...] = field(default=(), converter=_strings)
    gpus: int | Literal["all"] | None = None
    ulimits: Mapping[str, tuple[int, int]] = field(factory=dict[str, "tuple[int, int]"], converter=_ulimits, hash=False)
    extra_hosts: Mapping[str, str] = field(factory=dict[str, str], converter=_string_map, hash=False)
    stop_signal: str | None = None
    stop_timeout: int = 10
    platform: str | None = None
    tty: bool = False
    stdin: bool = False
    userns: str | None = None
    secrets: tuple[str, ...] = field(default=(), converter=_strings)
    extra: Mapping[str, Mapping[str, Json]] = field(factory=dict[str, "Mapping[str, Json]"], repr=False, hash=False)

    def __attrs_post_init__(self) -> None:
        """Refuse what one engine would refuse and the other drop in silence."""
        if not self.image:
            raise InvalidArgument("an image is needed, and none was named")
        if not is_image_id(self.image):
            Reference.parse(self.image)
        if self.command == ():
            raise InvalidArgument("an empty command", hint="None runs the image's own command.")
        if self.name is not None and not _NAME.fullmatch(self.name):
            raise InvalidArgument(
                f"not the name of a container: {self.name!r}",
                hint="A name has two or more letters, digits, '_', '.' and '-', and begins with a letter or digit.",
            )
        if not _RESTART.fullmatch(self.restart):
            raise InvalidArgument(
                f"not a restart policy: {self.restart!r}",
                hint='It is "no", "always", "unless-stopped", "on-failure" or "on-failure:3".',
            )
        if self.workdir is not None and not self.workdir.startswith("/"):
            raise InvalidArgument(f"a workdir is an absolute path in the container: {self.workdir!r}")
        if self.aliases and self.network in (None, "host", "none", "bridge"):
            raise InvalidArgument("aliases are names in a network of your own", hint='Add network="…".')
        self._check_places()
        if isinstance(cast("object", self.stop_timeout), float) or not 0 <= self.stop_timeout < _MOST:
            raise InvalidArgument(f"a stop_timeout is whole seconds, 0 or more: {self.stop_timeout!r}")
        if self.user is not None and not re.fullmatch(r"[^:\s]+(:[^:\s]+)?", str(self.user)):
            raise InvalidArgument(f"not a user: {self.user!r}", hint='Write "name", "1000" or "1000:1000".')
        if self.platform is not None and not re.fullmatch(r"[a-z0-9]+/[a-z0-9]+(/[a-z0-9.]+)?", self.platform):
            raise InvalidArgument(f"not a platform: {self.platform!r}", hint='It reads "linux/arm64".')

    def _check_places(self) -> None:
        """Refuse mounts over each other, relative paths, and hosts without an address."""
        targets = [mount.target.rstrip("/") for mount in self.mounts] + [path.rstrip("/") for path in self.tmpfs]
        for target in targets:
            if not target.startswith("/") or targets.count(target) > 1:
                raise InvalidArgument(
                    f"each mount and tmpfs has an absolute path in the container of its own: {target!r}"
                )
        for device in self.devices:
            # The second form is the Container Device Interface's: "vendor/class=name".
            if not device.startswith("/") and "=" not in device:
                raise InvalidArgument(f"a device is an absolute path of the host: {device!r}")
        for host, address in self.extra_hosts.items():
            if address != "host-gateway" and not _ADDRESS.fullmatch(address):
                raise InvalidArgument(f"{host!r} needs an address: {address!r}", hint='Write {"db": "10.0.0.5"}.')


def container_spec(
    image: str | Image | ContainerSpec, command: Sequence[str] | None, options: ContainerOptions
) -> ContainerSpec:
    """Return one specification out of what a verb was given; options win over those of a spec."""
    known = set(ContainerOptions.__annotations__)
    for option in options:
        if option not in known:
            raise InvalidArgument(f"no such option: {option!r}", hint="The options are " + ", ".join(sorted(known)))
    changes = cast("dict[str, Any]", dict(options))
    if isinstance(image, ContainerSpec):
        if command is not None:
            changes["command"] = command
        return evolve(image, **changes)
    return ContainerSpec(image=image.id if isinstance(image, Image) else image, command=command, **changes)


# Snapshots


@frozen
class Image:
    """An image on an engine. *id* is ``sha256:`` and 64 hex digits, *tags* are in their short form."""

    id: str
    tags: tuple[str, ...] = ()
    created: datetime | None = None
    size: int = 0
    """In bytes, with every layer."""
    labels: Mapping[str, str] = field(factory=dict[str, str], hash=False)

    def __str__(self) -> str:
        return self.tags[0] if self.tags else short_id(self.id)


@frozen
class Container:
    """A container as it was when the engine was asked; ask again with `inspect` for what it is now.

    *id* is 64 hex digits, *name* has no slash, *image* is what was asked for at its creation.
    *exit_code* is ``None`` until it has exited, *health* ``None`` without a health check.
    *started* and *finished* are ``None`` in what `Runtime.ps` returns: one engine's list does not
    tell them. As a context manager a container is removed at the end, with the anonymous volumes
    that were made for it.
    """

    id: str
    name: str
    image: str
    state: State
    created: datetime
    started: datetime | None = None
    finished: datetime | None = None
    exit_code: int | None = None
    ports: tuple[Port, ...] = ()
    labels: Mapping[str, str] = field(factory=dict[str, str], hash=False)
    health: Health | None = None
    host: str | None = None
    """The host of a cluster that it is on; ``None`` on a single engine."""
    _runtime: Runtime | None = field(default=None, eq=False, repr=False)

    @property
    def running(self) -> bool:
        """Whether it was running."""
        return self.state == "running"

    @property
    def runtime(self) -> Runtime:
        """The runtime that it came from."""
        if self._runtime is None:
            raise InvalidArgument(f"the snapshot of {self.name} belongs to no runtime")
        return self._runtime

    def address(self, port: int, protocol: Literal["tcp", "udp", "sctp"] = "tcp") -> tuple[str, int]:
        """Return host and port at which the container's *port* can be reached from this machine."""
        return self.runtime.address(self, port, protocol)

    def exec(
        self,
        command: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        workdir: str | None = None,
        user: str | None = None,
        input: bytes | None = None,
        timeout: float | None = None,
        check: bool = False,
        tty: bool = False,
    ) -> ExecResult:
        """Run a further command in it; see `Runtime.exec`."""
        return self.runtime.exec(
            self,
            command,
            env=env,
            workdir=workdir,
            user=user,
            input=input,
            timeout=timeout,
            check=check,
            tty=tty,
        )

    def inspect(self) -> Container:
        """Return it as it is now; see `Runtime.inspect`."""
        return self.runtime.inspect(self)

    def logs(
        self,
        *,
        follow: bool = False,
        tail: int | None = None,
        since: datetime | float | None = None,
        until: datetime | float | None = None,
        timestamps: bool = False,
    ) -> LogStream:
        """Return what it wrote; see `Runtime.logs`."""
        return self.runtime.logs(self, follow=follow, tail=tail, since=since, until=until, timestamps=timestamps)

    def start(self) -> None:
        """Start it; see `Runtime.start`."""
        self.runtime.start(self)

    def stop(self, *, timeout: float = 10) -> None:
        """Stop it; see `Runtime.stop`."""
        self.runtime.stop(self, timeout=timeout)

    def kill(self, signal: str | int = "KILL") -> None:
        """Send its process a signal; see `Runtime.kill`."""
        self.runtime.kill(self, signal)

    def restart(self, *, timeout: float = 10) -> None:
        """Stop it and start it; see `Runtime.restart`."""
        self.runtime.restart(self, timeout=timeout)

    def pause(self) -> None:
        """Freeze its processes; see `Runtime.pause`."""
        self.runtime.pause(self)

    def unpause(self) -> None:
        """Let its processes go on; see `Runtime.unpause`."""
        self.runtime.unpause(self)

    def wait(self, *, timeout: float | None = None) -> int:
        """Return its exit code once it has exited; see `Runtime.wait`."""
        return self.runtime.wait(self, timeout=timeout)

    def wait_ready(self, *, probe: Probe | None = None, timeout: float = 60) -> Container:
        """Return it once it is ready; see `Runtime.wait_ready`."""
        return self.runtime.wait_ready(self, probe=probe, timeout=timeout)

    def rm(self, *, force: bool = False, volumes: bool = False) -> None:
        """Remove it; see `Runtime.rm`."""
        self.runtime.rm(self, force=force, volumes=volumes)

    def put(self, source: str | PathLike[str] | bytes, target: str) -> None:
        """Copy into it; see `Runtime.put`."""
        self.runtime.put(self, source, target)

    def get(self, source: str, target: str | PathLike[str]) -> Path:
        """Copy out of it; see `Runtime.get`."""
        return self.runtime.get(self, source, target)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.runtime.rm(self, force=True, volumes=True)
        except ContainerNotFound:
            pass


ContainerLike: TypeAlias = str | Container
"""A container by its name, by its id or a unique beginning of it, or by a snapshot."""


class Listing(tuple[T_co, ...], Generic[T_co]):  # noqa: SLOT001  # carries one attribute more than a tuple
    """A tuple that also says which hosts could not be asked; `unreachable` is empty on one engine."""

    unreachable: tuple[Unreachable, ...]

    def __new__(cls, items: Iterable[T_co] = (), unreachable: Iterable[Unreachable] = ()) -> Self:
        """Make a listing of *items*."""
        listing = super().__new__(cls, tuple(items))
        listing.unreachable = tuple(unreachable)
        return listing


@frozen
class Unreachable:
    """A host that did not answer, and why."""

    host: str
    reason: str


@frozen
class LogChunk:
    """Some bytes of one stream, as they came; only the order within one stream is kept by engines.

    With ``timestamps=True`` a chunk is one line and *time* is when it was written, in UTC
    (nanoseconds on Docker, whole seconds on Podman 4, both cut to what `datetime` holds).
    """

    stream: Literal["stdout", "stderr"]
    data: bytes
    time: datetime | None = None

    @property
    def text(self) -> str:
        """The bytes as UTF-8; what is not UTF-8 becomes U+FFFD."""
        return self.data.decode("utf-8", "replace")


@frozen
class RunResult:
    """What a finished container left: its exit code and output, as bytes."""

    exit_code: int
    stdout: bytes = field(repr=False)
    stderr: bytes = field(repr=False)
    container: str
    """The container's id; with ``remove=True`` it is gone by now."""

    @property
    def text(self) -> str:
        """The standard output as UTF-8; what is not UTF-8 becomes U+FFFD."""
        return self.stdout.decode("utf-8", "replace")


@frozen
class ExecResult:
    """What a finished command left: its exit code and output, as bytes.

    *exit_code* is 127 where the command was not found and 126 where it could not be executed, on
    every engine; *raw_exit_code* is what the engine said.
    """

    exit_code: int
    stdout: bytes = field(repr=False)
    stderr: bytes = field(repr=False)
    raw_exit_code: int

    @property
    def text(self) -> str:
        """The standard output as UTF-8; what is not UTF-8 becomes U+FFFD."""
        return self.stdout.decode("utf-8", "replace")


@frozen(kw_only=True)
class Progress:
    """One step of a build or a pull, as it happens.

    *kind* is ``"step"`` (an instruction begins; *step* of *steps*), ``"output"`` (a line that it
    wrote), ``"layer"`` (*current* of *total* bytes of *layer*) or ``"status"`` (anything else
    worth showing). What an engine does not say is ``None``.
    """

    kind: Literal["step", "output", "layer", "status"]
    text: str
    step: int | None = None
    steps: int | None = None
    layer: str | None = None
    current: int | None = None
    total: int | None = None


# Engines


@frozen
class EngineVersion:
    """Which engine answered: *engine* is ``"docker"`` or ``"podman"``, *api* the version spoken."""

    engine: str
    version: str
    api: str
    os: str
    arch: str


@frozen(kw_only=True)
class Capabilities:
    """What this engine can do, where engines differ. Asking for what it cannot is `Unsupported`."""

    build: bool = True
    """Builds an image from a Dockerfile with ``RUN``."""
    build_secrets: bool = False
    """``build(secrets=)``."""
    unread_input: bool = True
    """The output of a command that ends without reading its ``input`` is whole. Podman 4 now and then
    ends the connection at the input's failure, before it has passed on the output."""
    ports: bool = True
    """A published port can be reached over the network."""
    pause: bool = True
    """``pause`` and ``unpause`` (not rootless on cgroup v1)."""
    limits: bool = True
    """Memory, CPU and process limits are kept (not rootless on cgroup v1)."""
    init: bool = True
    """``init=True``: the engine has an init to put in front."""
    host_gateway: bool = True
    """``extra_hosts={"name": "host-gateway"}`` is the host's address."""
    gpus: bool = False
    """``gpus=``."""
    keep_id: bool = False
    """``userns="keep-id"`` (rootless Podman)."""
    secrets: bool = False
    """``secrets=``."""
    schedules_health: bool = True
    """Runs health checks by itself; otherwise they run when polyrun asks, as `wait_ready` does."""


Severity = Literal["error", "warning", "info"]


@frozen(kw_only=True)
class Finding:
    """One thing that a check found. *code* is stable; *fix* is what to type, and safe to obey."""

    code: str
    severity: Severity
    summary: str
    detail: str = ""
    fix: str = ""
    docs: str = ""


@frozen(kw_only=True)
class CheckReport:
    """Whether an engine can be used, where it was looked for, which rule chose that, and what was found."""

    ok: bool
    engine: str
    endpoint: str
    chosen_by: str
    rootless: bool | None = None
    version: str | None = None
    findings: tuple[Finding, ...] = ()

    def __str__(self) -> str:
        state = "usable" if self.ok else "not usable"
        lines = [f"{self.engine}: {state} at {self.endpoint} (from {self.chosen_by})"]
        for finding in self.findings:
            lines.append(f"  {finding.severity}: {finding.summary}")
            if finding.fix:
                lines.append(f"    fix: {finding.fix}")
        return "\n".join(lines)


@frozen(kw_only=True)
class RuntimeInfo:
    """A runtime that polyrun knows: whether its SDK is *installed*, it is *usable*, and why not."""

    name: str
    installed: bool
    usable: bool
    reason: str = ""
    report: CheckReport | None = None
