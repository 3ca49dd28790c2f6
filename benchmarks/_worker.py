"""A process in which one contender does one job; `benchmarks._rounds` starts it and asks.

It reads a line of JSON that says who, what and where, answers ``{}`` when it is ready, and then for
each line ``{"calls": 5}`` does the job so often, or as often as it has time for.
"""

from __future__ import annotations

import json
import os
import re
import resource
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks._check import Checker
from benchmarks._contenders import load
from benchmarks._facts import Facts, WrongError
from benchmarks._jobs import JOBS

ENOUGH = 0.15
"""Seconds after which a round is long enough to be measured."""


def main() -> None:
    """Answer until nothing more is asked."""
    answers = os.fdopen(os.dup(1), "w")
    # What a library prints is no answer.
    os.dup2(2, 1)

    def answer(**values: object) -> None:
        print(json.dumps(values), file=answers, flush=True)

    order = json.loads(sys.stdin.readline())
    facts, job = Facts(**order["facts"]), JOBS[order["job"]]
    try:
        contender = load(order["contender"], facts)
        checker = Checker(facts, order["contender"])
        work = getattr(contender, job.verb)
        # What is imported at the first request is not part of a later one.
        contender.small()
        answer()
        for line in sys.stdin:
            answer(**measure(work, checker, job.verb, json.loads(line)["calls"]))
    except Exception as error:  # noqa: BLE001  # whatever it is, this contender has failed
        said = str(error) if isinstance(error, WrongError) else f"{type(error).__name__}: {error}"
        answer(error=" ".join(said.split())[:200])


def measure(work: Any, checker: Checker, verb: str, calls: int) -> dict[str, object]:
    """Return seconds and seconds of CPU for each call, and the most memory one took in addition."""
    samples: list[tuple[float, float]] = []
    extra: int | None = None
    end = time.perf_counter() + ENOUGH
    while len(samples) < calls and (not samples or time.perf_counter() < end):
        before = forget_peak()
        busy, start = cpu(), time.perf_counter()
        result = work()
        samples.append((time.perf_counter() - start, cpu() - busy))
        if before is not None:
            extra = max(extra or 0, memory("VmHWM") - before)
        checker.check(verb, result)
        del result
    return {"samples": samples, "extra": extra}


def cpu() -> float:
    """Return the seconds of CPU that this process and its ended children used."""
    found = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in found)


def forget_peak() -> int | None:
    """Let the peak of memory begin anew, and return what is used now; `None` where Linux is not."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
        return memory("VmRSS")
    except OSError:
        return None


def memory(name: str) -> int:
    """Return one of the kernel's numbers of this process, in bytes."""
    found = re.search(rf"{name}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    return int(found[1]) * 1024 if found else 0


if __name__ == "__main__":
    main()
