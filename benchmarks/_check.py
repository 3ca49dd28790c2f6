"""Whether a contender's result is right, since a wrong answer is not a fast answer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from benchmarks._bare import Bare
from benchmarks._facts import EXECS, FILE_BYTES, LISTS, LOG_BYTES, SAID, THREADS, WANTED_FILES, WrongError

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks._facts import Facts


class Checker:
    """Checks one contender's results; what it asks the engine is on a connection of its own."""

    def __init__(self, facts: Facts, contender: str) -> None:
        self._facts = facts
        self._contender = contender
        self._bare = Bare(facts.engine, facts.socket)
        self._right_images: set[str] = set()

    def check(self, verb: str, result: Any) -> None:
        """Raise `WrongError` if *result* is not what *verb* has to return."""
        how: Callable[[Any], None] = getattr(self, f"_{verb}")
        how(result)

    def _small(self, name: str) -> None:
        _same("the name", name, self._facts.box)

    _connect = _small

    def _ps(self, names: list[str]) -> None:
        _same("the names", sorted(names), self._facts.listed_names)

    def _run(self, output: bytes) -> None:
        _same("the output", output, SAID[1])

    def _spawn(self, identifier: str) -> None:
        if len(identifier) < 12 or self._bare.exists(identifier):
            raise WrongError(f"{identifier} is still there")

    def _exec(self, said: object) -> None:
        _same("exit code and output", said, SAID)

    def _logs(self, count: int) -> None:
        _same("the bytes", count, LOG_BYTES)

    def _put(self, _: None) -> None:
        _same("the size", self._bare.size(self._facts.box, f"/tmp/in-{self._contender}"), FILE_BYTES)

    def _get(self, path: Any) -> None:
        _same("the size", path.stat().st_size, FILE_BYTES)
        path.unlink()

    def _build(self, image: str) -> None:
        # The same image again, from the cache, was looked into already.
        if image not in self._right_images:
            _, said = self._bare.run(image, ["sh", "-c", "find /app -type f | wc -l"])
            _same("the files", int(said), WANTED_FILES - 2)
            self._right_images.add(image)

    def _threads(self, found: list[Any]) -> None:
        _same("the threads", len(found), THREADS)
        for lists, said in found:
            _same("lists and commands", (len(lists), len(said)), (LISTS, EXECS))
            for names in lists:
                self._ps(names)
            for one in said:
                self._exec(one)


def _same(what: str, found: object, expected: object) -> None:
    if found != expected:
        raise WrongError(f"{what}: {str(found)[:60]}, not {str(expected)[:60]}")
