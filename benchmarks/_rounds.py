"""The rounds of one job: every contender in each, in random order."""

from __future__ import annotations

import json
import os
import random
import selectors
import signal
import subprocess
import sys
import time
from contextlib import ExitStack, suppress
from statistics import median, quantiles
from typing import IO, TYPE_CHECKING, Any, Protocol

from attr import Factory, define, frozen

from benchmarks._facts import WrongError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from typing_extensions import Self

    from benchmarks._facts import Facts
    from benchmarks._jobs import Job

DEADLINE = 40.0
"""Seconds after which a contender that is still at it has failed."""

OURS = ("floor", "polyrun")
LEAST = 5
"""Rounds that these two have in any case; the others sit out when they are slow."""


@frozen
class Round:
    """What one contender took in one round, for one call."""

    seconds: float
    cpu: float


@define
class Result:
    """What one contender took for a job, or why it failed."""

    contender: str
    rounds: dict[int, Round] = Factory(dict)
    extra: int | None = None
    """The most memory that a call took in addition."""
    failure: str | None = None
    spent: float = 0.0

    @property
    def seconds(self) -> float:
        """The median time of a call."""
        return median(self.rounds[number].seconds for number in _counting(self.rounds))

    def ratios(self, floor: Result, of: Callable[[Round], float]) -> list[float]:
        """Return this beside the floor, for each round that both were in."""
        both = _counting(self.rounds.keys() & floor.rounds.keys())
        return [of(self.rounds[number]) / max(of(floor.rounds[number]), 1e-6) for number in both]

    def ratio(self, floor: Result) -> float:
        """Return how many times the floor's time it took."""
        return median(self.ratios(floor, lambda one: one.seconds))

    def cpu_ratio(self, floor: Result) -> float:
        """Return how many times the floor's CPU it took."""
        return median(self.ratios(floor, lambda one: one.cpu))

    def spread(self, floor: Result) -> tuple[float, float]:
        """Return between what the middle half of its ratios lies."""
        found = self.ratios(floor, lambda one: one.seconds)
        if len(found) < 2:
            return found[0], found[0]
        low, _, high = quantiles(found, n=4, method="inclusive")
        return low, high


def _counting(numbers: Collection[int]) -> Collection[int]:
    """Return the rounds that count: not the first, which is warm-up, unless a slow one had no other."""
    return [number for number in numbers if number] or numbers


class Sampler(Protocol):
    """**Protocol** One contender at one job."""

    def sample(self, calls: int) -> tuple[Round, int | None]:
        """Do the job at most *calls* times and return what one took; raise `WrongError` if it went wrong."""
        ...


class Worker:
    """One contender at one job, in a process of its own that can be ended."""

    def __init__(self, contender: str, job: Job, facts: Facts) -> None:
        self._order = {"contender": contender, "job": job.key, "facts": facts.to_json()}

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks._worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            # Ctrl-C is for the one who waits, and ending it ends the commands it started.
            start_new_session=True,
        )
        self._stdin: IO[bytes] = self._process.stdin  # type: ignore[assignment]  # it is a pipe
        self._stdout: IO[bytes] = self._process.stdout  # type: ignore[assignment]
        self._tell(self._order)
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        with suppress(BrokenPipeError):
            self._stdin.close()
        self._stdout.close()
        self._process.wait()

    def ready(self) -> None:
        """Wait until it is."""
        self._answer()

    def sample(self, calls: int) -> tuple[Round, int | None]:
        """Let it do the job."""
        self._tell({"calls": calls})
        found = self._answer()
        seconds, cpu = zip(*found["samples"], strict=True)
        return Round(median(seconds), sum(cpu) / len(cpu)), found["extra"]

    def _tell(self, message: Mapping[str, object]) -> None:
        try:
            self._stdin.write(json.dumps(message).encode() + b"\n")
            self._stdin.flush()
        except BrokenPipeError:
            raise WrongError("it ended") from None

    def _answer(self) -> Any:
        with selectors.DefaultSelector() as selector:
            selector.register(self._stdout, selectors.EVENT_READ)
            if not selector.select(DEADLINE):
                os.killpg(self._process.pid, signal.SIGKILL)
                raise WrongError(f"not done after {DEADLINE:g} seconds")
        line = self._stdout.readline()
        if not line:
            raise WrongError("it ended")
        answer = json.loads(line)
        if "error" in answer:
            raise WrongError(answer["error"])
        return answer


def measure(job: Job, names: Sequence[str], facts: Facts, *, rounds: int, seconds: float) -> list[Result]:
    """Let the contenders do a job that needs an engine."""
    with ExitStack() as stack:
        workers = {name: stack.enter_context(Worker(name, job, facts)) for name in names if name not in job.skip}
        failures: dict[str, str] = {}
        for name, worker in workers.items():
            try:
                worker.ready()
            except WrongError as error:
                failures[name] = str(error)
        results = compete(workers, job.calls, rounds=rounds, seconds=seconds, failures=failures)
    if results["floor"].failure:
        raise WrongError(f"the floor fails at {job.title}: {results['floor'].failure}")
    return [results[name] for name in names if name in results]


def compete(
    samplers: Mapping[str, Sampler], calls: int, *, rounds: int, seconds: float, failures: Mapping[str, str]
) -> dict[str, Result]:
    """Do rounds, the first as warm-up, until floor and polyrun had enough of them, or *seconds*."""
    results = {name: Result(name, failure=failures.get(name)) for name in samplers}
    for number in range(rounds + 1):
        if number > LEAST and sum(results[name].spent for name in OURS) > seconds:
            break
        # Those that are slow have a share of the time only.
        names = [
            name
            for name, result in results.items()
            if not result.failure and (name in OURS or number == 0 or result.spent < seconds / 5)
        ]
        for name in random.sample(names, len(names)):
            _take_turn(results[name], samplers[name], number, calls)
    return results


def _take_turn(result: Result, sampler: Sampler, number: int, calls: int) -> None:
    start = time.monotonic()
    try:
        found, extra = sampler.sample(calls)
    except WrongError as error:
        result.failure = str(error)
        return
    result.spent += time.monotonic() - start
    result.rounds[number] = found
    if extra is not None:
        result.extra = max(result.extra or 0, extra)
