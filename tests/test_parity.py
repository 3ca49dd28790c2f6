"""The same program gives the same answers on every runtime: all of them, side by side."""

from __future__ import annotations

import os
import shutil
import socket
from contextlib import ExitStack
from datetime import datetime, timezone
from itertools import combinations
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
from attr import evolve

from polyrun import Container, HealthCheck, PolyrunError, Runtime

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

NAME = f"parity-{uuid4().hex[:8]}"
SOME_TIME = datetime(2000, 1, 1, tzinfo=timezone.utc)
SNAPSHOTS: dict[str, dict[str, list[Container]]] = {}
ANSWERS: dict[str, dict[str, Any]] = {}


def comparable(container: Container) -> Container:
    """Return *container* without what cannot be the same twice: its id, its times, and where it is."""
    return evolve(container, id="", created=SOME_TIME, started=None, finished=None, runtime=None)


@pytest.fixture(scope="module")
def image(runtime: Runtime, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Build the image, under the same name everywhere."""
    folder = tmp_path_factory.mktemp("image")
    busybox = shutil.which("busybox", path=os.defpath)
    assert busybox
    shutil.copy(busybox, folder / "busybox")
    (folder / "Dockerfile").write_text(
        'FROM scratch\nCOPY busybox /bin/busybox\nRUN ["/bin/busybox", "--install", "-s", "/bin"]\n'
        'ENV FROM=image\nLABEL kind=parity\nWORKDIR /srv\nCMD ["echo", "default"]\n'
    )
    reference = f"parity/{NAME}:1"
    runtime.build(folder, tag=reference)
    yield reference
    runtime.rmi(reference, force=True)


@pytest.fixture(scope="session")
def port() -> int:
    """Return a port that is free on this machine; each runtime has it in its turn."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        free: int = probe.getsockname()[1]
        return free


def test_the_containers(runtime: Runtime, runtime_name: str, image: str, port: int) -> None:
    """The same containers are made on this runtime, and what it says of them is kept."""
    idle = ["sleep", "600"]
    labels = {"app": "shop", "größe": "a=b,c 世界", "run": NAME}
    with ExitStack() as stack:
        keep = stack.enter_context
        keep(runtime.create(image, name=f"{NAME}-created", labels=labels))
        keep(runtime.spawn(image, idle, name=f"{NAME}-plain", labels=labels, env={"A": "b"}, hostname="web"))
        keep(
            runtime.spawn(
                image, idle, name=f"{NAME}-ports", labels=labels, ports=[f"127.0.0.1:{port}:80", f"{port}:81/udp"]
            )
        )
        for code in (0, 3, 127):
            exited = keep(
                runtime.spawn(image, ["sh", "-c", f"exit {code}"], name=f"{NAME}-exited{code}", labels=labels)
            )
            exited.wait(timeout=30)
        killed = keep(runtime.spawn(image, idle, name=f"{NAME}-killed", labels=labels))
        killed.kill()
        killed.wait(timeout=30)
        check = HealthCheck(command=["true"], interval="1s")
        keep(runtime.spawn(image, idle, name=f"{NAME}-healthy", labels=labels, health=check)).wait_ready()
        SNAPSHOTS[runtime_name] = {
            "ps": [comparable(found) for found in runtime.ps(labels={"run": NAME})],
            "ps -a": [comparable(found) for found in runtime.ps(all=True, labels={"run": NAME})],
            "inspect": [comparable(runtime.inspect(found)) for found in runtime.ps(all=True, labels={"run": NAME})],
        }
        assert SNAPSHOTS[runtime_name]["ps -a"] == SNAPSHOTS[runtime_name]["inspect"]
        assert len(SNAPSHOTS[runtime_name]["ps -a"]) == 8


def test_the_answers(runtime: Runtime, runtime_name: str, image: str, tmp_path: Path) -> None:
    """The same calls are made on this runtime, and their results and errors are kept."""
    with runtime.spawn(image, ["sleep", "600"], name=f"{NAME}-box") as box:
        calls: dict[str, Callable[[], object]] = {
            "run": lambda: _result(runtime.run(image)),
            "run that fails": lambda: _result(runtime.run(image, ["sh", "-c", "echo x; exit 3"], check=False)),
            "run, checked": lambda: runtime.run(image, ["sh", "-c", "exit 3"]),
            "run, no command": lambda: runtime.run(image, ["no-such-command"]),
            "run, bad user": lambda: runtime.run(image, ["true"], user="nobody-i-know"),
            "run, no image": lambda: runtime.run("parity/none"),
            "environment": lambda: runtime.run(image, ["sh", "-c", "echo $FROM $A; pwd"], env={"A": "b"}).text,
            "path": lambda: box.exec(["sh", "-c", "echo $PATH"]).text,
            "exec": lambda: _result(box.exec(["sh", "-c", "echo a; echo b >&2; exit 5"])),
            "exec, no command": lambda: box.exec(["no-such-command"]).exit_code,
            "exec, no file": lambda: box.exec(["/srv"]).exit_code,
            "exec, bad user": lambda: box.exec(["true"], user="nobody-i-know").exit_code,
            "kill, bad signal": lambda: box.kill("NOSUCH"),
            "start twice": box.start,
            "rm": box.rm,
            "taken name": lambda: runtime.create(image, name=box.name),
            "get, nothing": lambda: box.get("/no/such/file", tmp_path),
            "put, nowhere": lambda: box.put(b"", "/no/such/folder/file"),
            "address": lambda: box.address(80),
            "no container": lambda: runtime.inspect(f"{NAME}-none"),
            "no network": lambda: runtime.create(image, network=f"{NAME}-none"),
            "image": lambda: [
                (found.tags, sorted(found.labels.items()))
                for found in runtime.images(labels={"kind": "parity"})
                if found.tags
            ],
        }
        ANSWERS[runtime_name] = {name: _outcome(call) for name, call in calls.items()}
    assert ANSWERS[runtime_name]["run"] == (0, b"default\n", b"")


def _result(result: Any) -> tuple[int, bytes, bytes]:
    return result.exit_code, result.stdout, result.stderr


def _outcome(call: Callable[[], object]) -> object:
    try:
        return call()
    except PolyrunError as error:
        details = {name: vars(error).get(name) for name in ("reason", "exit_code", "capability")}
        return type(error).__name__, {name: value for name, value in details.items() if value is not None}


@pytest.mark.parametrize("kept", [SNAPSHOTS, ANSWERS], ids=["containers", "answers"])
def test_all_runtimes_agree(kept: dict[str, dict[str, Any]]) -> None:
    """Any two runtimes say the same of the same containers, and answer the same calls in the same way."""
    assert kept
    for one, other in combinations(sorted(kept), 2):
        for what in kept[one]:
            assert kept[one][what] == kept[other][what], f"{what}: {one} and {other}"
