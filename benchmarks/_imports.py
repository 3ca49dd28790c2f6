"""The job `import`: a fresh interpreter for each time."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

from benchmarks._facts import WrongError
from benchmarks._rounds import DEADLINE, Result, Round, compete

if TYPE_CHECKING:
    from collections.abc import Sequence

FLOOR = "http.client, json, socket, attr"
NAMES = {
    "floor": FLOOR,
    "polyrun": "polyrun",
    "docker-py": "docker",
    "podman-py": "podman",
    "python-on-whales": "python_on_whales",
}
_UNWANTED = {"docker", "podman", "requests", "rich", "urllib3"}
_PROGRAM = """
import json, sys, time
start, busy = time.perf_counter(), time.process_time()
import {names}
print(json.dumps([time.perf_counter() - start, time.process_time() - busy, sorted(sys.modules)]))
"""


class Importer:
    """Imports one contender."""

    def __init__(self, name: str) -> None:
        self._name = name

    def sample(self, _: int) -> tuple[Round, int | None]:
        """Import it, and see what came with it."""
        command = [sys.executable, "-c", _PROGRAM.format(names=NAMES[self._name])]
        done = subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE, check=False)
        if done.returncode:
            raise WrongError(done.stderr.strip().rpartition("\n")[2])
        seconds, cpu, modules = json.loads(done.stdout)
        if self._name == "polyrun" and (unwanted := _UNWANTED & set(modules)):
            raise WrongError(f"it imports {', '.join(sorted(unwanted))}")
        return Round(seconds, cpu), None


def measure(names: Sequence[str], *, rounds: int, seconds: float) -> list[Result]:
    """Let the contenders be imported."""
    samplers = {name: Importer(name) for name in names}
    return list(compete(samplers, 1, rounds=rounds, seconds=seconds, failures={}).values())
