"""The command: ``python -m benchmarks``."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import benchmarks
from benchmarks import _imports, _rounds
from benchmarks._bare import Bare
from benchmarks._contenders import CLASSES, contenders
from benchmarks._facts import WrongError
from benchmarks._jobs import IMPORT, JOBS
from benchmarks._lab import Lab
from benchmarks._rounds import OURS
from benchmarks._table import Table, markdown, text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks._jobs import Job

SOCKETS = {"docker": "/var/run/docker.sock", "podman": "/run/podman/podman.sock"}


def main() -> int:
    """Measure what was asked for, and print it."""
    options = _options()
    # As after Ctrl-C: everything that was made is removed.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    tables: list[Table] = []
    if IMPORT.key in options.jobs:
        tables.append(_measure_import(options))
    jobs = [JOBS[key] for key in options.jobs if key != IMPORT.key]
    engines = {name: path for name in options.engine or SOCKETS if jobs and (path := _socket(name))}
    tables += [_measure_engine(engine, path, jobs, options) for engine, path in engines.items()]
    if jobs and not engines:
        print("no engine answers; `scripts/engines up` provides them")
        return 1
    if options.markdown:
        options.markdown.write_text(markdown(tables))
    # Who is slow is for people to judge, on a machine with nothing else to do; a wrong answer is wrong anywhere.
    return 1 if any(line.startswith("polyrun,") for table in tables for line in table.failures()) else 0


def _measure_import(options: argparse.Namespace) -> Table:
    names = [name for name in _imports.NAMES if name in options.contenders]
    table = Table("Import, in a fresh interpreter", "", names, _versions(names))
    results = _imports.measure(names, rounds=options.rounds, seconds=options.seconds)
    table.rows.append((IMPORT, {result.contender: result for result in results}))
    print(text(table), flush=True)
    return table


def _measure_engine(engine: str, path: str, jobs: Sequence[Job], options: argparse.Namespace) -> Table:
    names = [name for name in contenders(engine) if name in options.contenders]
    table = Table(f"{engine.title()} {Bare(engine, path).version()}", engine, names, _versions(names))
    try:
        with Lab(engine, path) as lab:
            for job in jobs:
                start = time.monotonic()
                facts = lab.prepare(job.verb, job.listed)
                found = _rounds.measure(job, names, facts, rounds=options.rounds, seconds=options.seconds)
                table.rows.append((job, {result.contender: result for result in found}))
                took = time.monotonic() - start
                print(f"{engine}: {job.title}: {len(found[0].rounds) - 1} rounds, {took:.0f} s", file=sys.stderr)
    finally:
        # What was measured before it ended, too.
        if table.rows:
            print(text(table), flush=True)
    return table


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=benchmarks.__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--engine", action="append", choices=list(SOCKETS), help="one engine only")
    parser.add_argument("--jobs", type=_jobs, default=list(JOBS), help=f"some of {','.join(JOBS)}")
    parser.add_argument("--contenders", type=_contenders, default=list(CLASSES), help=f"some of {','.join(CLASSES)}")
    parser.add_argument("--rounds", type=int, default=25, help="the most rounds for a job; slow jobs have fewer")
    parser.add_argument("--seconds", type=float, default=6.0, help="about how long floor and polyrun take for a job")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the tables for the README")
    return parser.parse_args()


def _contenders(words: str) -> list[str]:
    asked = [*OURS, *words.split(",")]
    if unknown := set(asked) - set(CLASSES):
        raise argparse.ArgumentTypeError(f"nobody is called {', '.join(unknown)}; there are {', '.join(CLASSES)}")
    return asked


def _jobs(words: str) -> list[str]:
    asked = words.split(",")
    if unknown := set(asked) - set(JOBS):
        raise argparse.ArgumentTypeError(f"no job is called {', '.join(unknown)}; there are {', '.join(JOBS)}")
    # In the order of the table: the containers to list only become more.
    return [key for key in JOBS if key in asked]


def _socket(engine: str) -> str | None:
    """Return the engine's socket, if it answers there."""
    url = os.environ.get(f"POLYRUN_TEST_{engine.upper()}", "")
    path = url.partition("unix://")[2] or SOCKETS[engine]
    if Bare(engine, path).answers():
        return path
    print(f"{engine} does not answer at {path}")
    return None


def _versions(names: Sequence[str]) -> list[str]:
    """Return the rivals with their versions."""
    from importlib.metadata import version  # banned at the top, for the core's sake

    return [name if name == "CLI" else f"{name} {version(name.removesuffix('-py'))}" for name in names[2:]]


if __name__ == "__main__":
    try:
        sys.exit(main())
    except WrongError as error:
        sys.exit(f"nothing to compare with: {error}")
    except KeyboardInterrupt:
        sys.exit(130)
