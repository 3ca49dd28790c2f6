"""What the tests of the contract stand on: the fixtures, the commands, and the waiting."""

from __future__ import annotations

import shutil
import signal
import tempfile
import threading
import time
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar
from uuid import uuid4

import pytest

import polyrun
from polyrun import ContainerNotFound, ImageNotFound, LogProbe, Unsupported

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Mapping

    from polyrun import Container, ContainerLike, Runtime

MEGABYTE = 1 << 20

IDLE = ("sleep", "600")
"""A command that does nothing. As process 1 it has no handler for TERM, so only KILL ends it."""

OBEDIENT = ("sh", "-c", "trap 'echo bye; exit 7' TERM; echo ready; while true; do sleep 0.1; done")
"""A command that says when it is ready, and ends with exit code 7 when it is asked to."""

WEB = ("httpd", "-f", "-p", "80", "-h", "/www")
"""A web server, which serves the word ``home``."""

DOCKERFILE = """\
FROM scratch
COPY busybox /bin/busybox
COPY passwd group /etc/
RUN ["/bin/busybox", "--install", "-s", "/bin"]
RUN mkdir -p /tmp /run /srv /www && echo home > /www/index.html
CMD ["echo", "default"]
"""

USERS = "root:x:0:0:root:/:/bin/sh\nguest:x:1000:1000:guest:/:/bin/sh\n"
GROUPS = "root:x:0:\nguest:x:1000:\n"


def sh(script: str) -> tuple[str, ...]:
    """Return the command that lets a shell read *script*."""
    return ("sh", "-c", script)


def heartbeat(path: str) -> str:
    """Return a script that makes the file *path* grow for as long as it runs."""
    return f"while true; do echo beat >> {path}; sleep 0.05; done"


_MARK = uuid4().hex[:8]


def unique(what: str = "contract") -> str:
    """Return a name that nothing else has."""
    return f"{what}-{_MARK}-{uuid4().hex[:8]}"


def write_tree(folder: Path, files: Mapping[str, str | bytes]) -> Path:
    """Write *files* below *folder*, and return it."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    return folder


def eventually(condition: Callable[[], object], *, seconds: float = 20) -> None:
    """Wait until *condition* is true; fail if it never is."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            pytest.fail(f"this did not come true in {seconds} s")
        time.sleep(0.02)


def stopped_growing(container: Container, path: str) -> bool:
    """Tell whether nothing in *container* writes to *path* any more: that there is no write needs a wait."""
    before = container.exec(["wc", "-c", path], check=True).stdout
    time.sleep(0.5)
    return container.exec(["wc", "-c", path], check=True).stdout == before


def everything(runtime: Runtime, container: ContainerLike) -> tuple[bytes, bytes]:
    """Return all that *container* has written to its standard output and to its standard error."""
    written = {"stdout": b"", "stderr": b""}
    with runtime.logs(container) as stream:
        for chunk in stream:
            written[chunk.stream] += chunk.data
    return written["stdout"], written["stderr"]


@contextmanager
def obedient(runtime: Runtime, image: str) -> Generator[Container]:
    """Run a container that is ready to be asked to end."""
    with runtime.spawn(image, OBEDIENT) as container:
        yield runtime.wait_ready(container, probe=LogProbe("ready"))


def paused(container: Container) -> bool:
    """Pause *container* and tell whether it is; an engine that cannot has to say so."""
    if container.runtime.capabilities.pause:
        container.pause()
        return True
    with pytest.raises(Unsupported) as caught:
        container.pause()
    assert caught.value.capability == "pause"
    assert container.inspect().state == "running"
    return False


@contextmanager
def ctrl_c(when: Callable[[], object]) -> Generator[None]:
    """Expect that the user presses Ctrl-C as soon as *when* is true, and that this is what ends the block."""
    over = threading.Event()
    main = threading.get_ident()

    def press() -> None:
        try:
            while not over.is_set() and not when():
                time.sleep(0.02)
        finally:
            if not over.is_set():
                signal.pthread_kill(main, signal.SIGINT)

    with ThreadPoolExecutor(1) as pool:
        user = pool.submit(press)
        try:
            with pytest.raises(KeyboardInterrupt):
                yield
        finally:
            over.set()
        user.result()


@contextmanager
def memory_below(limit: int) -> Generator[None]:
    """Fail if the block takes more than *limit* bytes at its peak."""
    tracemalloc.start()
    try:
        yield
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < limit, f"{peak} bytes"


class ContractFixtures:
    """What the tests are given. A subclass may override any of these fixtures."""

    mark: ClassVar[str] = _MARK
    """Part of the name of every container and image that this process makes for the contract."""

    @pytest.fixture(scope="class")
    @classmethod
    def busybox(cls) -> Path:
        """Return a static busybox: with it, images need no registry."""
        found = shutil.which("busybox", path="/bin:/usr/bin:/usr/local/bin")
        if found is None:
            pytest.fail("the contract makes its images from a static busybox; on Debian: apt install busybox-static")
        return Path(found)

    @pytest.fixture(scope="class")
    @classmethod
    def image(cls, runtime: Runtime, busybox: Path) -> Iterator[str]:
        """Build the image that most tests use, and return its reference."""
        reference = unique("contract/base")
        with tempfile.TemporaryDirectory() as folder:
            write_tree(Path(folder), {"Dockerfile": DOCKERFILE, "passwd": USERS, "group": GROUPS})
            shutil.copy(busybox, Path(folder, "busybox"))
            # The label makes it another image than that of somebody else who runs the contract now.
            runtime.build(folder, tag=reference, labels={"contract": reference})
        yield reference
        runtime.rmi(reference, force=True)

    @pytest.fixture(scope="class")
    @classmethod
    def shell_less(cls, runtime: Runtime, busybox: Path) -> Iterator[str]:
        """Build an image with one program, ``/busybox``, and no shell."""
        reference = unique("contract/shell-less")
        with tempfile.TemporaryDirectory() as folder:
            write_tree(Path(folder), {"Dockerfile": "FROM scratch\nCOPY busybox /busybox\n"})
            shutil.copy(busybox, Path(folder, "busybox"))
            runtime.build(folder, tag=reference, labels={"contract": reference})
        yield reference
        runtime.rmi(reference, force=True)

    @pytest.fixture(scope="class")
    @classmethod
    def box(cls, runtime: Runtime, image: str) -> Iterator[Container]:
        """Run a container that many tests share: they leave it running, and write to places of their own."""
        with runtime.spawn(image, IDLE, name=unique("contract-box")) as container:
            yield container

    @pytest.fixture(scope="class")
    @classmethod
    def connect_again(cls, runtime: Runtime) -> Callable[[], Runtime]:
        """Return what opens a further runtime on the same engine."""
        return lambda: polyrun.connect(runtime.url)

    @pytest.fixture(scope="class")
    @classmethod
    def memory_limit(cls) -> int:
        """Return the bytes that a call may need however much goes through it."""
        return 8 * MEGABYTE

    @pytest.fixture
    def shared(self) -> Iterator[Path]:
        """Return a folder that the engine's host has at the same path, open to every user."""
        with tempfile.TemporaryDirectory() as folder:
            Path(folder).chmod(0o777)
            yield Path(folder)

    @pytest.fixture
    def name(self, runtime: Runtime) -> Iterator[str]:
        """Return a name for a container, which is gone at the end whatever happened."""
        name = unique()
        yield name
        with suppress(ContainerNotFound):
            runtime.rm(name, force=True)

    @pytest.fixture
    def tag(self, runtime: Runtime) -> Iterator[str]:
        """Return a reference for an image, which is gone at the end whatever happened."""
        reference = unique("contract/image")
        yield reference
        with suppress(ImageNotFound):
            runtime.rmi(reference, force=True)

    @pytest.fixture
    def place(self) -> str:
        """Return a path that no other test uses in the shared container."""
        return f"/srv/{unique('place')}"
