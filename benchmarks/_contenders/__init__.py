"""The contenders: each does the same jobs, in the way its users would write them.

A contender is a class that takes `benchmarks._facts.Facts` and has a method for each job that it
does. A method's result is verified by `benchmarks._check`, so all return the same.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from typing import TYPE_CHECKING, Any

from benchmarks._facts import EXECS, LISTS, THREADS

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks._facts import Facts

Said = tuple[int, bytes]
"""Exit code and output of a command."""

Mixed = tuple[list[list[str]], list[Said]]
"""What one thread got: its lists, and what its commands said."""

# Each in a module of its own: a worker imports the library of its contender and no other.
CLASSES = {
    "floor": ("_floor", "Floor"),
    "polyrun": ("_polyrun", "Polyrun"),
    "docker-py": ("_docker_py", "DockerPy"),
    "podman-py": ("_podman_py", "PodmanPy"),
    "python-on-whales": ("_whales", "Whales"),
    "CLI": ("_cli", "Cli"),
}


def contenders(engine: str) -> list[str]:
    """Return the names of those that compete on *engine*, the floor first."""
    return ["floor", "polyrun", f"{engine}-py", "python-on-whales", "CLI"]


def load(name: str, facts: Facts) -> Any:
    """Import and return a contender."""
    module, kind = CLASSES[name]
    return getattr(import_module(f"{__name__}.{module}"), kind)(facts)


def mixed(ps: Callable[[], list[str]], execute: Callable[[], Said]) -> Mixed:
    """Do one thread's share of the job from threads."""
    each = LISTS // EXECS
    lists, said = [], []
    for _ in range(EXECS):
        lists += [ps() for _ in range(each)]
        said.append(execute())
    return lists, said


def from_threads(work: Callable[[int], Mixed]) -> list[Mixed]:
    """Do *work* in all threads at once; each is given its number."""
    with ThreadPoolExecutor(THREADS) as pool:
        return list(pool.map(work, range(THREADS)))
