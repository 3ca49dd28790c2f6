"""What a contender is told: where the engine is, and what was prepared on it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from attr import asdict, frozen

MB = 1 << 20
LABEL = "polyrun.bench"
"""What everything made here carries, with the run's own value; containers have it from their image."""

LISTED = "polyrun.bench.listed"
"""What the containers of the job `ps` carry."""

LOG_BYTES = 50 * MB
FILE_BYTES = 100 * MB
FILE = "big"
"""The file of `FILE_BYTES` to copy in, in the folder here, and to copy out, in the container's ``/srv``."""

CONTEXT_FILES = 5003
WANTED_FILES = 53

SAID = (3, b"hi\n")
"""What `EXEC` ends with and says."""

EXEC = ("sh", "-c", "echo hi; exit 3")

THREADS = 8
LISTS = 10
EXECS = 2
"""In the job from threads, each thread lists and executes so often."""


class WrongError(Exception):
    """A contender did not do its job: its time does not count."""


@frozen(kw_only=True)
class Facts:
    """One engine, prepared; see `benchmarks._lab.Lab`."""

    engine: str
    socket: str
    run: str
    image: str
    box: str
    """A container that runs, with a shell."""
    loud: str
    """A container that wrote `LOG_BYTES` and ended."""
    folder: str
    """Files here: what is copied in, and each contender's own folder."""
    listed: int = 0
    """How many containers carry `LISTED`."""

    @property
    def url(self) -> str:
        """The engine's address, as most tools want it."""
        return f"unix://{self.socket}"

    @property
    def listed_names(self) -> list[str]:
        """The names of the containers that carry `LISTED`, sorted."""
        return [f"{self.box}-{number:03}" for number in range(self.listed)]

    @property
    def file(self) -> Path:
        """The file to copy in."""
        return Path(self.folder, FILE)

    def own(self, contender: str) -> Path:
        """Return the folder of one contender, with its build context in ``context``."""
        return Path(self.folder, contender)

    def to_json(self) -> dict[str, Any]:
        """Return what makes these facts again."""
        return asdict(self)
