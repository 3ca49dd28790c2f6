"""polyrun, over the Runtime protocol alone: the same lines on both engines."""

from __future__ import annotations

import logging
import warnings
from typing import TYPE_CHECKING

import polyrun
from benchmarks._contenders import Mixed, Said, from_threads, mixed
from benchmarks._facts import EXEC, FILE, LISTED, WrongError

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks._facts import Facts


class Polyrun:
    """Users keep the runtime that `polyrun.connect` returns."""

    def __init__(self, facts: Facts) -> None:
        self._facts = facts
        self._url = f"{facts.engine}+{facts.url}"
        self._runtime = polyrun.connect(self._url)
        self._warned: list[str] = []
        # A socket that is left open, or a pool that is too small, is a warning only.
        warnings.simplefilter("always")
        warnings.showwarning = lambda message, *_, **__: self._warned.append(str(message))
        handler = logging.Handler(logging.WARNING)
        handler.emit = lambda record: self._warned.append(record.getMessage())  # type: ignore[method-assign]
        logging.getLogger().addHandler(handler)

    def connect(self) -> str:
        with polyrun.connect(self._url) as runtime:
            return runtime.inspect(self._facts.box).name

    def small(self) -> str:
        return self._runtime.inspect(self._facts.box).name

    def ps(self) -> list[str]:
        return [container.name for container in self._runtime.ps(all=True, labels={LISTED: self._facts.run})]

    def run(self) -> bytes:
        return self._runtime.run(self._facts.image, ["echo", "hi"]).stdout

    def spawn(self) -> str:
        container = self._runtime.spawn(self._facts.image, ["sleep", "60"])
        container.rm(force=True)
        return container.id

    def exec(self) -> Said:
        result = self._runtime.exec(self._facts.box, EXEC)
        return result.exit_code, result.stdout

    def logs(self) -> int:
        return sum(len(chunk.data) for chunk in self._runtime.logs(self._facts.loud))

    def put(self) -> None:
        self._runtime.put(self._facts.box, self._facts.file, "/tmp/in-polyrun")

    def get(self) -> Path:
        return self._runtime.get(self._facts.box, f"/srv/{FILE}", self._facts.own("polyrun"))

    def build(self) -> str:
        return self._runtime.build(self._facts.own("polyrun") / "context", tag=f"{self._facts.image}-polyrun").id

    def threads(self) -> list[Mixed]:
        found = from_threads(lambda _: mixed(self.ps, self.exec))
        if self._warned:
            raise WrongError(f"it warns: {self._warned[0]}")
        return found
