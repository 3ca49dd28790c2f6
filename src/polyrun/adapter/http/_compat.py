"""The Docker-compatible API, which both engines answer: what is the same, written once.

An engine's adapter subclasses `CompatEngine`, gives its table of failures, and overrides the
methods in which its engine differs.
"""

from __future__ import annotations

import base64
import json
import re
from abc import ABC, abstractmethod
from math import ceil
from typing import TYPE_CHECKING, Any, ClassVar, cast

from attr import frozen

from polyrun import (
    BuildFailed,
    ContainerNotFound,
    DeadlineExceeded,
    EngineError,
    EngineVersion,
    ImageNotFound,
    NotFound,
    PolyrunError,
    Progress,
    PullFailed,
    Reference,
)
from polyrun.adapter._engine import ExecOutcome, PathStat
from polyrun.adapter._failures import start_failed, start_failure
from polyrun.adapter._naming import shown
from polyrun.adapter._secrets import hiding
from polyrun.adapter.http import _convert
from polyrun.adapter.http._frames import HttpLogs, HttpProcess, open_output
from polyrun.adapter.http._transport import deadline, segment
from polyrun.adapter.http._whole import WholeOutput

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from polyrun import Capabilities, CheckReport, Container, ContainerSpec, Health, Image
    from polyrun.adapter._engine import (
        BuildRequest,
        ByteStream,
        ContainerDetail,
        ExecRequest,
        Execution,
        ImageDetail,
        LogLines,
        LogRequest,
        ProcessStream,
        StreamName,
    )
    from polyrun.adapter.http._check import Words
    from polyrun.adapter.http._frames import Output
    from polyrun.adapter.http._transport import HttpClient, HttpStream, Reply

_ANSI = re.compile(r"\x1b\[[0-9;]*m")
_STEP = re.compile(r"(?:\[\d+/\d+\] )?step (\d+)/(\d+) ?: (.*)", re.IGNORECASE)
_OUTPUT_KEPT = 20
_GREETING = 5.0
_HEAD = 2048
_HEAD_PIECES = 4
# What engines give as the exit code where there was no process.
_NO_PROCESS = (125, 126, 127, 255)
_NOT_FOUND = 404
_NOT_EXECUTABLE = 126


@frozen
class Failure:
    """A row of an engine's table: answers with *status* whose text matches *pattern* mean *error*.

    A *status* of ``None`` is any. The text is Podman's ``cause`` and the message together.
    """

    status: int | None
    pattern: str
    error: type[PolyrunError]


class CompatEngine(ABC):
    """An `Engine` over the Docker-compatible API."""

    failures: ClassVar[tuple[Failure, ...]]

    def __init__(self, http: HttpClient, *, name: str, url: str, host_address: str) -> None:
        self._http = http
        self._name = name
        self._url = url
        self._host_address = host_address
        self._capabilities: Capabilities | None = None
        self._api = ""
        self._label = url

    @property
    def name(self) -> str:
        """The engine's name."""
        return self._name

    @property
    def url(self) -> str:
        """Where the engine is."""
        return self._url

    @property
    def timeout(self) -> float:
        """Seconds after which a request without an answer has failed."""
        return self._http.timeout

    @property
    def host_address(self) -> str:
        """Where published ports are reached."""
        return self._host_address

    @property
    def capabilities(self) -> Capabilities:
        """What the engine can do; asked for once."""
        if self._capabilities is None:
            self._capabilities = self._find_capabilities()
        return self._capabilities

    @abstractmethod
    def _find_capabilities(self) -> Capabilities: ...

    @abstractmethod
    def check(self) -> CheckReport:
        """Say what is right and wrong with the engine."""

    def close(self) -> None:
        """Close the kept connections."""
        self._http.close()

    def _greet(self, words: Words) -> Mapping[str, str]:
        """Return the headers of an answer to a ping by the right engine; close and raise for any other.

        They tell all that is needed to begin, in a thousandth of the time of ``/version`` on Podman.
        """
        try:
            reply = self._http.request(
                "GET", "/_ping", timeout=min(_GREETING, self.timeout), fail=lambda _: self._http.broken(OSError())
            )
            if not reply.headers.get("server", "").startswith(words.server):
                raise self._http.broken(OSError("it is another engine"))
        except DeadlineExceeded as error:
            self.close()
            raise self._http.broken(error) from error
        except BaseException:
            self.close()
            raise
        return reply.headers

    def ping(self) -> None:
        """Ask for a sign of life."""
        self._http.request("GET", "/_ping", timeout=min(5.0, self.timeout), fail=self._fail("the ping"))

    def version(self) -> EngineVersion:
        """Return the engine's version."""
        raw = self._get("/version", "the version").json()
        with _convert.reading("its version", self._label):
            return EngineVersion(self.name, raw["Version"], raw["ApiVersion"], raw["Os"], raw["Arch"])

    # Requests, and what their failures mean

    def _get(
        self,
        path: str,
        what: str,
        query: Mapping[str, object] | None = None,
        *,
        missing: type[NotFound] | None = None,
        timeout: float | None = None,
    ) -> Reply:
        return self._http.request("GET", self._api + path, query=query, fail=self._fail(what, missing), timeout=timeout)

    def _post(
        self,
        path: str,
        what: str,
        query: Mapping[str, object] | None = None,
        *,
        body: object = None,
        missing: type[NotFound] | None = None,
        timeout: float | None = None,
    ) -> Reply:
        return self._http.request(
            "POST", self._api + path, query=query, body=body, fail=self._fail(what, missing), timeout=timeout
        )

    def _fail(self, what: str, missing: type[NotFound] | None = None) -> Callable[[Reply], PolyrunError]:
        """Return what makes an error of an answer; *missing* is the meaning of a bare 404."""

        def fail(reply: Reply) -> PolyrunError:
            message, text = reason(reply)
            for row in self.failures:
                if row.status in (None, reply.status) and re.search(row.pattern, text, re.IGNORECASE):
                    error = row.error
                    break
            else:
                error = missing if reply.status == _NOT_FOUND and missing else EngineError
            said = f"{what}: {message}"
            if issubclass(error, EngineError):
                return error(said, status=reply.status, engine=self._label)
            if error is ContainerNotFound:
                return error(said, engine=self._label, hint="ps(all=True) lists the containers there are.")
            if error is ImageNotFound:
                return error(said, engine=self._label, hint="Build or pull it first; images() lists what is there.")
            return error(said, engine=self._label)

        return fail

    # Images

    def build(
        self,
        context: Iterable[bytes],
        request: BuildRequest,
        on_event: Callable[[Progress], None],
        timeout: float | None,
    ) -> str:
        """Build over ``POST /build``; dropping the connection cancels a build on both engines."""
        query: dict[str, object] = {
            "dockerfile": request.dockerfile,
            "t": request.reference and self.qualified(request.reference),
            "buildargs": dict(request.args) or None,
            "labels": dict(request.labels) or None,
            "target": request.target,
            "platform": request.platform,
            "pull": request.pull or None,
            "nocache": not request.cache,
            "rm": True,
            # A failed build would leave its last container on Docker.
            "forcerm": True,
        }
        left = deadline(timeout)
        story = BuildStory(on_event, hide=request.args.values())
        what = f"the build of {request.reference or request.dockerfile}"

        def fail(reply: Reply) -> PolyrunError:
            # Docker reports a syntax error so, Podman in the stream.
            error = self._fail(what)(reply)
            return story.failed(what, reason(reply)[0], self._label) if reply.status in (400, 500) else error

        stream = self._http.stream(
            "POST",
            f"{self._api}/build",
            query=query,
            chunks=_in_time(context, left),
            headers={"Content-Type": "application/x-tar"},
            fail=fail,
            timeout=left(),
        )
        try:
            for event in self._events(stream, left):
                story.tell(event, what, self._label)
        finally:
            stream.close()
        if story.image is None:
            raise EngineError(f"{what} ended without an image", engine=self._label)
        return story.image

    def pull(self, reference: str, platform: str | None, on_event: Callable[[Progress], None]) -> None:
        """Pull over ``POST /images/create``. Docker fails before the stream, Podman within it."""
        name = Reference.parse(reference)
        what = f"the pull of {reference}"

        def fail(reply: Reply) -> PolyrunError:
            return PullFailed(f"{what}: {reason(reply)[0]}", engine=self._label, hint=_PULL_HINT)

        auth = self.credentials(name.registry)
        stream = self._http.stream(
            "POST",
            f"{self._api}/images/create",
            query={"fromImage": f"{name.name}@{name.digest}" if name.digest else name.name, "tag": name.tag}
            | {"platform": platform},
            headers={"X-Registry-Auth": base64.urlsafe_b64encode(json.dumps(auth).encode()).decode()} if auth else {},
            fail=fail,
        )
        try:
            for event in self._events(stream, lambda: None):
                problem = event.get("error") or _convert.part(event, "errorDetail").get("message")
                if problem:
                    raise PullFailed(f"{what}: {problem}", engine=self._label, hint=_PULL_HINT)
                on_event(_pull_progress(event))
        finally:
            stream.close()

    def credentials(self, registry: str) -> Mapping[str, str] | None:  # noqa: ARG002  # for the engines' own stores
        """Return the stored credentials for *registry*, and for no other."""
        return None

    def qualified(self, reference: str) -> str:
        """Return the full name under which the engine is to keep an image."""
        return str(Reference.parse(reference))

    def images(self) -> Sequence[Image]:
        """List images."""
        rows = self._get("/images/json", "the images").json()
        with _convert.reading("the images", self._label):
            return [_convert.listed_image(row) for row in rows]

    def image(self, image: str) -> ImageDetail:
        """Return one image."""
        raw = self._get(f"/images/{segment(self.local(image))}/json", f"image {image}", missing=ImageNotFound).json()
        with _convert.reading(f"image {image}", self._label):
            return _convert.inspected_image(raw)

    def local(self, image: str) -> str:
        """Return the name by which the engine finds a local image."""
        return image

    def tag(self, image: str, reference: str) -> None:
        """Add a reference."""
        name = Reference.parse(self.qualified(reference))
        self._post(
            f"/images/{segment(self.local(image))}/tag",
            f"tag {image} as {reference}",
            {"repo": name.name, "tag": name.tag},
            missing=ImageNotFound,
        )

    def rmi(self, image: str) -> None:
        """Remove an image or a reference."""
        self._http.request(
            "DELETE",
            f"{self._api}/images/{segment(self.local(image))}",
            fail=self._fail(f"rmi {image}", ImageNotFound),
        )

    # Containers

    @abstractmethod
    def create(self, spec: ContainerSpec) -> str:
        """Make a container."""

    @abstractmethod
    def containers(self, *, all: bool, labels: Mapping[str, str]) -> Sequence[Container]:
        """List containers in one request."""

    def container(self, container: str) -> ContainerDetail:
        """Return one container."""
        raw = self._get(
            f"/containers/{segment(container)}/json", f"container {shown(container)}", missing=ContainerNotFound
        ).json()
        with _convert.reading(f"container {shown(container)}", self._label):
            return _convert.inspected(raw)

    def start(self, container: str) -> None:
        """Start; 304 says that it runs."""

        def fail(reply: Reply) -> PolyrunError:
            error = self._fail(f"start {shown(container)}", ContainerNotFound)(reply)
            if isinstance(error, NotFound):
                return error
            return start_failed(f"container {shown(container)}", reason(reply)[0], self._label)

        self._http.request("POST", f"{self._api}/containers/{segment(container)}/start", fail=fail)

    def stop(self, container: str, timeout: float) -> None:
        """Stop; always with a time, since a stop without one is an immediate SIGKILL on Podman 4.3."""
        self._post(
            f"/containers/{segment(container)}/stop",
            f"stop {shown(container)}",
            {"t": ceil(timeout)},
            missing=ContainerNotFound,
            timeout=timeout + self.timeout,
        )

    def kill(self, container: str, signal: str) -> None:
        """Send a signal."""
        self._container_post(container, "kill", {"signal": signal})

    def pause(self, container: str) -> None:
        """Freeze."""
        self._container_post(container, "pause")

    def unpause(self, container: str) -> None:
        """Let go on."""
        self._container_post(container, "unpause")

    def _container_post(self, container: str, verb: str, query: Mapping[str, object] | None = None) -> None:
        self._post(
            f"/containers/{segment(container)}/{verb}", f"{verb} {shown(container)}", query, missing=ContainerNotFound
        )

    def rm(self, container: str, *, force: bool, volumes: bool) -> None:
        """Remove."""
        self._http.request(
            "DELETE",
            f"{self._api}/containers/{segment(container)}",
            query={"force": force or None, "v": volumes or None},
            fail=self._fail(f"rm {shown(container)}", ContainerNotFound),
        )

    def wait(self, container: str, timeout: float | None) -> int:
        """Wait; an answer with an ``Error`` has no exit code, whatever number stands beside it."""
        raw = self._held(
            timeout,
            lambda limit: self._post(
                f"/containers/{segment(container)}/wait",
                f"wait {shown(container)}",
                missing=ContainerNotFound,
                timeout=limit,
            ),
        ).json()
        with _convert.reading("a wait", self._label):
            problem = _convert.part(raw, "Error").get("Message")
            if not problem:
                return int(raw["StatusCode"])
        raise EngineError(f"wait {shown(container)}: {problem}", engine=self._label)

    def _held(self, timeout: float | None, ask: Callable[[float], Reply]) -> Reply:
        """Return the answer to a request that the engine holds back, asking again while it is alive.

        Raises `TimeoutError` when *timeout* is over, `ConnectError` when the engine is.
        """
        left = deadline(timeout)
        while True:
            limit = min(self.timeout, remaining) if (remaining := left()) is not None else self.timeout
            try:
                return ask(max(limit, 0.001))
            except TimeoutError as error:
                if left() == 0:
                    raise TimeoutError from error
                self.ping()

    def health(self, container: str, timeout: float) -> Health | None:  # noqa: ARG002  # for engines that run the check
        """Return the health that the engine's own schedule found."""
        return self.container(container).container.health

    def attach(self, container: str, *, stdin: bool, tty: bool) -> ProcessStream:
        """Attach before the start; to an exited container it would hang on both engines."""
        stream = self._http.stream(
            "POST",
            f"{self._api}/containers/{segment(container)}/attach",
            query={"stream": True, "stdout": True, "stderr": True, "stdin": stdin or None},
            upgrade=True,
            fail=self._fail(f"attach to {shown(container)}", ContainerNotFound),
        )
        return HttpProcess(stream, tty=tty)

    def exec(self, container: str, request: ExecRequest) -> Execution:
        """Start a further process."""
        body = {
            "Cmd": list(request.command),
            "Env": [f"{name}={value}" for name, value in request.env.items()],
            "WorkingDir": request.workdir or "",
            "User": request.user or "",
            "AttachStdin": request.stdin,
            "AttachStdout": True,
            "AttachStderr": True,
            "Tty": request.tty,
            "Privileged": request.privileged,
        }
        what = f"exec in {shown(container)}"
        made = self._post(f"/containers/{segment(container)}/exec", what, body=body, missing=ContainerNotFound).json()
        identifier = _convert.made(made, self._label)
        stream = self._http.stream(
            "POST",
            f"{self._api}/exec/{identifier}/start",
            body={"Detach": False, "Tty": request.tty},
            upgrade=True,
            fail=self._fail(what, ContainerNotFound),
        )
        return HttpExecution(
            stream,
            tty=request.tty,
            outcome=lambda: self._exec_outcome(identifier),
            failure=self._exec_failure,
        )

    def _exec_outcome(self, identifier: str) -> tuple[int, bool] | None:
        """Return exit code and whether there surely was a process; `None` while it runs.

        The code counts only when ``Running`` is false and it is not null: Podman has 0 there
        from the beginning, Docker null.
        """
        raw = self._get(f"/exec/{identifier}/json", "exec").json()
        with _convert.reading("an exec", self._label):
            if raw["Running"] or raw["ExitCode"] is None:
                return None
            return int(raw["ExitCode"]), bool(raw.get("Pid"))

    @abstractmethod
    def _exec_failure(self, stream: StreamName, text: bytes) -> str | None:
        """Return the reason in *text*, if it is the engine's own about a process that it could not start."""

    def logs(self, container: str, request: LogRequest) -> LogLines:
        """Open the output; what an engine loses at the end of a follow is read again."""
        tty = self.container(container).tty

        def output(follow: bool, tail: int | None = None) -> Output:
            stream = self._open_logs(container, request, follow=follow, tail=tail)
            return open_output(stream, tty=tty, whole=request.timestamps)

        if not request.follow and (request.tail is None or self._cuts_tails):
            return HttpLogs(output(follow=False, tail=request.tail), tty=tty, timed=request.timestamps)
        whole = WholeOutput(
            output,
            lambda: self._runs(container),
            open_deaths=self._deaths_of(container),
            tail=request.tail,
            follow=request.follow,
        )
        return HttpLogs(whole, tty=tty, timed=request.timestamps)

    _cuts_tails: ClassVar[bool] = True
    """Whether the engine's own ``tail`` is right, also for a last line without an end."""

    def _deaths_of(self, container: str) -> Callable[[], ByteStream] | None:  # noqa: ARG002  # for engines that need it
        """Return what opens a stream that says when a container has died, if a follow cannot be trusted after that."""
        return None

    def _runs(self, container: str) -> bool:
        try:
            return self.container(container).container.state in ("running", "paused", "restarting")
        except ContainerNotFound:
            return False

    def _open_logs(self, container: str, request: LogRequest, *, follow: bool, tail: int | None) -> HttpStream:
        """Open the raw output; times go as seconds, since RFC 3339 is a 500 on Docker."""
        return self._http.stream(
            "GET",
            f"{self._api}/containers/{segment(container)}/logs",
            query={
                "stdout": True,
                "stderr": True,
                "follow": follow or None,
                "tail": tail,
                "since": _epoch(request.since),
                "until": _epoch(request.until),
                "timestamps": request.timestamps or None,
            },
            fail=self._fail(f"logs of {shown(container)}", ContainerNotFound),
        )

    def stat(self, container: str, path: str) -> PathStat:
        """Ask for the header that describes *path*."""
        reply = self._http.request(
            "HEAD",
            f"{self._api}/containers/{segment(container)}/archive",
            query={"path": path},
            fail=self._archive_fail(container, path),
        )
        with _convert.reading(path, self._label):
            raw = json.loads(base64.b64decode(reply.headers["x-docker-container-path-stat"]))
            return PathStat(
                name=raw["name"],
                size=raw["size"],
                # Go's file modes: the highest bit is a folder.
                is_dir=bool(raw["mode"] >> 31 & 1),
                link_target=raw.get("linkTarget") or "",
            )

    def put(self, container: str, path: str, archive: Iterable[bytes]) -> None:
        """Unpack a tar stream in *path*."""
        self._http.stream(
            "PUT",
            f"{self._api}/containers/{segment(container)}/archive",
            query=self._put_query(path),
            chunks=archive,
            headers={"Content-Type": "application/x-tar"},
            fail=self._archive_fail(container, path),
        ).close()

    def _put_query(self, path: str) -> Mapping[str, object]:
        return {"path": path}

    def get(self, container: str, path: str) -> HttpStream:
        """Open a tar stream of *path*."""
        return self._http.stream(
            "GET",
            f"{self._api}/containers/{segment(container)}/archive",
            query={"path": path},
            fail=self._archive_fail(container, path),
        )

    def _archive_fail(self, container: str, path: str) -> Callable[[Reply], PolyrunError]:
        def fail(reply: Reply) -> PolyrunError:
            # A HEAD has no body, so a 404 may be the container's or the path's: ask which.
            if reply.status == _NOT_FOUND:
                self.container(container)
                return NotFound(f"no {path} in container {shown(container)}", engine=self._label)
            return self._fail(f"copy of {path} in {shown(container)}")(reply)

        return fail

    def _events(self, stream: HttpStream, left: Callable[[], float | None]) -> Iterator[Mapping[str, Any]]:
        """Yield the JSON values of a stream, while the engine is alive and there is time."""
        rest = b""
        while True:
            remaining = left()
            try:
                data = stream.read(self.timeout if remaining is None else min(self.timeout, remaining))
            except TimeoutError:
                if left() == 0:
                    raise
                self.ping()
                continue
            *lines, rest = (rest + data).split(b"\n")
            if not data and rest:
                lines, rest = [rest], b""
            for line in lines:
                if line.strip():
                    with _convert.reading("its progress", self._label):
                        event = cast("Mapping[str, Any]", dict(json.loads(line)))
                    yield event
            if not data:
                return


def _in_time(chunks: Iterable[bytes], left: Callable[[], float | None]) -> Iterator[bytes]:
    for chunk in chunks:
        if left() == 0:
            raise TimeoutError
        yield chunk


_PULL_HINT = "Check the name, that the registry can be reached from the engine's host, and the login."


class HttpExecution(HttpProcess):
    """A further process over an upgraded connection, and how it ended.

    *outcome* says what the engine knows: exit code, and whether there surely was a process. *failure*
    finds the engine's reason in the output of one that could not be started: its stream and text.
    """

    def __init__(
        self,
        stream: HttpStream,
        *,
        tty: bool,
        outcome: Callable[[], tuple[int, bool] | None],
        failure: Callable[[StreamName, bytes], str | None],
    ) -> None:
        super().__init__(stream, tty=tty)
        self._outcome = outcome
        self._failure = failure
        self._head: list[tuple[StreamName, bytes]] = []

    def read(self, timeout: float | None = None) -> tuple[StreamName, bytes] | None:
        """Return the next output; its beginning is kept, since a failed start is told there."""
        found = super().read(timeout)
        if found and len(self._head) < _HEAD_PIECES:
            self._head.append((found[0], found[1][:_HEAD]))
        return found

    def outcome(self) -> ExecOutcome | None:
        """Return how it ended, or ``None`` while it runs; 126 and 127 mean the same on every engine."""
        found = self._outcome()
        if found is None:
            return None
        code, ran = found
        streams: set[StreamName] = {name for name, _ in self._head}
        if ran or code not in _NO_PROCESS or len(streams) != 1:
            return ExecOutcome(exit_code=code, raw_exit_code=code)
        text = self._failure(streams.pop(), b"".join(data for _, data in self._head))
        if text is None:
            return ExecOutcome(exit_code=code, raw_exit_code=code)
        _, meaning = start_failure(text)
        return ExecOutcome(exit_code=max(meaning, _NOT_EXECUTABLE), raw_exit_code=code, failure=text)


class BuildStory:
    """What a build's stream of events says: its progress, its image, or its failure."""

    def __init__(self, on_event: Callable[[Progress], None], *, hide: Iterable[str]) -> None:
        self.image: str | None = None
        self._on_event = on_event
        self._shown = hiding(hide)
        self._step: str | None = None
        self._output: list[str] = []

    def tell(self, event: Mapping[str, Any], what: str, engine: str) -> None:
        """Take one event; raise `BuildFailed` if it says so."""
        problem = _convert.part(event, "errorDetail").get("message") or event.get("error")
        if problem:
            raise self.failed(what, problem, engine)
        identifier = _convert.part(event, "aux").get("ID")
        if identifier:
            self.image = identifier
        for line in str(event.get("stream") or "").splitlines():
            self._line(_ANSI.sub("", line).rstrip())
        if event.get("status"):
            self._on_event(_pull_progress(event))

    def _line(self, line: str) -> None:
        if not line:
            return
        found = _STEP.fullmatch(line)
        if found:
            number, total, self._step = int(found[1]), int(found[2]), self._shown(found[3])
            self._output.clear()
            self._on_event(Progress(kind="step", text=self._step, step=number, steps=total))
            return
        line = self._shown(line)
        # "--->" is Docker's own talk of layers and containers, not output of the step.
        if not line.startswith((" --->", "--> ", "Removing intermediate")):
            self._output = [*self._output[1 - _OUTPUT_KEPT :], line]
        self._on_event(Progress(kind="output", text=line))

    def failed(self, what: str, problem: str, engine: str) -> BuildFailed:
        """Return the error, with the step and the last lines of output."""
        return BuildFailed(
            f"{what} failed: {self._shown(_ANSI.sub('', problem)).strip()}",
            step=self._step,
            output=tuple(self._output),
            engine=engine,
        )


def _pull_progress(event: Mapping[str, Any]) -> Progress:
    detail = _convert.part(event, "progressDetail")
    layer = event.get("id")
    return Progress(
        kind="layer" if layer else "status",
        text=str(event.get("status") or event.get("stream") or "").strip(),
        layer=layer,
        current=detail.get("current"),
        total=detail.get("total"),
    )


def reason(reply: Reply) -> tuple[str, str]:
    """Return an answer's message, and the text to recognise it by; a body need not be JSON, or be there."""
    try:
        raw = cast("Mapping[str, object]", dict(json.loads(reply.body)))
    except (ValueError, TypeError):
        text = reply.body.decode("utf-8", "replace").strip() or f"HTTP status {reply.status}"
        return text, text
    message = str(raw.get("message") or raw.get("cause") or f"HTTP status {reply.status}").strip()
    return message, f"{raw.get('cause', '')}\n{message}"


def _epoch(seconds: float | None) -> str | None:
    return None if seconds is None else f"{seconds:.9f}"
