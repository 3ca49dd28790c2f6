"""What an adapter's author writes: the primitives of one engine. `EngineRuntime` makes the verbs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, Protocol

from attr import field, frozen

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from polyrun import (
        Capabilities,
        CheckReport,
        Container,
        ContainerSpec,
        EngineVersion,
        Health,
        Image,
        LogChunk,
        Progress,
    )

StreamName = Literal["stdout", "stderr"]
"""Which output of a process some bytes came from; with a terminal all are ``stdout``."""


def _names_only(values: Mapping[str, str]) -> str:
    return "{" + ", ".join(f"{name!r}: …" for name in values) + "}"


@frozen(kw_only=True)
class ExecRequest:
    """A command for `Engine.exec`. Values of *env* may be secrets, so a repr shows the names."""

    command: tuple[str, ...]
    env: Mapping[str, str] = field(factory=dict[str, str], repr=_names_only)
    workdir: str | None = None
    user: str | None = None
    stdin: bool = False
    tty: bool = False
    privileged: bool = False


@frozen(kw_only=True)
class BuildRequest:
    """What `Engine.build` is asked for, next to the context; *reference* is the tag as it was written."""

    dockerfile: str
    reference: str | None = None
    args: Mapping[str, str] = field(factory=dict[str, str], repr=_names_only)
    target: str | None = None
    labels: Mapping[str, str] = field(factory=dict[str, str])
    platform: str | None = None
    pull: bool = False
    cache: bool = True


@frozen(kw_only=True)
class LogRequest:
    """What `Engine.logs` is asked for; the times are seconds since 1970."""

    follow: bool = False
    tail: int | None = None
    since: float | None = None
    until: float | None = None
    timestamps: bool = False


@frozen(kw_only=True)
class PathStat:
    """What is at a path in a container; the path of a symbolic link is its own."""

    name: str
    size: int
    is_dir: bool
    link_target: str = ""


class ByteStream(Protocol):
    """**Protocol** Bytes from the engine, as they come."""

    def read(self, timeout: float | None = None) -> bytes:
        """Return the next bytes, or ``b""`` at the end.

        Raises `TimeoutError` after *timeout* seconds without any; the stream can be read on.
        """
        ...

    def close(self) -> None:
        """Give the stream up, at any time and from any thread; a waiting `read` then returns ``b""``."""
        ...


class ProcessStream(Protocol):
    """**Protocol** The standard streams of a process in a container."""

    def read(self, timeout: float | None = None) -> tuple[StreamName, bytes] | None:
        """Return the next output, or ``None`` at the end.

        Raises `TimeoutError` after *timeout* seconds without any; the stream can be read on.
        """
        ...

    def write(self, data: bytes) -> None:
        """Write to its standard input; a process that no longer reads is not an error."""
        ...

    def end_input(self) -> None:
        """End its standard input."""
        ...

    def close(self) -> None:
        """Give the stream up, at any time and from any thread; the process goes on."""
        ...


class Execution(ProcessStream, Protocol):
    """**Protocol** A further process in a running container."""

    def outcome(self) -> ExecOutcome | None:
        """Return how the process ended, or ``None`` while it runs."""
        ...


@frozen(kw_only=True)
class ExecOutcome:
    """How a process ended. *failure* is the engine's reason where it could not be started."""

    exit_code: int
    raw_exit_code: int
    failure: str | None = None


class LogLines(Protocol):
    """**Protocol** The output of a container, as `Engine.logs` returns it."""

    def read(self, timeout: float | None = None) -> LogChunk | None:
        """Return the next chunk, or ``None`` at the end; `TimeoutError` as for `ByteStream.read`."""
        ...

    def close(self) -> None:
        """Give the stream up, at any time and from any thread."""
        ...


class Engine(Protocol):
    """**Protocol** One engine's primitives, each about one request.

    Containers are named by name or id without a slash, images by reference or id. Every method
    raises polyrun's errors only, and maps its engine's own ones by what they mean: the table is
    the class tree in `polyrun.PolyrunError`. What a method says is idempotent must be so on
    engines that answer with an error.
    """

    @property
    def name(self) -> str:
        """The engine's name: ``"docker"``."""
        ...

    @property
    def url(self) -> str:
        """Where it is, as `polyrun.connect` takes it."""
        ...

    @property
    def timeout(self) -> float:
        """Seconds after which a request without an answer is `DeadlineExceeded`."""
        ...

    @property
    def host_address(self) -> str:
        """The address at which ports published on every interface are reached from here."""
        ...

    @property
    def capabilities(self) -> Capabilities:
        """What it can do."""
        ...

    def ping(self) -> None:
        """Ask for a sign of life, in well under *timeout*; raise `ConnectError` if there is none."""
        ...

    def check(self) -> CheckReport:
        """Say what is right and wrong with it, and raise nothing."""
        ...

    def version(self) -> EngineVersion:
        """Return its version."""
        ...

    def close(self) -> None:
        """Close its connections; twice is allowed."""
        ...

    # Images

    def build(
        self,
        context: Iterable[bytes],
        request: BuildRequest,
        on_event: Callable[[Progress], None],
        timeout: float | None,
    ) -> str:
        """Build from the tar stream *context* and return the image's id; end the build when time is up."""
        ...

    def pull(self, reference: str, platform: str | None, on_event: Callable[[Progress], None]) -> None:
        """Fetch an image."""
        ...

    def images(self) -> Sequence[Image]:
        """List the images."""
        ...

    def image(self, image: str) -> ImageDetail:
        """Return one image."""
        ...

    def tag(self, image: str, reference: str) -> None:
        """Add a reference to an image."""
        ...

    def rmi(self, image: str) -> None:
        """Remove a reference, and the image with its last one; by id only if it has one at the most.

        `InUse` if the image would go and a container uses it, `Conflict` for an id of several references.
        """
        ...

    # Containers

    def create(self, spec: ContainerSpec) -> str:
        """Make a container and return its id; refuse what the engine would drop in silence."""
        ...

    def containers(self, *, all: bool, labels: Mapping[str, str]) -> Sequence[Container]:
        """List containers in one request; *labels* may be used or left to the caller to apply."""
        ...

    def container(self, container: str) -> ContainerDetail:
        """Return one container, whole."""
        ...

    def start(self, container: str) -> None:
        """Start; nothing if it runs."""
        ...

    def stop(self, container: str, timeout: float) -> None:
        """Stop, whether running, paused or not running at all."""
        ...

    def kill(self, container: str, signal: str) -> None:
        """Send a signal, named without ``SIG`` or as a number."""
        ...

    def pause(self, container: str) -> None:
        """Freeze."""
        ...

    def unpause(self, container: str) -> None:
        """Let go on."""
        ...

    def rm(self, container: str, *, force: bool, volumes: bool) -> None:
        """Remove; *force* kills at once."""
        ...

    def wait(self, container: str, timeout: float | None) -> int:
        """Return the exit code of a container that was started; `TimeoutError` after *timeout* seconds."""
        ...

    def health(self, container: str, timeout: float) -> Health | None:
        """Return its health now; run its health check if the engine does not do so by itself.

        `TimeoutError` after *timeout* seconds.
        """
        ...

    def attach(self, container: str, *, stdin: bool, tty: bool) -> ProcessStream:
        """Open its streams, before it is started."""
        ...

    def exec(self, container: str, request: ExecRequest) -> Execution:
        """Start a further process in it."""
        ...

    def logs(self, container: str, request: LogRequest) -> LogLines:
        """Open its output."""
        ...

    def stat(self, container: str, path: str) -> PathStat:
        """Say what is at *path*; `NotFound` if nothing is."""
        ...

    def put(self, container: str, path: str, archive: Iterable[bytes]) -> None:
        """Unpack a tar stream in the existing folder *path*."""
        ...

    def get(self, container: str, path: str) -> ByteStream:
        """Open a tar stream of *path*, whose one top-level entry is named after it."""
        ...


@frozen(kw_only=True)
class ImageDetail:
    """An image, and what its list entry does not say."""

    image: Image
    os: str
    arch: str
    variant: str = ""


@frozen(kw_only=True)
class ContainerDetail:
    """A container, and what `EngineRuntime` verifies after a create."""

    container: Container
    call: str | None = None
    """The label `CALL_LABEL`, which is not among those of *container*."""
    tty: bool = False
    has_health: bool = False
    memory: int | None = None
    cpus: float | None = None
    pids: int | None = None
    """The limits as the engine keeps them; ``None`` where it keeps none."""
    env: tuple[str, ...] = field(default=(), repr=False)
    """The values of its environment that may be secrets, to keep them out of messages."""
    requested_ports: tuple[str, ...] = ()
    """The published ports by their text form (``"80/tcp"``), also before the start."""
