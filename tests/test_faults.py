"""Engines that are not there, are somebody else's, hang, die or answer nonsense."""

from __future__ import annotations

import grp
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import pytest

import polyrun
from polyrun import (
    ConnectError,
    Container,
    DeadlineExceeded,
    EngineError,
    NoRuntime,
    PermissionDenied,
    PolyrunError,
    Runtime,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator

T = TypeVar("T")

KINDS = ("docker", "podman")
SERVERS = {"docker": "Docker/20.10.24 (linux)", "podman": "Libpod/4.3.1 (linux)"}
TIMEOUT = 2.0
"""Seconds that the engines of these tests have for an answer."""
SOON = 12.0
"""Seconds within which every call has to give up: the timeout, a sign of life that is asked for, a busy machine."""

any_kind = pytest.mark.parametrize("kind", KINDS)


@pytest.fixture
def place() -> Iterator[Path]:
    """Return a folder with a path short enough for sockets."""
    with tempfile.TemporaryDirectory(prefix="pr-") as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


@contextmanager
def soon() -> Generator[None]:
    """Fail if the block takes long."""
    begin = time.monotonic()
    yield
    assert time.monotonic() - begin < SOON


def findings(error: NoRuntime | ConnectError | PermissionDenied) -> list[str]:
    """Return the codes of what an error's report found."""
    assert error.report is not None
    assert not error.report.ok
    return [finding.code for finding in error.report.findings]


def fixes(error: NoRuntime | ConnectError | PermissionDenied) -> str:
    """Return what an error's report says to type, which has to be in its text as well."""
    assert error.report is not None
    (finding,) = error.report.findings
    assert finding.fix
    assert finding.fix in str(error)
    return finding.fix


# What is at the other end of the socket


@contextmanager
def listening(path: Path, serve: Callable[[socket.socket], None] | None) -> Generator[None]:
    """Listen at *path*, and let *serve* have each connection; nobody accepts one if there is no *serve*."""
    server = socket.socket(socket.AF_UNIX)
    server.bind(str(path))
    path.chmod(0o666)
    server.listen(64)
    taken: list[socket.socket] = []

    def accept() -> None:
        with suppress(OSError):
            while True:
                connection, _ = server.accept()
                taken.append(connection)
                threading.Thread(target=quietly, args=(connection,), daemon=True).start()

    def quietly(connection: socket.socket) -> None:
        assert serve is not None
        with suppress(OSError):
            serve(connection)

    thread = threading.Thread(target=accept)
    if serve:
        thread.start()
    try:
        yield
    finally:
        with suppress(OSError):
            server.shutdown(socket.SHUT_RDWR)
        server.close()
        for connection in taken:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            connection.close()
        if serve:
            thread.join()
        path.unlink()


def silent(connection: socket.socket) -> None:
    """Read, and answer nothing."""
    while connection.recv(65536):
        pass


def request(connection: socket.socket) -> bytes:
    """Return the head of a request, or nothing at the end."""
    data = b""
    while b"\r\n\r\n" not in data:
        more = connection.recv(65536)
        if not more:
            return b""
        data += more
    return data


def ping(kind: str) -> bytes:
    """Return how an engine answers a ping."""
    return (
        f"HTTP/1.1 200 OK\r\nServer: {SERVERS[kind]}\r\nApi-Version: 1.41\r\nLibpod-Api-Version: 4.3.1\r\n"
        "Content-Length: 2\r\n\r\nOK"
    ).encode()


def engine_that_answers(kind: str, answer: Callable[[socket.socket], None]) -> Callable[[socket.socket], None]:
    """Return an engine that is well until it is asked for something."""

    def serve(connection: socket.socket) -> None:
        while head := request(connection):
            if b"/_ping" in head.partition(b"\r\n")[0]:
                connection.sendall(ping(kind))
            else:
                answer(connection)

    return serve


class TestNoEngine:
    """`connect` where there is nothing to connect to: each case is told apart, with the next step."""

    @any_kind
    def test_a_missing_socket(self, kind: str, place: Path) -> None:
        """No socket means that the engine is not installed or not started."""
        with soon(), pytest.raises(NoRuntime, match=r"missing\.sock") as caught:
            polyrun.connect(kind, url=f"unix://{place}/missing.sock", timeout=TIMEOUT)
        assert findings(caught.value) == ["socket-missing"]
        assert fixes(caught.value)

    @any_kind
    def test_a_socket_below_a_file(self, kind: str, place: Path) -> None:
        """A path that cannot exist is missing as well."""
        (place / "file").touch()
        with pytest.raises(NoRuntime) as caught:
            polyrun.connect(kind, url=f"unix://{place}/file/x.sock", timeout=TIMEOUT)
        assert findings(caught.value) == ["socket-missing"]

    @any_kind
    def test_a_file_in_place_of_the_socket(self, kind: str, place: Path) -> None:
        """A file is no socket, and neither is a folder."""
        (place / "file").touch()
        for path in (place / "file", place):
            with pytest.raises(ConnectError, match="not a socket") as caught:
                polyrun.connect(kind, url=f"unix://{path}", timeout=TIMEOUT)
            assert findings(caught.value) == ["not-a-socket"]

    @any_kind
    def test_a_socket_that_nobody_serves(self, kind: str, place: Path) -> None:
        """A stale socket means that the engine is down."""
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(f"{place}/stale.sock")
        with soon(), pytest.raises(ConnectError) as caught:
            polyrun.connect(kind, url=f"unix://{place}/stale.sock", timeout=TIMEOUT)
        assert findings(caught.value) == ["daemon-down"]
        assert fixes(caught.value)

    @any_kind
    def test_a_socket_that_is_another_users(self, kind: str, place: Path) -> None:
        """A socket without permission says so, and says nothing that opens it to everybody."""
        with listening(place / "own.sock", lambda connection: connection.close()):
            (place / "own.sock").chmod(0o660)
            os.chown(place / "own.sock", 0, grp.getgrnam("daemon").gr_gid)
            with nobody(kind), pytest.raises(PermissionDenied) as caught:
                polyrun.connect(kind, url=f"unix://{place}/own.sock", timeout=TIMEOUT)
        assert findings(caught.value) == ["no-permission"]
        assert "chmod" not in fixes(caught.value)
        if kind == "docker":
            assert "usermod -aG daemon" in fixes(caught.value)

    @any_kind
    def test_a_socket_in_a_folder_that_is_closed(self, kind: str, place: Path) -> None:
        """The folder that keeps a user out is named."""
        (place / "closed").mkdir(mode=0o700)
        with (
            listening(place / "closed/own.sock", lambda connection: connection.close()),
            nobody(kind),
            pytest.raises(PermissionDenied, match=f"{place}/closed"),
        ):
            polyrun.connect(kind, url=f"unix://{place}/closed/own.sock", timeout=TIMEOUT)

    @any_kind
    def test_a_server_that_accepts_and_says_nothing(self, kind: str, place: Path) -> None:
        """A hung engine is given up on within the deadline."""
        with (
            listening(place / "hung.sock", silent),
            soon(),
            pytest.raises(ConnectError) as caught,
        ):
            polyrun.connect(kind, url=f"unix://{place}/hung.sock", timeout=TIMEOUT)
        assert findings(caught.value) == ["hung"]
        assert fixes(caught.value)

    @any_kind
    def test_a_server_that_does_not_accept(self, kind: str, place: Path) -> None:
        """So is one whose queue is full."""
        with listening(place / "full.sock", None):
            waiting = [socket.socket(socket.AF_UNIX) for _ in range(80)]
            try:
                for connection in waiting:
                    connection.setblocking(False)
                    with suppress(BlockingIOError):
                        connection.connect(f"{place}/full.sock")
                with soon(), pytest.raises(ConnectError) as caught:
                    polyrun.connect(kind, url=f"unix://{place}/full.sock", timeout=TIMEOUT)
            finally:
                for connection in waiting:
                    connection.close()
        assert findings(caught.value) == ["hung"]

    @any_kind
    @pytest.mark.parametrize(
        "answer",
        [
            b"HTTP/1.1 200 OK\r\nServer: nginx\r\nContent-Length: 2\r\n\r\nOK",
            b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nOK",
            b"SSH-2.0-OpenSSH_9.2\r\n",
            b"\x00\xff" * 100,
            b"",
        ],
        ids=["nginx", "anonymous", "ssh", "garbage", "nothing"],
    )
    def test_a_server_that_is_no_engine(self, kind: str, place: Path, answer: bytes) -> None:
        """What answers, and not as an engine, is told."""

        def serve(connection: socket.socket) -> None:
            request(connection)
            connection.sendall(answer)
            connection.shutdown(socket.SHUT_RDWR)

        with listening(place / "other.sock", serve), soon(), pytest.raises(ConnectError) as caught:
            polyrun.connect(kind, url=f"unix://{place}/other.sock", timeout=TIMEOUT)
        assert findings(caught.value) == ["not-an-engine"]

    @any_kind
    def test_a_server_that_is_the_other_engine(self, kind: str, place: Path) -> None:
        """Docker's client at Podman's socket, or the other way round, is told how to connect."""
        other = next(name for name in KINDS if name != kind)
        with (
            listening(place / "x.sock", engine_that_answers(other, lambda connection: connection.close())),
            pytest.raises(ConnectError, match=other) as caught,
        ):
            polyrun.connect(kind, url=f"unix://{place}/x.sock", timeout=TIMEOUT)
        assert findings(caught.value) == [f"other-engine-{other}"]
        assert f'connect("{other}"' in fixes(caught.value)

    def test_no_engine_at_all_lists_what_was_tried(self, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Without a name every engine is tried, and each is told with its reason and its next step."""
        monkeypatch.delenv("POLYRUN_RUNTIME", raising=False)
        monkeypatch.setenv("DOCKER_HOST", f"unix://{place}/docker.sock")
        monkeypatch.setenv("CONTAINER_HOST", f"unix://{place}/podman.sock")
        with pytest.raises(NoRuntime) as caught:
            polyrun.connect(timeout=TIMEOUT)
        for part in (
            "docker",
            "podman",
            "DOCKER_HOST",
            "CONTAINER_HOST",
            f"{place}/docker.sock",
            f"{place}/podman.sock",
        ):
            assert part in str(caught.value)

    @any_kind
    def test_a_check_raises_for_none_of_this(self, kind: str, place: Path) -> None:
        """`polyrun.check` returns what `connect` would raise."""
        (report,) = polyrun.check(f"{kind}+unix://{place}/missing.sock")
        assert (report.ok, report.engine) == (False, kind)
        assert [finding.code for finding in report.findings] == ["socket-missing"]
        assert str(place) in str(report)


@contextmanager
def nobody(kind: str) -> Generator[None]:
    """Be a user without rights for the block."""
    if os.geteuid() != 0:
        pytest.skip("only root can become another user")
    # What is imported at the first use has to be imported before: nobody may not read it.
    with pytest.raises(NoRuntime):
        polyrun.connect(kind, url="unix:///no/such/socket")
    groups = os.getgroups()
    os.setgroups([])
    os.setresgid(65534, 65534, 0)
    os.setresuid(65534, 65534, 0)
    try:
        yield
    finally:
        os.setresuid(0, 0, 0)
        os.setresgid(0, 0, 0)
        os.setgroups(groups)


def drip(connection: socket.socket) -> None:
    """Answer a byte at a time, and never to the end."""
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 1000000\r\n\r\n[")
    while True:
        time.sleep(0.3)
        connection.sendall(b" ")


def saying(data: bytes, *, close: bool = True) -> Callable[[socket.socket], None]:
    """Return an answer of *data*."""

    def answer(connection: socket.socket) -> None:
        connection.sendall(data)
        if close:
            connection.shutdown(socket.SHUT_RDWR)

    return answer


NONSENSE: dict[str, Callable[[socket.socket], None]] = {
    "nothing": saying(b""),
    "silence": saying(b"", close=False),
    "no-http": saying(b"hello\r\n\r\n"),
    "half-a-head": saying(b"HTTP/1.1 200 OK\r\nContent-Le"),
    "half-a-body": saying(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n[{"),
    "half-a-chunk": saying(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n64\r\n[{"),
    "bad-chunk": saying(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n[]\r\n"),
    "html": saying(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n<html>"),
    "no-utf-8": saying(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n\xff\xfe\xff\xfe"),
    "a-number": saying(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n7"),
    "null": saying(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nnull"),
    "an-object": saying(b'HTTP/1.1 200 OK\r\nContent-Length: 14\r\n\r\n{"what": true}'),
    "rows-of-nothing": saying(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n[{}]"),
    "empty-500": saying(b"HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n"),
    "html-502": saying(b"HTTP/1.1 502 Bad\r\nContent-Length: 6\r\n\r\n<html>"),
    "list-500": saying(b"HTTP/1.1 500 Oops\r\nContent-Length: 2\r\n\r\n[]"),
    "redirect": saying(b"HTTP/1.1 301 Moved\r\nLocation: /elsewhere\r\nContent-Length: 0\r\n\r\n"),
    "204": saying(b"HTTP/1.1 204 No Content\r\n\r\n"),
    "endless-head": saying(b"HTTP/1.1 200 OK\r\n" + b"X-Y: z\r\n" * 100000),
    "drip": drip,
}


class TestNonsense:
    """An engine that answers what no engine should: no exception but ours comes out, and soon."""

    @any_kind
    @pytest.mark.parametrize(
        ("verb", "nonsense"),
        [
            (verb, nonsense)
            for verb in ("ps", "inspect", "run", "exec", "logs", "build", "images", "version", "get")
            for nonsense in NONSENSE
            # These take the whole time each time.
            if nonsense not in ("silence", "drip") or verb in ("ps", "run", "logs")
        ],
    )
    def test_every_verb_gives_an_error_of_ours(self, kind: str, nonsense: str, verb: str, place: Path) -> None:
        """Whatever comes back, the caller sees a `PolyrunError` that names the engine, within the deadline."""
        (place / "Dockerfile").write_text("FROM scratch\n")
        verbs: dict[str, Callable[[Runtime], object]] = {
            "ps": lambda runtime: runtime.ps(),
            "inspect": lambda runtime: runtime.inspect("web"),
            "run": lambda runtime: runtime.run("alpine", ["true"]),
            "exec": lambda runtime: runtime.exec("web", ["true"]),
            "logs": lambda runtime: list(runtime.logs("web")),
            "build": lambda runtime: runtime.build(place),
            "images": lambda runtime: runtime.images(),
            "version": lambda runtime: runtime.version(),
            "get": lambda runtime: runtime.get("web", "/etc/passwd", place / "target"),
        }
        with (
            listening(place / "x.sock", engine_that_answers(kind, NONSENSE[nonsense])),
            polyrun.connect(kind, url=f"unix://{place}/x.sock", timeout=1) as runtime,
            soon(),
        ):
            if (kind, nonsense) == ("podman", "null") and verb in ("ps", "images"):
                # It is written in Go, where an empty list can be null.
                assert verbs[verb](runtime) == ()
                return
            with pytest.raises(PolyrunError) as caught:
                verbs[verb](runtime)
        assert kind in str(caught.value)

    @any_kind
    def test_a_check_is_not_ok(self, kind: str, place: Path) -> None:
        """An engine that answers a ping and not a list cannot be used, and a check raises nothing."""
        with (
            listening(place / "x.sock", engine_that_answers(kind, NONSENSE["html-502"])),
            polyrun.connect(kind, url=f"unix://{place}/x.sock", timeout=TIMEOUT) as runtime,
        ):
            assert not runtime.check().ok


# Real engines, of these tests' own, that are stopped and killed

DOCKER_SCRIPT = """
mkdir -p $1/run
mount -t tmpfs tmpfs $1/run
mount --make-rshared /
exec dockerd --host unix://$1/x.sock --data-root $1/data --exec-root $1/run --pidfile $1/run/pid \
    --bridge none --iptables=false --ip6tables=false
"""
# Podman keeps its state in /run and its locks in /dev/shm. Where cgroups are v1 with v2 beside them
# crun starts nothing, so something else covers v2.
PODMAN_SCRIPT = """
! mountpoint -q /sys/fs/cgroup/unified || mount -t tmpfs tmpfs /sys/fs/cgroup/unified
mkdir -p $1/data /var/lib/containers
mount --bind $1/data /var/lib/containers
mount -t tmpfs tmpfs /run
mount -t tmpfs -o mode=1777 tmpfs /dev/shm
mount --make-rshared /
exec podman system service --time=0 unix://$1/x.sock
"""
PODMAN_SETTINGS = """
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
[containers]
default_ulimits = ["nofile=4096:4096", "nproc=4096:4096"]
"""
DOCKERFILE = """\
FROM scratch
COPY busybox /bin/busybox
RUN ["/bin/busybox", "--install", "-s", "/bin"]
"""


class OwnEngine:
    """An engine that these tests may treat as they like, in namespaces that end with it."""

    def __init__(self, kind: str, folder: Path) -> None:
        self.kind = kind
        self.url = f"unix://{folder}/x.sock"
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The process that answers, as this machine counts."""
        assert self._process is not None
        return int(Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text().split()[0])

    def start(self) -> None:
        """Start it, if it is not there."""
        if self._process and self._process.poll() is None:
            return
        (self._folder / "x.sock").unlink(missing_ok=True)
        (self._folder / "containers.conf").write_text(PODMAN_SETTINGS)
        script = DOCKER_SCRIPT if self.kind == "docker" else PODMAN_SCRIPT
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [
                    *(
                        "unshare",
                        "--mount",
                        "--propagation=slave",
                        "--net",
                        "--pid",
                        "--fork",
                        "--kill-child",
                        "--mount-proc",
                    ),
                    *("sh", "-euc", script, "sh", str(self._folder)),
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={
                    "PATH": f"{os.environ['PATH']}:/usr/sbin:/sbin",
                    "HOME": "/root",
                    "CONTAINERS_CONF": str(self._folder / "containers.conf"),
                    "STORAGE_DRIVER": "overlay",
                    "TMPDIR": "/var/tmp",
                },
            )
        end = time.monotonic() + 30
        while True:
            try:
                self.connect().close()
            except PolyrunError:
                if time.monotonic() > end:
                    pytest.fail(f"{self.kind} does not start: {(self._folder / 'log').read_text()[-2000:]}")
                time.sleep(0.1)
            else:
                return

    def connect(self) -> Runtime:
        """Connect to it."""
        return polyrun.connect(self.kind, url=self.url, timeout=TIMEOUT)

    def freeze(self) -> None:
        """Let it hang."""
        os.kill(self.pid, signal.SIGSTOP)
        # One thread after the other stops, and one is enough to answer.
        tasks = Path(f"/proc/{self.pid}/task")
        end = time.monotonic() + 5
        while time.monotonic() < end and any(" T " not in task.read_text() for task in tasks.glob("*/stat")):
            time.sleep(0.001)

    def thaw(self) -> None:
        """Let it go on."""
        os.kill(self.pid, signal.SIGCONT)

    def kill(self) -> None:
        """End it as a power cut does, with all its containers."""
        if self._process:
            self._process.kill()
            self._process.wait()
            self._process = None


@pytest.fixture(scope="module", params=KINDS)
def own_engine(request: pytest.FixtureRequest) -> Iterator[OwnEngine]:
    """Start an engine, with an image ``busybox``."""
    kind: str = request.param
    if os.geteuid() != 0:
        pytest.skip("an engine of their own takes root")
    if not shutil.which({"docker": "dockerd"}.get(kind, kind), path=f"{os.environ['PATH']}:/usr/sbin"):
        pytest.skip(f"there is no {kind} to start")
    # Not below /tmp: overlay file systems do not stack on every kind of it.
    folder = Path(tempfile.mkdtemp(prefix="polyrun-faults-", dir="/var/tmp"))
    engine = OwnEngine(kind, folder)
    try:
        engine.start()
        with engine.connect() as runtime, tempfile.TemporaryDirectory() as context:
            Path(context, "Dockerfile").write_text(DOCKERFILE)
            shutil.copy(shutil.which("busybox") or "/bin/busybox", Path(context, "busybox"))
            runtime.build(context, tag="busybox", timeout=60)
        yield engine
    finally:
        engine.kill()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def engine(own_engine: OwnEngine) -> Iterator[OwnEngine]:
    """Return the engine, running."""
    own_engine.start()
    yield own_engine
    with suppress(OSError, AssertionError, IndexError):
        own_engine.thaw()


@pytest.fixture
def runtime(engine: OwnEngine) -> Iterator[Runtime]:
    """Connect to the engine."""
    with engine.connect() as runtime:
        yield runtime


@pytest.fixture
def box(runtime: Runtime) -> Container:
    """Run a container; it ends with its engine."""
    return runtime.spawn("busybox", ["sh", "-c", "echo ready; sleep 600"], network="none")


def in_a_thread(call: Callable[[], T]) -> Future[T]:
    """Begin *call*."""
    pool = ThreadPoolExecutor(1)
    future = pool.submit(call)
    pool.shutdown(wait=False)
    return future


@pytest.fixture(params=["wait", "logs", "exec", "run", "build"])
def long_call(request: pytest.FixtureRequest, runtime: Runtime, box: Container, place: Path) -> Callable[[], object]:
    """Return each call that takes long."""

    def logs() -> object:
        with runtime.logs(box, follow=True) as stream:
            return list(stream)

    (place / "Dockerfile").write_text("FROM busybox\nRUN sleep 600\n")
    calls: dict[str, Callable[[], object]] = {
        "wait": lambda: runtime.wait(box),
        "logs": logs,
        "exec": lambda: runtime.exec(box, ["sleep", "600"]),
        "run": lambda: runtime.run("busybox", ["sleep", "600"], network="none"),
        "build": lambda: runtime.build(place),
    }
    return calls[request.param]


class TestHungEngine:
    """A real engine that accepts connections and does not answer."""

    def test_connecting_is_given_up(self, engine: OwnEngine) -> None:
        """The error says that it hangs, and where to look."""
        engine.freeze()
        with soon(), pytest.raises(ConnectError) as caught:
            engine.connect()
        assert findings(caught.value) == ["hung"]
        engine.thaw()
        engine.connect().close()

    @pytest.mark.parametrize("verb", ["ps", "inspect", "exec", "run", "logs", "put", "stop", "images", "rm"])
    def test_every_call_is_given_up(self, engine: OwnEngine, runtime: Runtime, box: Container, verb: str) -> None:
        """Within the deadline there is an error; when the engine goes on, so does the runtime."""
        verbs: dict[str, Callable[[], object]] = {
            "ps": runtime.ps,
            "inspect": box.inspect,
            "exec": lambda: box.exec(["true"]),
            "run": lambda: runtime.run("busybox", ["true"], network="none"),
            "logs": lambda: list(box.logs()),
            "put": lambda: box.put(b"data", "/file"),
            "stop": lambda: box.stop(timeout=0),
            "images": runtime.images,
            "rm": lambda: box.rm(force=True),
        }
        engine.freeze()
        with soon(), pytest.raises((DeadlineExceeded, ConnectError)) as caught:
            verbs[verb]()
        assert engine.kind in str(caught.value)
        engine.thaw()
        assert runtime.images()

    def test_what_takes_long_is_given_up_as_well(
        self, engine: OwnEngine, long_call: Callable[[], object], runtime: Runtime
    ) -> None:
        """A call that waits for a container is not left to wait for an engine that hangs."""
        future = in_a_thread(long_call)
        time.sleep(1.5)  # until the call is under way
        assert not future.done()
        engine.freeze()
        with soon():
            error = future.exception(timeout=SOON)
        assert isinstance(error, (DeadlineExceeded, ConnectError))
        engine.thaw()
        assert runtime.images()


class TestEngineThatDies:
    """A real engine that is killed in the middle of a call."""

    def test_a_call_that_waits_for_an_answer_ends(self, engine: OwnEngine, runtime: Runtime) -> None:
        """A request that is under way is a `ConnectError`."""
        engine.freeze()
        future = in_a_thread(runtime.ps)
        time.sleep(0.5)
        engine.kill()
        error = future.exception(timeout=SOON)
        assert isinstance(error, ConnectError)
        assert engine.kind in str(error)

    def test_a_call_that_takes_long_ends(self, engine: OwnEngine, long_call: Callable[[], object]) -> None:
        """The end of the engine is an error, and never taken for the end of a container or of a build."""
        future = in_a_thread(long_call)
        time.sleep(1.5)  # until the call is under way
        assert not future.done()
        engine.kill()
        error = future.exception(timeout=SOON)
        assert isinstance(error, (ConnectError, EngineError))
        assert engine.kind in str(error)

    def test_a_runtime_survives_its_engine(self, engine: OwnEngine, runtime: Runtime) -> None:
        """While the engine is away every call says so; when it is back the same object works again."""
        assert runtime.images()
        engine.kill()
        for _ in range(2):
            with soon(), pytest.raises((ConnectError, NoRuntime)) as caught:
                runtime.ps()
            assert engine.kind in str(caught.value)
        engine.start()
        assert runtime.images()
        assert runtime.run("busybox", ["echo", "again"], network="none").text == "again\n"

    def test_a_restart_between_two_calls_is_not_noticed(self, engine: OwnEngine, runtime: Runtime) -> None:
        """A connection that was kept open to the old engine is not used for the new one."""
        assert runtime.images()
        engine.kill()
        engine.start()
        assert runtime.images()
        assert runtime.ps() == ()
