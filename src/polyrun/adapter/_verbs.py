"""The verbs, written once over an `Engine`'s primitives, so that they behave the same on every engine."""

from __future__ import annotations

import os
import re
import secrets
import threading
import time
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Literal, TypeVar, cast

from attr import evolve

from polyrun import (
    BuildFailed,
    CommandFailed,
    Conflict,
    ConnectError,
    Container,
    ContainerNotFound,
    ContainerSpec,
    DeadlineExceeded,
    ExecResult,
    Image,
    ImageNotFound,
    InvalidArgument,
    Listing,
    NotFound,
    NotRunning,
    PolyrunError,
    Reference,
    RunResult,
    Unsupported,
)
from polyrun._models import container_spec, environment
from polyrun._parse import is_image_id, parse_command
from polyrun.adapter._archive import pack, unpack
from polyrun.adapter._context import open_context
from polyrun.adapter._engine import BuildRequest, ExecRequest, LogRequest
from polyrun.adapter._naming import CALL_LABEL, made_by, new_name, shown
from polyrun.adapter._secrets import hiding

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
    from os import PathLike
    from types import TracebackType

    from typing_extensions import Self, Unpack

    from polyrun import (
        Capabilities,
        CheckReport,
        ContainerLike,
        ContainerOptions,
        EngineVersion,
        LogChunk,
        Probe,
        Progress,
    )
    from polyrun.adapter._engine import (
        ByteStream,
        ContainerDetail,
        Engine,
        ExecOutcome,
        Execution,
        LogLines,
        ProcessStream,
        StreamName,
    )

# What a timed-out exec and all its children have in their environment, and nothing else has.
_MARKER = "POLYRUN_EXEC"

# Kills every process of the container whose environment holds the marker. Only the shell's own
# commands are used, so that it works in an image with nothing but a shell. A process may fork
# while it looks, so it looks until it finds none.
_KILL_MARKED = """
again=1
while [ $again = 1 ]; do
  again=0
  for folder in /proc/[0-9]*; do
    while IFS= read -r line || [ -n "$line" ]; do
      case $line in *"$1"*) kill -9 "${folder#/proc/}" && again=1; break;; esac
    done < "$folder/environ"
  done 2>/dev/null
done
"""

# What can be a container's name or id; anything else would lead a request somewhere else.
_NAMED = re.compile(r"[A-Za-z0-9][\w.-]*", re.ASCII)

_ENDING = 5.0
"""Seconds that the ending of a process may take, once it was told to."""

_POLL = 0.05

_LAST_LINES = 5
_LAST_BYTES = 4096
_LINE = 200
"""How much output, and how much of a line, a message has."""

_Result = TypeVar("_Result", RunResult, ExecResult)


class EngineRuntime:
    """A `polyrun.Runtime` over one engine.

    An adapter's entry point returns one: ``return EngineRuntime(MyEngine(url))``. The engine is
    closed with it.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name} at {self.url}>"

    @property
    def name(self) -> str:
        """The engine's name."""
        return self._engine.name

    @property
    def url(self) -> str:
        """Where it is."""
        return self._engine.url

    @property
    def capabilities(self) -> Capabilities:
        """What it can do."""
        return self._engine.capabilities

    @property
    def _label(self) -> str:
        return self.url

    def check(self) -> CheckReport:
        """Say whether the engine can be used; see `polyrun.Runtime.check`."""
        return self._engine.check()

    def version(self) -> EngineVersion:
        """Return the engine's version; see `polyrun.Runtime.version`."""
        return self._engine.version()

    def close(self) -> None:
        """Close the connections; see `polyrun.Runtime.close`."""
        self._engine.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

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
        """Build an image from a folder; see `polyrun.Runtime.build`."""
        if secrets and not self.capabilities.build_secrets:
            raise Unsupported(
                f"{self.name} cannot give secrets to a build over its API yet",
                capability="build_secrets",
                engine=self._label,
                hint="Take what needs the secret out of the build, or copy it into a stage that is left behind.",
            )
        if tag is not None and Reference.parse(tag).digest:
            raise InvalidArgument(f"a build cannot be given a digest: {tag!r}", hint='Write "name:tag".')
        _check_timeout(timeout)
        opened = open_context(Path(context), None if dockerfile is None else Path(dockerfile))
        request = BuildRequest(
            dockerfile=opened.dockerfile,
            # With a platform, the tag waits until it is known what was built.
            reference=tag if platform is None else None,
            args=environment(args or {}),
            target=target,
            labels=environment(labels or {}),
            platform=platform,
            pull=pull,
            cache=cache,
        )
        try:
            identifier = self._engine.build(opened.chunks(), request, on_event or _ignore, timeout)
        except DeadlineExceeded:
            raise
        except TimeoutError as error:
            raise DeadlineExceeded(
                f"the build of {tag or context} was not done after {timeout:g} seconds, and was cancelled",
                engine=self._label,
            ) from error
        detail = self._engine.image(identifier)
        if platform is not None and not _platform_fits(platform, detail.os, detail.arch, detail.variant):
            if not detail.image.tags:
                with suppress(PolyrunError):
                    self._engine.rmi(identifier)
            raise BuildFailed(
                f"asked to build for {platform}, the engine built for {detail.os}/{detail.arch}",
                engine=self._label,
                hint="Use a base image for that platform.",
            )
        if platform is not None and tag is not None:
            self._engine.tag(identifier, tag)
            return self._engine.image(identifier).image
        return detail.image

    def pull(
        self, reference: str, *, platform: str | None = None, on_event: Callable[[Progress], None] | None = None
    ) -> Image:
        """Fetch an image; see `polyrun.Runtime.pull`."""
        name = Reference.parse(reference)
        self._engine.pull(reference, platform, on_event or _ignore)
        detail = self._engine.image(str(name))
        if platform is not None and not _platform_fits(platform, detail.os, detail.arch, detail.variant):
            raise ImageNotFound(
                f"{reference} is there for {detail.os}/{detail.arch}, not for {platform}", engine=self._label
            )
        return detail.image

    def images(self, *, labels: Mapping[str, str] | None = None) -> Listing[Image]:
        """List the images; see `polyrun.Runtime.images`."""
        found = [image for image in self._engine.images() if _has(image.labels, labels)]
        return Listing(sorted(found, key=lambda image: (image.created is not None, image.created), reverse=True))

    def tag(self, image: str | Image, reference: str) -> None:
        """Give an image one more reference; see `polyrun.Runtime.tag`."""
        if Reference.parse(reference).digest:
            raise InvalidArgument(f"a tag cannot have a digest: {reference!r}", hint='Write "name:tag".')
        self._engine.tag(_image_name(image), reference)

    def rmi(self, image: str | Image, *, force: bool = False) -> None:
        """Remove an image; see `polyrun.Runtime.rmi`."""
        name = _image_name(image)
        try:
            self._engine.rmi(name)
        except Conflict:
            if not force:
                raise
            # Not by the engines' own force: Podman's removes the containers that use it.
            self._rmi_all(self._engine.image(name).image)

    def _rmi_all(self, image: Image) -> None:
        """Remove every reference, and so the image; give back those that are gone if one cannot go."""
        for position, tag in enumerate(image.tags):
            try:
                self._engine.rmi(tag)
            except BaseException:
                for gone in image.tags[:position]:
                    self._engine.tag(image.id, gone)
                raise

    # Containers

    def create(
        self,
        image: str | Image | ContainerSpec,
        command: Sequence[str] | None = None,
        **options: Unpack[ContainerOptions],
    ) -> Container:
        """Make a container; see `polyrun.Runtime.create`."""
        with self._created("create", container_spec(image, command, options)) as (identifier, detail):
            return self._mine((detail or self._engine.container(identifier)).container)

    def spawn(
        self,
        image: str | Image | ContainerSpec,
        command: Sequence[str] | None = None,
        **options: Unpack[ContainerOptions],
    ) -> Container:
        """Make a container and start it; see `polyrun.Runtime.spawn`."""
        with self._created("spawn", container_spec(image, command, options)) as (identifier, _):
            self._engine.start(identifier)
            return self.inspect(identifier)

    def run(
        self,
        image: str | Image | ContainerSpec,
        command: Sequence[str] | None = None,
        *,
        input: bytes | None = None,  # subprocess calls it so
        timeout: float | None = None,
        check: bool = True,
        remove: bool = True,
        **options: Unpack[ContainerOptions],
    ) -> RunResult:
        """Run a container to its end; see `polyrun.Runtime.run`."""
        spec = container_spec(image, command, options)
        _check_input(input)
        if input is not None:
            spec = evolve(spec, stdin=True)
        if spec.restart != "no":
            raise InvalidArgument(
                f"run waits for the end, and restart={spec.restart!r} has none", hint="Use spawn for a service."
            )
        _check_timeout(timeout)
        what = f"{_brief(spec.command or ('its own command',), hiding(spec.env.values()))} in {spec.image}"
        result, late = None, None
        with self._created("run", spec) as (identifier, _):
            # Output is collected by attaching before the start: the logs of a container that is
            # gone can be waited for in vain, and on Podman this is twice as fast.
            with _closing(self._engine.attach(identifier, stdin=spec.stdin, tty=spec.tty)) as stream:
                self._engine.start(identifier)
                left = _deadline(timeout)
                try:
                    # Nobody else can write to it, so an open standard input without input has ended.
                    data = b"" if input is None and spec.stdin else input
                    stdout, stderr = self._collect(stream, data, left)
                    result = RunResult(self._exit_code(identifier, left()), stdout, stderr, identifier)
                except TimeoutError as error:
                    if left() != 0:
                        raise
                    late = error
                    with suppress(NotRunning):
                        self._engine.kill(identifier, "KILL")
            if remove:
                with suppress(ContainerNotFound):
                    self._engine.rm(identifier, force=True, volumes=True)
        if result is None:
            raise DeadlineExceeded(
                f"{what} was not done after {timeout:g} seconds, and was killed", engine=self._label
            ) from late
        return self._checked(result, what, spec.env) if check else result

    def _checked(self, result: _Result, what: str, env: Mapping[str, str]) -> _Result:
        """Return *result*, or raise `CommandFailed` with the last lines of output, and no value of *env*."""
        if result.exit_code == 0:
            return result
        last = (result.stderr or result.stdout)[-_LAST_BYTES:].decode("utf-8", "replace")
        hide = hiding(env.values())
        raise CommandFailed(
            f"{what} ended with exit code {result.exit_code}" + _quoted(hide(last).splitlines()[-_LAST_LINES:]),
            result=result,
            engine=self._label,
        )

    def _exit_code(self, identifier: str, timeout: float | None) -> int:
        """Return the exit code of a container whose output has ended, which is rarely before its end."""
        code = self._engine.container(identifier).container.exit_code
        if code is not None:
            return code
        return self._engine.wait(identifier, timeout)

    @contextmanager
    def _created(self, verb: str, spec: ContainerSpec) -> Generator[tuple[str, ContainerDetail | None]]:
        """Make a container for the block, and remove it if the making or the block does not end well."""
        call = secrets.token_hex(8)
        spec = evolve(spec, name=spec.name or new_name(), labels={**made_by(verb, spec), CALL_LABEL: call})
        self._check_platform(spec)
        try:
            identifier = self._engine.create(spec)
        except BaseException as error:
            # An answer that was lost, or not waited for, may be that of a container.
            if not isinstance(error, PolyrunError) or isinstance(error, (ConnectError, DeadlineExceeded)):
                self._discard_unanswered(spec.name or "", call)
            raise
        try:
            yield identifier, self._verified(identifier, spec)
        except BaseException:
            with suppress(PolyrunError):
                self._engine.rm(identifier, force=True, volumes=True)
            raise

    def _discard_unanswered(self, name: str, call: str) -> None:
        """Remove the container of this very call, and no other of its name, if it comes to be."""
        left = _deadline(1.0)
        with suppress(PolyrunError):
            while left():
                with suppress(ContainerNotFound):
                    found = self._engine.container(name)
                    if found.call == call:
                        self._engine.rm(found.container.id, force=True, volumes=True)
                    return
                time.sleep(_POLL)

    def _check_platform(self, spec: ContainerSpec) -> None:
        """Refuse an image of another platform, which one engine runs in silence."""
        if spec.platform is None:
            return
        detail = self._engine.image(spec.image)
        if not _platform_fits(spec.platform, detail.os, detail.arch, detail.variant):
            raise ImageNotFound(
                f"{spec.image} is there for {detail.os}/{detail.arch}, not for {spec.platform}",
                engine=self._label,
                hint="Pull or build it for that platform.",
            )

    def _verified(self, identifier: str, spec: ContainerSpec) -> ContainerDetail | None:
        """Read back what engines are known to drop in silence; ask only if there is something to verify."""
        if not spec.limits and not spec.ports:
            return None
        detail = self._engine.container(identifier)
        limits = spec.limits
        dropped = [
            name
            for name, asked, kept in (
                ("memory", limits.memory, detail.memory),
                ("cpus", limits.cpus, detail.cpus),
                ("pids", limits.pids, detail.pids),
            )
            if asked is not None and (kept is None or abs(kept - asked) > asked * 0.01)
        ]
        if dropped:
            raise Unsupported(
                f"the engine dropped the limit on {' and '.join(dropped)}",
                capability="limits",
                engine=self._label,
                hint="Rootless engines need cgroup v2 with the controllers delegated to the user.",
            )
        missing = {f"{port.container}/{port.protocol}" for port in spec.ports} - set(detail.requested_ports)
        if missing:
            raise Unsupported(
                f"the engine does not publish {', '.join(sorted(missing))}", capability="ports", engine=self._label
            )
        return detail

    def _collect(
        self, stream: ProcessStream, data: bytes | None, left: Callable[[], float | None]
    ) -> tuple[bytes, bytes]:
        """Feed *data* and return all output; `TimeoutError` when the time is up."""
        output: dict[StreamName, list[bytes]] = {"stdout": [], "stderr": []}
        feeder = None
        if data is not None:
            # From its own thread: a process may write before it has read everything.
            feeder = threading.Thread(target=_feed, args=(stream, data), name="polyrun-input", daemon=True)
            feeder.start()
        try:
            while found := self._read(stream, left):
                output[found[0]].append(found[1])
        finally:
            # A process that ended without reading its input would be fed for ever.
            stream.close()
            if feeder:
                feeder.join()
        return b"".join(output["stdout"]), b"".join(output["stderr"])

    def _read(self, stream: ProcessStream, left: Callable[[], float | None]) -> tuple[StreamName, bytes] | None:
        """Return the next output. Silence is no fault, so the engine is asked whether it lives."""
        while True:
            remaining = left()
            try:
                return stream.read(self._engine.timeout if remaining is None else min(remaining, self._engine.timeout))
            except TimeoutError:
                if left() == 0:
                    raise
                self._engine.ping()

    def exec(
        self,
        container: ContainerLike,
        command: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        workdir: str | None = None,
        user: str | None = None,
        input: bytes | None = None,  # subprocess calls it so
        timeout: float | None = None,
        check: bool = False,
        tty: bool = False,
    ) -> ExecResult:
        """Run a further command in a running container; see `polyrun.Runtime.exec`."""
        words = parse_command(command)
        if not words:
            raise InvalidArgument("exec needs a command", hint='Write ["ls", "-l"].')
        _check_input(input)
        _check_timeout(timeout)
        name, token = _name(container), secrets.token_hex(8)
        request = ExecRequest(
            command=words,
            env={**environment(env or {}), _MARKER: token},
            workdir=workdir,
            user=user,
            stdin=input is not None,
            tty=tty,
        )
        what = f"{_brief(words, hiding((env or {}).values()))} in {shown(name)}"
        left = _deadline(timeout)
        with _closing(self._engine.exec(name, request)) as execution:
            try:
                stdout, stderr = self._collect(execution, input, left)
                outcome = self._outcome(execution, left)
            except TimeoutError as error:
                if left() != 0:
                    raise
                ended = self._end_exec(name, request, token, execution)
                raise DeadlineExceeded(
                    f"{what} was not done after {timeout:g} seconds, "
                    + ("and was killed" if ended else "and still runs: it could not be killed from inside"),
                    engine=self._label,
                    hint=""
                    if ended
                    else "This takes a /bin/sh in the image, and a container that is not paused."
                    " Stop or kill the container to end it.",
                ) from error
            except BaseException:
                self._end_exec(name, request, token, execution)
                raise
        if outcome.failure is not None:
            # The reason why there was no process is not its output; it stands on stdout or stderr
            # by engine, so it is given as stderr on all.
            reason = outcome.failure if words[0] in outcome.failure else f"{words[0]}: {outcome.failure}"
            stdout, stderr = b"", reason.encode() + b"\n"
        result = ExecResult(outcome.exit_code, stdout, stderr, outcome.raw_exit_code)
        return self._checked(result, what, env or {}) if check else result

    def _outcome(self, execution: Execution, left: Callable[[], float | None]) -> ExecOutcome:
        """Return how a process ended whose output has ended, which is rarely before its end."""
        pause = 0.001
        while (outcome := execution.outcome()) is None:
            if left() == 0:
                raise TimeoutError
            time.sleep(pause)
            pause = min(pause * 2, _POLL)
        return outcome

    def _end_exec(self, name: str, request: ExecRequest, token: str, execution: Execution) -> bool:
        """Kill the process and its children inside the container; return whether they are gone.

        Giving up the connection does not end it on any engine. Only its own user and root may
        read its environment, so both are tried.
        """
        for user in dict.fromkeys((request.user, "0")):
            script = ExecRequest(command=("/bin/sh", "-c", _KILL_MARKED, "sh", f"{_MARKER}={token}"), user=user)
            with suppress(PolyrunError, TimeoutError), _closing(self._engine.exec(name, script)) as killer:
                self._collect(killer, None, _deadline(_ENDING))
            with suppress(PolyrunError, TimeoutError):
                self._outcome(execution, _deadline(0.5))
                return True
        return False

    def ps(
        self,
        *,
        all: bool = False,  # the tools' own word
        labels: Mapping[str, str] | None = None,
        name: str | None = None,
    ) -> Listing[Container]:
        """List containers; see `polyrun.Runtime.ps`."""
        found = [
            self._mine(container)
            for container in self._engine.containers(all=all, labels=dict(labels or {}))
            if _has(container.labels, labels) and name in (None, container.name)
        ]
        return Listing(sorted(found, key=lambda container: container.created, reverse=True))

    def inspect(self, container: ContainerLike) -> Container:
        """Return a container as it is now; see `polyrun.Runtime.inspect`."""
        return self._mine(self._engine.container(_name(container)).container)

    def _mine(self, container: Container) -> Container:
        # Not by evolve(), which takes longer than all else that is done for a row of a list. The
        # engine has just made this value, and nobody else holds it.
        object.__setattr__(container, "_runtime", self)
        return container

    def logs(
        self,
        container: ContainerLike,
        *,
        follow: bool = False,
        tail: int | None = None,
        since: datetime | float | None = None,
        until: datetime | float | None = None,
        timestamps: bool = False,
    ) -> Logs:
        """Return what a container wrote; see `polyrun.Runtime.logs`."""
        if tail is not None and tail < 0:
            raise InvalidArgument(f"tail is how many lines: {tail!r}")
        request = LogRequest(follow=follow, tail=tail, since=_epoch(since), until=_epoch(until), timestamps=timestamps)
        return Logs(self._engine, self._engine.logs(_name(container), request))

    def start(self, container: ContainerLike) -> None:
        """Start a container; see `polyrun.Runtime.start`."""
        self._engine.start(_name(container))

    def stop(self, container: ContainerLike, *, timeout: float = 10) -> None:
        """Stop a container; see `polyrun.Runtime.stop`."""
        if not 0 <= timeout < float("inf"):
            raise InvalidArgument(f"a timeout is seconds, 0 or more: {timeout!r}")
        self._engine.stop(_name(container), timeout)

    def kill(self, container: ContainerLike, signal: str | int = "KILL") -> None:
        """Send a signal; see `polyrun.Runtime.kill`."""
        word = str(int(signal) if isinstance(signal, int) else signal).upper().removeprefix("SIG")
        if not re.fullmatch(r"[A-Z]+[0-9]?([+-][0-9]+)?|[1-9]|[1-5][0-9]|6[0-4]", word):
            raise InvalidArgument(f"not a signal: {signal!r}", hint='A signal is "TERM", "SIGTERM" or 15.')
        self._engine.kill(_name(container), word)

    def restart(self, container: ContainerLike, *, timeout: float = 10) -> None:
        """Stop and start; the engines' own restart differs in how it stops. See `polyrun.Runtime.restart`."""
        self.stop(container, timeout=timeout)
        self.start(container)

    def pause(self, container: ContainerLike) -> None:
        """Freeze a container; see `polyrun.Runtime.pause`."""
        self._engine.pause(_name(container))

    def unpause(self, container: ContainerLike) -> None:
        """Let a container go on; see `polyrun.Runtime.unpause`."""
        self._engine.unpause(_name(container))

    def wait(self, container: ContainerLike, *, timeout: float | None = None) -> int:
        """Return the exit code; see `polyrun.Runtime.wait`."""
        _check_timeout(timeout)
        name = _name(container)
        found = self._engine.container(name).container
        if found.exit_code is not None:
            return found.exit_code
        if found.state == "created":
            # Engines answer at once here, with 0 or -1.
            raise NotRunning(f"{shown(name)} was never started", engine=self._label, hint="start() it first.")
        try:
            if timeout == 0:
                raise TimeoutError
            return self._engine.wait(found.id, timeout)
        except DeadlineExceeded:
            raise
        except TimeoutError as error:
            raise DeadlineExceeded(
                f"{shown(name)} had not exited after {timeout:g} seconds; it goes on", engine=self._label
            ) from error

    def wait_ready(self, container: ContainerLike, *, probe: Probe | None = None, timeout: float = 60) -> Container:
        """Return a container once it is ready; see `polyrun.Runtime.wait_ready`."""
        _check_timeout(timeout)
        left = _deadline(timeout)
        name = _name(container)
        pause = 0.005
        while True:
            detail = self._engine.container(name)
            now = self._mine(detail.container)
            if now.state in ("created", "exited", "dead", "removing"):
                raise NotRunning(
                    f"{shown(name)} is {now.state} and will not become ready{self._last_words(now, detail.env)}",
                    engine=self._label,
                )
            if now.state == "running":
                well = not detail.has_health if probe is None else probe(now)
                if well or (probe is None and self._is_healthy(now.id, left)):
                    return self.inspect(now)
            if left() == 0:
                raise DeadlineExceeded(
                    f"{shown(name)} was not ready after {timeout:g} seconds; it is {now.state}"
                    f"{f' and {now.health}' if now.health else ''}",
                    engine=self._label,
                    hint="Its logs may say why.",
                )
            time.sleep(pause)
            pause = min(pause * 1.5, 0.2)

    def _is_healthy(self, identifier: str, left: Callable[[], float | None]) -> bool:
        try:
            return self._engine.health(identifier, left() or 0.0) == "healthy"
        except TimeoutError:
            # A check that hangs is not passed; whether there is time for another is the caller's to say.
            return False

    def _last_words(self, container: Container, secret: Iterable[str]) -> str:
        if container.exit_code is None:
            return ""
        lines: list[str] = []
        with suppress(PolyrunError), self.logs(container, tail=5) as stream:
            lines = b"".join(chunk.data for chunk in stream).decode("utf-8", "replace").splitlines()
        return f" (exit code {container.exit_code})" + _quoted(hiding(secret)(line) for line in lines)

    def rm(self, container: ContainerLike, *, force: bool = False, volumes: bool = False) -> None:
        """Remove a container; see `polyrun.Runtime.rm`."""
        self._engine.rm(_name(container), force=force, volumes=volumes)

    def put(self, container: ContainerLike, source: str | PathLike[str] | bytes, target: str) -> None:
        """Copy into a container; see `polyrun.Runtime.put`."""
        name = _name(container)
        path = _inside(target)
        if not isinstance(source, bytes):
            source = Path(source)
            if not source.exists() and not source.is_symlink():
                raise InvalidArgument(f"nothing to copy: there is no {source}")
        resolved, there = self._look(name, path)
        folder, _, last = resolved.rstrip("/").rpartition("/")
        if there == "folder":
            if isinstance(source, bytes):
                raise InvalidArgument(f"{target} is a folder; bytes need the name of a file")
            folder, last = resolved, source.resolve().name if source.name in ("", "..") else source.name
        elif there == "file" and isinstance(source, Path) and source.is_dir():
            raise InvalidArgument(f"{target} is a file in the container, and {source} a folder")
        elif path.endswith("/"):
            raise NotFound(f"no folder {target} in container {shown(name)}", engine=self._label)
        elif there == "nothing":
            folder, above = self._look(name, folder or "/")
            if above != "folder":
                # One engine would make it, the other would not.
                raise NotFound(f"no folder {folder} in container {shown(name)}", engine=self._label)
        self._engine.put(name, folder or "/", pack(source, last))

    def _look(self, container: str, path: str) -> tuple[str, Literal["folder", "file", "nothing"]]:
        """Return where *path* leads, and what is there; engines differ in which links they follow."""
        try:
            found = self._engine.stat(container, path)
            if found.link_target:
                path, found = found.link_target, self._engine.stat(container, found.link_target)
        except ContainerNotFound:
            raise
        except NotFound:
            return path, "nothing"
        return path, "folder" if found.is_dir else "file"

    def get(self, container: ContainerLike, source: str, target: str | PathLike[str]) -> Path:
        """Copy out of a container; see `polyrun.Runtime.get`."""
        name, path = _name(container), Path(target)
        inside = _inside(source)
        # One engine sends a link as a link and the other what it leads to: the latter is meant.
        found = self._engine.stat(name, inside)
        rename = PurePosixPath(inside).name
        if not rename or rename == "..":
            raise InvalidArgument(f"what should a copy of {source} be called?", hint="Name a file or folder in it.")
        if not path.is_dir():
            if os.fspath(target).endswith("/") or not path.absolute().parent.is_dir():
                raise InvalidArgument(f"there is no folder to copy to: {target}")
            path, rename = path.absolute().parent, path.name
        with _closing(self._engine.get(name, found.link_target or inside.rstrip("/"))) as archive:
            return unpack(self._chunks(archive), path, rename=rename)

    def _chunks(self, archive: ByteStream) -> Iterator[bytes]:
        while data := archive.read(self._engine.timeout):
            yield data

    def address(
        self, container: ContainerLike, port: int, protocol: Literal["tcp", "udp", "sctp"] = "tcp"
    ) -> tuple[str, int]:
        """Return where a published port is reached; see `polyrun.Runtime.address`."""
        found = container if isinstance(container, Container) else self.inspect(container)
        if not found.ports:
            found = self.inspect(found)
        for published in found.ports:
            if (published.container, published.protocol) == (port, protocol) and published.host:
                return published.host_ip or self._engine.host_address, published.host
        raise NotFound(
            f"{found.name} does not publish {port}/{protocol}",
            engine=self._label,
            hint=f"Create it with ports=[{port}]; a container that does not run publishes nothing.",
        )


class Logs:
    """A `polyrun.LogStream` over an engine's output."""

    def __init__(self, engine: Engine, lines: LogLines) -> None:
        self._engine = engine
        self._lines = lines

    def __iter__(self) -> Iterator[LogChunk]:
        return self

    def __next__(self) -> LogChunk:
        while True:
            try:
                chunk = self._lines.read(self._engine.timeout)
            except TimeoutError:
                # A container may be silent for days; an engine that is has died.
                self._engine.ping()
            except BaseException:
                self.close()
                raise
            else:
                if chunk is not None:
                    return chunk
                self.close()
                raise StopIteration

    def close(self) -> None:
        """End the stream, from any thread."""
        self._lines.close()

    def __del__(self) -> None:
        # An iterator that is dropped half-way is closed, as a generator would be.
        with suppress(Exception):
            self.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _quoted(lines: Iterable[str]) -> str:
    """Return lines of output as part of a message, each cut to what can be read."""
    return "".join(f"\n  | {line if len(line) <= _LINE else line[:_LINE] + '…'}" for line in lines)


def _brief(command: Sequence[str], hide: Callable[[str], str]) -> str:
    """Return a command for a message."""
    text = hide(" ".join(command).replace("\n", " "))
    return text if len(text) <= _LINE else text[:_LINE] + "…"


def _feed(stream: ProcessStream, data: bytes) -> None:
    try:
        stream.write(data)
    finally:
        stream.end_input()


def _check_input(data: object) -> None:
    if data is not None and not isinstance(data, (bytes, bytearray, memoryview)):
        raise InvalidArgument(f"input is bytes, not {type(data).__name__}", hint="Write input=text.encode().")


def _ignore(_: Progress) -> None:
    """Take a progress that nobody asked for."""


_Closeable = TypeVar("_Closeable", bound="ByteStream | ProcessStream")


@contextmanager
def _closing(stream: _Closeable) -> Generator[_Closeable]:
    try:
        yield stream
    finally:
        stream.close()


def _deadline(timeout: float | None) -> Callable[[], float | None]:
    """Return a function that says how many seconds are left; ``None`` is for ever."""
    if timeout is None:
        return lambda: None
    end = time.monotonic() + timeout
    return lambda: max(0.0, end - time.monotonic())


def _check_timeout(timeout: float | None) -> None:
    if not isinstance(cast("object", timeout), (int, float, type(None))) or (
        timeout is not None and not 0 <= timeout < float("inf")
    ):
        raise InvalidArgument(f"a timeout is seconds, 0 or more, or None for no limit: {timeout!r}")


def _name(container: ContainerLike) -> str:
    name = container.id if isinstance(container, Container) else container
    if not isinstance(cast("object", name), str) or not _NAMED.fullmatch(name):
        raise InvalidArgument(
            f"not a container: {name!r}", hint="It is named by its name or id, without a slash, or by a Container."
        )
    return name


def _image_name(image: str | Image) -> str:
    if isinstance(image, Image):
        return image.id
    if not is_image_id(image):
        Reference.parse(image)
    return image


def _has(labels: Mapping[str, str], wanted: Mapping[str, str] | None) -> bool:
    return all(labels.get(name) == value for name, value in (wanted or {}).items())


def _epoch(moment: datetime | float | None) -> float | None:
    if not isinstance(moment, datetime):
        return moment
    if moment.tzinfo is None:
        raise InvalidArgument(
            f"a time without a zone: {moment}", hint="Use datetime.now(timezone.utc), or seconds since 1970."
        )
    return moment.timestamp()


def _inside(path: str) -> str:
    if not path.startswith("/"):
        raise InvalidArgument(f"a path in a container is absolute: {path!r}")
    return path


def _platform_fits(wanted: str, os_name: str, arch: str, variant: str) -> bool:
    found = f"{os_name}/{arch}/{variant}" if wanted.count("/") == 2 else f"{os_name}/{arch}"
    return wanted == found
