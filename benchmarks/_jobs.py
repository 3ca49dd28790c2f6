"""The jobs, and what polyrun may cost in each: the limits of PERFORMANCE.md."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attr import frozen

from benchmarks._facts import MB

if TYPE_CHECKING:
    from collections.abc import Mapping


@frozen
class Job:
    """Something that a user does with containers."""

    key: str
    title: str
    verb: str
    limit: float
    """How many times the floor's time polyrun may take."""
    podman: float | None = None
    """The same on Podman, where it is another."""
    cpu: float | None = None
    memory: int | None = None
    """Bytes that it may take more than it had, where that is measured."""
    listed: int = 0
    """How many containers there are to list."""
    calls: int = 1
    """How often it is done in one round, if that is quickly done."""
    skip: tuple[str, ...] = ()
    """Contenders that are left out, because it takes them a minute or has no meaning for them."""

    def limit_on(self, engine: str) -> float:
        """Return the limit on an engine."""
        return self.podman if engine == "podman" and self.podman is not None else self.limit


IMPORT = Job("import", "import", "", 1.5)

_LARGE = 8 * MB
_TOOLS = ("python-on-whales", "CLI")

# In this order, as the containers to list become more.
_ALL = (
    Job("connect", "connect, inspect, close", "connect", 2.0, calls=10),
    Job("inspect", "inspect, warm", "small", 1.5, calls=20),
    Job("run", "run `echo hi`, output, remove", "run", 1.05, podman=0.85, cpu=3),
    Job("spawn", "spawn, rm(force)", "spawn", 1.05, cpu=3),
    Job("exec", "exec, output and code", "exec", 1.07, cpu=3, calls=3),
    Job("logs", "50 MB of logs", "logs", 1.1, memory=_LARGE),
    Job("put", "put a file of 100 MB", "put", 1.1, memory=_LARGE),
    Job("get", "get a file of 100 MB", "get", 1.1, memory=_LARGE),
    Job("build", "build, 53 of 5,003 files wanted", "build", 1.1),
    Job("ps1", "ps, N=1", "ps", 1.6, listed=1, calls=10),
    Job("ps10", "ps, N=10", "ps", 1.3, listed=10, calls=10),
    Job("threads", "80 ps and 16 exec, 8 threads", "threads", 1.15, listed=10, skip=_TOOLS),
    Job("ps100", "ps, N=100", "ps", 1.15, listed=100, calls=5),
    Job("ps300", "ps, N=300", "ps", 1.1, listed=300, calls=3, skip=("python-on-whales",)),
)

JOBS: Mapping[str, Job] = {job.key: job for job in (IMPORT, *_ALL)}
