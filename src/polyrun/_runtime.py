"""The `Runtime` protocol: what a caller holds, whichever engine or cluster is behind it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from datetime import datetime
    from os import PathLike
    from pathlib import Path
    from types import TracebackType

    from typing_extensions import Self, Unpack

    from polyrun._models import (
        Capabilities,
        CheckReport,
        Container,
        ContainerLike,
        ContainerOptions,
        ContainerSpec,
        EngineVersion,
        ExecResult,
        Image,
        Listing,
        LogChunk,
        Progress,
        RunResult,
    )


class Probe(Protocol):
    """**Protocol** Says whether a container is ready: any callable that takes a `Container`."""

    def __call__(self, container: Container, /) -> bool:
        """Return whether *container* is ready now; it is asked again until it is."""
        ...


class LogStream(Protocol):
    """**Protocol** An iterator over `LogChunk` that can be closed, also from another thread."""

    def __iter__(self) -> Iterator[LogChunk]: ...

    def __next__(self) -> LogChunk: ...

    def close(self) -> None:
        """End the stream; a thread that waits for the next chunk sees the end at once."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None: ...


class Runtime(Protocol):
    """**Protocol** Containers and images on one engine, on several hosts as one, or in memory.

    **A container's life.** `create` makes a container, which is *created*: it has a name, a file
    system and no process. `start` makes it *running*. `pause` freezes it (*paused*), `unpause`
    lets it go on. When its process ends, or `stop` or `kill` ends it, it is *exited* and has an
    exit code; `start` runs it again. A restart policy makes it *restarting* in between. `rm`
    takes it away (*removing*); *dead* is a removal that failed half-way. `spawn` is create and
    start; `run` is create, start, collect the output, wait and remove.

    **Names.** A container is named by its name, its id, a unique beginning of its id, or a
    `Container`. A `Container` is a snapshot: it does not change, and holds nothing open.

    **Commands** are sequences of strings. No shell reads them unless the command is one.

    **Time.** Timeouts are in seconds. `run` and `exec` end the work when the time is up and then
    raise `DeadlineExceeded`; `wait` and `wait_ready` only stop waiting. Every other call has
    the deadline given to `connect`.

    **Errors.** Any verb may raise `ConnectError` when the engine does not answer,
    `PermissionDenied`, `DeadlineExceeded`, `InvalidArgument`, and `EngineError` for a failure
    that has no better name. Verbs that take a container raise `ContainerNotFound`, those that
    take an image `ImageNotFound`. What else a verb raises is said at the verb.

    **What is left behind.** What polyrun makes carries labels that begin with ``polyrun.``; a
    call that fails removes what it made. Named volumes are never removed.

    An object is safe to use from many threads at once.
    """

    @property
    def name(self) -> str:
        """The engine's name, such as ``"docker"`` or ``"podman"``."""
        ...

    @property
    def url(self) -> str:
        """Where it is, in the form that `connect` takes."""
        ...

    @property
    def capabilities(self) -> Capabilities:
        """What this engine can do, where engines differ."""
        ...

    def check(self) -> CheckReport:
        """Say whether the engine can be used, and what to do if it cannot. Raises nothing, changes nothing."""
        ...

    def version(self) -> EngineVersion:
        """Return the engine's version; slow on Podman (0.4 s), so ask only for people to read."""
        ...

    def close(self) -> None:
        """Close its connections. Closing twice is allowed; a closed runtime refuses every other verb."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None: ...

    # Images

    def build(
        self,
        context: str | PathLike[str],
        *,
        tag: str | None = None,
        dockerfile: str | PathLike[str] | None = None,
        args: Mapping[str, str] | None = None,
        target: str | None = None,
        labels: Mapping[str, str] | None = None,
        platform: str | None = None,
        pull: bool = False,
        cache: bool = True,
        secrets: Mapping[str, bytes] | None = None,
        on_event: Callable[[Progress], None] | None = None,
        timeout: float | None = None,
    ) -> Image:
        """Build an image from the folder *context* and return it, by the id that the engine gave it.

        Args:
            context: a folder; its ``.dockerignore`` is honoured, and what it excludes is not opened.
            tag: a reference for the result.
            dockerfile: a path below *context*, or anywhere; ``Dockerfile``, else ``Containerfile``.
            args: build arguments; their values are in no message or log of polyrun's.
            target: the stage to stop at.
            labels: labels for the image.
            platform: ``"linux/arm64"``; a result of another platform is an error.
            pull: ask the registry for newer base images.
            cache: use layers of earlier builds.
            secrets: what ``RUN --mount=type=secret`` reads, by id; `Unsupported` where
                `Capabilities.build_secrets` is false, which is everywhere so far.
            on_event: called with each `Progress`, in the calling thread.
            timeout: seconds for the whole build, which is then cancelled; Podman still ends its step.

        Raises:
            BuildFailed: a step failed, or the Dockerfile cannot be read; it carries step and output.
        """
        ...

    def pull(
        self, reference: str, *, platform: str | None = None, on_event: Callable[[Progress], None] | None = None
    ) -> Image:
        """Fetch an image from its registry and return it.

        Raises:
            PullFailed: the registry cannot be reached, refuses, or does not have it.
        """
        ...

    def images(self, *, labels: Mapping[str, str] | None = None) -> Listing[Image]:
        """List the images, newest first; *labels* keeps those that have all of them."""
        ...

    def tag(self, image: str | Image, reference: str) -> None:
        """Give *image* one more reference, taking it from the image that had it."""
        ...

    def rmi(self, image: str | Image, *, force: bool = False) -> None:
        """Remove an image; a reference out of several only takes that reference away.

        *force* removes an image that is named by its id with all its references. It never removes
        a container, as ``podman rmi --force`` does, nor an image below one.

        Raises:
            InUse: a container uses it, running or not.
            Conflict: it is named by its id, has several references, and *force* is false.
        """
        ...

    # Containers

    def create(
        self,
        image: str | Image | ContainerSpec,
        command: Sequence[str] | None = None,
        **options: Unpack[ContainerOptions],
    ) -> Container:
        """Make a container and do not start it; `ContainerSpec` explains the options.

        Raises:
            ImageNotFound: the engine does not have the image; nothing is pulled unasked.
            Conflict: the name is taken.
            NetworkNotFound: there is no such network.
            Unsupported: the engine cannot do one of the options, or dropped it.
        """
        ...

    def spawn(
        self,
        image: str | Image | ContainerSpec,
        command: Sequence[str] | None = None,
        **options: Unpack[ContainerOptions],
    ) -> Container:
        """Make a container, start it and leave it running.

        Raises what `create` and `start` raise; a container that does not start is removed.
        """
        ...

    def run(
        self,
        image: str | Image | ContainerSpec,
        command: Sequence[str] | None = None,
        *,
        input: bytes | None = None,
        timeout: float | None = None,
        check: bool = True,
        remove: bool = True,
        **options: Unpack[ContainerOptions],
    ) -> RunResult:
        """Run a container to its end and return its exit code and output.

        Args:
            image: a reference, an `Image` or a `ContainerSpec`.
            command: replaces the image's command.
            input: given to its standard input, which then ends.
            timeout: seconds from its start; then it is killed.
            check: raise `CommandFailed` for an exit code that is not 0.
            remove: remove it at the end, whatever happens, with its anonymous volumes.
            options: see `ContainerSpec`.

        Raises:
            StartFailed: its process could not be started; nothing is left.
            CommandFailed: the exit code was not 0 and *check* is true.
            DeadlineExceeded: the time was up; the container was killed.
        """
        ...

    def exec(
        self,
        container: ContainerLike,
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
        """Run a further command in a running container and return its exit code and output.

        A command that cannot be started is a result as well, as in a shell: exit code 127 where
        it was not found, 126 where it could not be executed (also for an unknown user or folder),
        with the engine's reason as ``stderr``.

        With *timeout*, or Ctrl-C, the process is killed inside the container, with its children.
        This takes a ``/bin/sh`` in the image; without one the process goes on, and the error says so.
        They are known by the variable ``POLYRUN_EXEC`` in their environment, which the command
        sees; a child that gives its environment up, as under ``env -i``, is not found.

        Raises:
            NotRunning: the container is not running, or is paused.
            CommandFailed: the exit code was not 0 and *check* is true.
            DeadlineExceeded: the time was up; the process was killed.
        """
        ...

    def ps(
        self, *, all: bool = False, labels: Mapping[str, str] | None = None, name: str | None = None
    ) -> Listing[Container]:
        """List the running containers, newest first, in one request; *all* lists the others too.

        *labels* keeps those that have all of them, *name* the one that has exactly this name.
        """
        ...

    def inspect(self, container: ContainerLike) -> Container:
        """Return a container as it is now."""
        ...

    def logs(
        self,
        container: ContainerLike,
        *,
        follow: bool = False,
        tail: int | None = None,
        since: datetime | float | None = None,
        until: datetime | float | None = None,
        timestamps: bool = False,
    ) -> LogStream:
        """Return what a container wrote, as it comes, in constant memory.

        Args:
            container: running or not.
            follow: go on until the container ends; close the stream to leave earlier.
            tail: the last lines only, of both streams together.
            since: an aware `datetime`, or seconds since 1970.
            until: likewise.
            timestamps: one chunk a line, each with its time.
        """
        ...

    def start(self, container: ContainerLike) -> None:
        """Start a container; nothing happens if it is running.

        Raises:
            StartFailed: its process could not be started; the reason says why.
        """
        ...

    def stop(self, container: ContainerLike, *, timeout: float = 10) -> None:
        """Ask a container to end, and kill it after *timeout* seconds; nothing happens if it is not running.

        A paused container is stopped as well.
        """
        ...

    def kill(self, container: ContainerLike, signal: str | int = "KILL") -> None:
        """Send a signal to a container's process: ``"TERM"``, ``"SIGTERM"`` or ``15``.

        Raises:
            NotRunning: it has no process.
        """
        ...

    def restart(self, container: ContainerLike, *, timeout: float = 10) -> None:
        """Stop a container as `stop` does, and start it."""
        ...

    def pause(self, container: ContainerLike) -> None:
        """Freeze the processes of a container.

        Raises:
            Conflict: it is paused.
            NotRunning: it is not running.
        """
        ...

    def unpause(self, container: ContainerLike) -> None:
        """Let the processes of a paused container go on.

        Raises:
            Conflict: it is not paused.
        """
        ...

    def wait(self, container: ContainerLike, *, timeout: float | None = None) -> int:
        """Wait until a container has exited and return its exit code; at once if it has.

        Raises:
            NotRunning: it was never started.
            DeadlineExceeded: it had not exited after *timeout* seconds; it goes on.
        """
        ...

    def wait_ready(self, container: ContainerLike, *, probe: Probe | None = None, timeout: float = 60) -> Container:
        """Wait until a container is ready and return it as it is then.

        Ready means that *probe* says so; without one that it is healthy, or where it has no
        health check that it is running.

        Raises:
            NotRunning: it exited, or was never started; the text has its last lines of output.
            DeadlineExceeded: it was not ready after *timeout* seconds.
        """
        ...

    def rm(self, container: ContainerLike, *, force: bool = False, volumes: bool = False) -> None:
        """Remove a container; *force* kills a running one, *volumes* removes its anonymous volumes.

        Raises:
            Conflict: it is running and *force* is false.
        """
        ...

    def put(self, container: ContainerLike, source: str | PathLike[str] | bytes, target: str) -> None:
        """Copy into a container, running or not, as ``docker cp`` does.

        A file or folder *source* goes into *target* if that is a folder, and becomes *target* if
        it does not exist. Bytes become the file *target*. Modes and symbolic links are kept,
        owners are not: everything belongs to root.

        Raises:
            NotFound: the folder that *target* would be in does not exist.
        """
        ...

    def get(self, container: ContainerLike, source: str, target: str | PathLike[str]) -> Path:
        """Copy a file or folder out of a container and return where it is now, as ``docker cp`` does.

        It goes into *target* if that is a folder, and becomes *target* if it does not exist.
        Nothing is ever written outside of it, whatever the container holds.

        Raises:
            NotFound: the container has no *source*.
        """
        ...

    def address(
        self, container: ContainerLike, port: int, protocol: Literal["tcp", "udp", "sctp"] = "tcp"
    ) -> tuple[str, int]:
        """Return host and port at which a container's published *port* can be reached from here.

        Raises:
            NotFound: the port is not published.
        """
        ...
