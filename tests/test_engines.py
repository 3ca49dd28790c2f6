"""What real engines do with what they are told, looked at from beside polyrun."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
from contextlib import suppress
from http.client import HTTPConnection
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest

import polyrun
from polyrun import InvalidArgument, Limits, Mount, Runtime

if TYPE_CHECKING:
    from collections.abc import Iterator

ENGINES = ("docker", "podman", "podman-rootless")
CHOSEN = [name for name in os.environ.get("POLYRUN_TEST_RUNTIMES", ",".join(ENGINES)).split(",") if name in ENGINES]
MEGABYTE = 1 << 20

pytestmark = pytest.mark.parametrize("runtime_name", CHOSEN, indirect=True)


class Raw(HTTPConnection):
    """A connection to the engine that knows nothing of polyrun."""

    def __init__(self, runtime: Runtime) -> None:
        super().__init__("localhost", timeout=30)
        self.path = runtime.url.partition("://")[2]

    def connect(self) -> None:
        """Connect."""
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(self.path)

    def ask(self, method: str, target: str) -> Any:
        """Return the engine's answer."""
        self.request(method, f"/v1.40{target}")
        response = self.getresponse()
        body = response.read()
        self.close()
        return json.loads(body) if body and response.status < 400 else None


@pytest.fixture
def raw(runtime: Runtime) -> Raw:
    """Return a way to ask the engine that is not polyrun's."""
    return Raw(runtime)


@pytest.fixture(scope="module")
def image(runtime: Runtime) -> Iterator[str]:
    """Build an image."""
    reference = f"engines/{uuid4().hex[:8]}:1"
    with tempfile.TemporaryDirectory() as folder:
        busybox = shutil.which("busybox", path=os.defpath)
        assert busybox
        shutil.copy(busybox, Path(folder, "busybox"))
        Path(folder, "Dockerfile").write_text(
            'FROM scratch\nCOPY busybox /bin/busybox\nRUN ["/bin/busybox", "--install", "-s", "/bin"]\n'
            'RUN mkdir /data && echo image > /data/origin\nCMD ["true"]\n'
        )
        runtime.build(folder, tag=reference)
    yield reference
    runtime.rmi(reference, force=True)


class TestLimits:
    """Limits are real where the engine has them."""

    def limit(self, runtime: Runtime, image: str, limits: Limits, *files: str) -> str:
        """Return what stands in the first of *files* that there is, below the control groups."""
        script = " || ".join(f"cat /sys/fs/cgroup/{file} 2>/dev/null" for file in files)
        return runtime.run(image, ["sh", "-c", script], limits=limits).text.strip()

    def test_memory(self, runtime: Runtime, image: str) -> None:
        """The kernel has the limit on memory."""
        if runtime.capabilities.limits:
            files = ("memory.max", "memory/memory.limit_in_bytes")
            assert self.limit(runtime, image, Limits(memory="64m"), *files) == str(64 * MEGABYTE)

    def test_processes(self, runtime: Runtime, image: str) -> None:
        """The kernel has the limit on processes."""
        if runtime.capabilities.limits:
            assert self.limit(runtime, image, Limits(pids=77), "pids.max", "pids/pids.max") == "77"

    def test_cpus(self, runtime: Runtime, image: str) -> None:
        """The kernel has the limit on CPU time."""
        if runtime.capabilities.limits:
            found = self.limit(runtime, image, Limits(cpus=0.5), "cpu.max", "cpu/cpu.cfs_quota_us")
            assert found in ("50000 100000", "50000")

    def test_what_takes_too_much_memory_is_killed(self, runtime: Runtime, image: str) -> None:
        """The exit code is that of a killed process."""
        if runtime.capabilities.limits:
            hog = ["sh", "-c", "x=xxxxxxxxxxxxxxxx; while true; do x=$x$x; done"]
            assert runtime.run(image, hog, limits=Limits(memory="32m"), check=False, timeout=60).exit_code == 137


class TestCapabilities:
    """Linux capabilities are given and taken."""

    def effective(self, runtime: Runtime, image: str, **options: list[str]) -> int:
        """Return the capabilities that a process has."""
        add, drop = options.get("add", []), options.get("drop", [])
        status = runtime.run(image, ["cat", "/proc/self/status"], cap_add=add, cap_drop=drop).text
        found = re.search(r"CapEff:\s*([0-9a-f]+)", status)
        assert found
        return int(found[1], 16)

    def test_they_can_be_dropped(self, runtime: Runtime, image: str) -> None:
        """None is left when all are dropped."""
        assert self.effective(runtime, image, drop=["ALL"]) == 0

    def test_they_can_be_added(self, runtime: Runtime, image: str) -> None:
        """One that is added stands alone then, however it is written."""
        for name in ("NET_RAW", "CAP_NET_RAW", "net_raw"):
            assert self.effective(runtime, image, drop=["ALL"], add=[name]) == 1 << 13


class TestVolumes:
    """Named volumes are never removed, anonymous ones with their container."""

    @pytest.fixture
    def volume(self, raw: Raw) -> Iterator[str]:
        """Return the name of a volume, which is gone at the end."""
        name = f"engines-{uuid4().hex[:8]}"
        yield name
        raw.ask("DELETE", f"/volumes/{name}")

    def volumes(self, raw: Raw) -> set[str]:
        """Return the names of the engine's volumes."""
        return {volume["Name"] for volume in raw.ask("GET", "/volumes")["Volumes"] or ()}

    def test_a_named_volume_outlives_its_containers(self, runtime: Runtime, image: str, raw: Raw, volume: str) -> None:
        """What one container writes, the next reads, whichever way the first was removed."""
        mounts = [f"{volume}:/data"]
        assert runtime.run(image, ["cat", "/data/origin"], mounts=mounts).text == "image\n"
        with runtime.spawn(image, ["sleep", "600"], mounts=mounts) as container:
            container.exec(["sh", "-c", "echo kept > /data/file"], check=True)
            container.rm(force=True, volumes=True)
        assert volume in self.volumes(raw)
        assert runtime.run(image, ["cat", "/data/file"], mounts=mounts).text == "kept\n"
        assert volume in self.volumes(raw)

    def test_an_anonymous_volume_goes_with_its_container(self, runtime: Runtime, image: str, raw: Raw) -> None:
        """After a run, and after the block of a container, there is no volume more than before."""
        mounts = [Mount("", "/data", type="volume")]

        def mine(name: str) -> set[str]:
            found = raw.ask("GET", f"/containers/{name}/json")
            return {mount["Name"] for mount in found["Mounts"] if mount["Type"] == "volume"}

        with runtime.spawn(image, ["sleep", "600"], mounts=mounts) as container:
            made = mine(container.name)
            assert made <= self.volumes(raw)
        assert len(made) == 1
        assert not made & self.volumes(raw)

    def test_an_anonymous_volume_stays_unless_asked(self, runtime: Runtime, image: str, raw: Raw) -> None:
        """`rm` removes it with ``volumes=True`` only."""
        container = runtime.create(image, mounts=[Mount("", "/data", type="volume")])
        (mount,) = raw.ask("GET", f"/containers/{container.name}/json")["Mounts"]
        container.rm()
        assert mount["Name"] in self.volumes(raw)
        raw.ask("DELETE", f"/volumes/{mount['Name']}")


class TestLeftovers:
    """What is not polyrun's to list is not left either."""

    def test_a_failed_build_leaves_no_container(self, runtime: Runtime, image: str, raw: Raw, tmp_path: Path) -> None:
        """The container of the step that failed is gone, also from the engine's own view."""
        mark = uuid4().hex
        (tmp_path / "Dockerfile").write_text(f"FROM {image}\nLABEL mark={mark}\nRUN false {mark}\n")
        with pytest.raises(polyrun.BuildFailed):
            runtime.build(tmp_path)
        assert mark not in json.dumps(raw.ask("GET", "/containers/json?all=1"))

    def test_what_is_made_can_be_found_by_its_labels(self, runtime: Runtime, image: str, raw: Raw) -> None:
        """A crashed program's containers have a label by which anything can find them."""
        with runtime.create(image) as container:
            filters = json.dumps({"label": ["polyrun.verb=create"]}).replace('"', "%22").replace(" ", "%20")
            found = raw.ask("GET", f"/containers/json?all=1&filters={filters}")
            assert container.id in {row["Id"] for row in found}


class TestExtra:
    """``extra`` is the way out, to what has no option."""

    def test_json_reaches_the_engine(self, runtime: Runtime, image: str) -> None:
        """What stands under the engine's own name is merged into its request, and the other's is not."""
        extra: dict[str, dict[str, polyrun.Json]] = {
            "docker": {"HostConfig": {"Sysctls": {"net.ipv4.ip_default_ttl": "33"}}},
            "podman": {"sysctl": {"net.ipv4.ip_default_ttl": "33"}},
        }
        command = ["cat", "/proc/sys/net/ipv4/ip_default_ttl"]
        assert runtime.run(image, command, extra={runtime.name: extra[runtime.name]}).text == "33\n"
        assert runtime.run(image, command, extra=extra).text == "33\n"

    def test_what_the_engine_refuses_is_told(self, runtime: Runtime, image: str) -> None:
        """JSON of the wrong shape is an error of the caller's."""
        extra: dict[str, dict[str, polyrun.Json]] = {
            "docker": {"HostConfig": {"Sysctls": 7}},
            "podman": {"sysctl": 7},
        }
        with pytest.raises((InvalidArgument, polyrun.EngineError)):
            runtime.create(image, extra=extra)


class CountingProxy:
    """A socket before the engine's that counts the requests which come through."""

    def __init__(self, target: str, path: Path) -> None:
        self.requests: list[str] = []
        self._target = target
        self._server = socket.socket(socket.AF_UNIX)
        self._server.bind(str(path))
        self._server.listen()
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop."""
        with suppress(OSError):
            self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        self._thread.join()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._server.accept()
                engine = socket.socket(socket.AF_UNIX)
                engine.connect(self._target)
                for pair in ((client, engine), (engine, client)):
                    threading.Thread(target=self._pump, args=(*pair, pair[0] is client), daemon=True).start()

    def _pump(self, source: socket.socket, target: socket.socket, count: bool) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                if count:
                    self.requests += re.findall(r"^([A-Z]+ /\S*) HTTP/1", data.decode("latin-1"), re.MULTILINE)
                target.sendall(data)
        with suppress(OSError):
            target.shutdown(socket.SHUT_WR)
        if not count:
            source.close()
            target.close()


class TestRequests:
    """As few requests as the engine allows."""

    @pytest.fixture
    def proxy(self, runtime: Runtime) -> Iterator[CountingProxy]:
        """Count the requests to the engine."""
        with tempfile.TemporaryDirectory(prefix="pr-") as folder:
            proxy = CountingProxy(runtime.url.partition("://")[2], Path(folder, "x.sock"))
            yield proxy
            proxy.close()

    @pytest.fixture
    def counted(self, runtime: Runtime, proxy: CountingProxy) -> Iterator[Runtime]:
        """Connect through the proxy."""
        path = proxy._server.getsockname()  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
        with polyrun.connect(runtime.name, url=f"unix://{path}") as counted:
            yield counted

    def test_a_connection_asks_for_no_more_than_a_sign_of_life(self, proxy: CountingProxy, counted: Runtime) -> None:
        """Neither version nor information is asked for, which are slow."""
        assert counted.name
        assert [request.rpartition("/")[2] for request in proxy.requests] == ["_ping"]

    def test_a_list_is_one_request(self, runtime: Runtime, image: str, proxy: CountingProxy, counted: Runtime) -> None:
        """However many containers there are, in whatever state."""
        mark = {"mark": uuid4().hex}
        with (
            runtime.create(image, labels=mark),
            runtime.create(image, labels=mark),
            runtime.spawn(image, ["sleep", "600"], labels=mark, ports=[80]),
        ):
            proxy.requests.clear()
            assert len(counted.ps(all=True, labels=mark)) == 3
            assert len(proxy.requests) == 1
            assert len(counted.ps(labels=mark)) == 1
            assert len(proxy.requests) == 2

    def test_a_run_is_few_requests(self, image: str, proxy: CountingProxy, counted: Runtime) -> None:
        """Create, attach, start, look, remove; what an engine needs asked once is not asked again."""
        counted.run(image, ["true"])
        proxy.requests.clear()
        assert counted.run(image, ["echo", "hi"]).text == "hi\n"
        assert len(proxy.requests) <= 6, proxy.requests
        proxy.requests.clear()


def test_a_forked_process_has_connections_of_its_own(runtime: Runtime) -> None:
    """Parent and child use one object at the same time, as under multiprocessing, and get their own answers."""
    script = """
import os, sys, polyrun
with polyrun.connect(sys.argv[1]) as runtime:
    runtime.ps()
    child = os.fork()
    for _ in range(50):
        runtime.ps(all=True)
        assert runtime.images() is not None
    if not child:
        os._exit(0)
    sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    done = subprocess.run(
        [sys.executable, "-c", script, runtime.url], timeout=60, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
