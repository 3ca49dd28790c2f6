"""The results as tables, for a terminal and for the README."""

from __future__ import annotations

import os
import platform
from typing import TYPE_CHECKING

from attr import Factory, define

from benchmarks._facts import MB

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from benchmarks._jobs import Job
    from benchmarks._rounds import Result


_CAPTION = """\
Medians of interleaved rounds, Python {python}, {cores} cores. Ratios are to the floor: a bare HTTP client \
on one kept connection that sends only the requests the job needs. `+` is extra memory, *fails* a wrong \
result or none."""


@define
class Table:
    """The jobs on one engine."""

    title: str
    engine: str
    names: Sequence[str]
    """The floor, polyrun, and the rivals."""
    rivals: Sequence[str]
    """These with their versions."""
    rows: list[tuple[Job, dict[str, Result]]] = Factory(list)

    def times(self) -> Iterable[list[str]]:
        """Yield the rows about time, and about memory where that counts."""
        yield ["job", "floor", "polyrun", "limit", "", *self.rivals]
        for job, results in self.rows:
            limit = f"{job.limit_on(self.engine):g}" + (f", {job.memory // MB} MB" if job.memory else "")
            floor = results["floor"]
            cells = [_time(results.get(name), floor, memory=job.memory is not None) for name in self.names[1:]]
            yield [job.title, _seconds(floor.seconds), cells[0], limit, self._verdict(job, results), *cells[1:]]

    def cpus(self) -> Iterable[list[str]]:
        """Yield the rows about the client's CPU."""
        yield ["client CPU", "floor", "polyrun", "limit", "", *self.rivals]
        for job, results in self.rows:
            floor, polyrun = results["floor"], results["polyrun"]
            kept = "" if job.cpu is None or polyrun.failure else _kept(polyrun.cpu_ratio(floor) <= job.cpu)
            cells = [_cpu(results.get(name), floor) for name in self.names[1:]]
            yield [job.title, "1", cells[0], f"{job.cpu:g}" if job.cpu else "", kept, *cells[1:]]

    def failures(self) -> Iterable[str]:
        """Yield who failed at what, and how."""
        for job, results in self.rows:
            for result in results.values():
                if result.failure:
                    yield f"{result.contender}, {job.title}: {result.failure}"

    def _verdict(self, job: Job, results: dict[str, Result]) -> str:
        polyrun, floor = results["polyrun"], results["floor"]
        if polyrun.failure:
            return "fails"
        over = []
        if polyrun.ratio(floor) > job.limit_on(self.engine):
            over.append("{:.2f} to {:.2f}".format(*polyrun.spread(floor)))
        if job.memory is not None and (polyrun.extra or 0) > job.memory:
            over.append("memory")
        return f"above ({', '.join(over)})" if over else "kept"


def text(table: Table) -> str:
    """Return a table for a terminal."""
    parts = [table.title, _aligned(list(table.times())), "", _aligned(list(table.cpus()))]
    return "\n".join([*parts, *(f"  {line}" for line in table.failures()), ""])


def markdown(tables: Sequence[Table]) -> str:
    """Return tables for the README."""
    parts = [_CAPTION.format(python=platform.python_version(), cores=os.cpu_count())]
    for table in tables:
        parts += [f"### {table.title}", _piped(list(table.times()))]
        parts += ["\n".join(f"- *fails*: {line}" for line in table.failures())]
        parts += [_piped(list(table.cpus()))]
    return "\n\n".join(part for part in parts if part) + "\n"


def _kept(kept: bool) -> str:
    return "kept" if kept else "above"


def _time(result: Result | None, floor: Result, *, memory: bool) -> str:
    if result is None or result.failure:
        return "fails" if result else ""
    ratio = _ratio(result.ratio(floor))
    # The memory of the engine's command is its own affair.
    if not memory or result.extra is None or result.contender == "CLI":
        return ratio
    return f"{ratio}, +{result.extra / MB:.0f} MB"


def _cpu(result: Result | None, floor: Result) -> str:
    if result is None or result.failure:
        return "fails" if result else ""
    return _ratio(result.cpu_ratio(floor))


def _ratio(value: float) -> str:
    return f"{value:.2f}" if value < 10 else f"{value:.0f}"


def _seconds(value: float) -> str:
    return f"{value * 1e3:.1f} ms" if value < 0.1 else f"{value * 1e3:.0f} ms"


def _aligned(rows: list[list[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)


def _piped(rows: list[list[str]]) -> str:
    lines = [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join([lines[0], "|---" * len(rows[0]) + "|", *lines[1:]])
