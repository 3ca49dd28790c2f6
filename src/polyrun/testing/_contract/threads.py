"""One runtime in many threads."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from polyrun.testing._contract._base import IDLE, ContractFixtures, sh, unique

if TYPE_CHECKING:
    from polyrun import Container, Runtime


class ThreadContract(ContractFixtures):
    """A runtime is one object for all threads of a program."""

    @pytest.mark.parametrize("threads", [2, 32])
    def test_calls_of_many_threads_do_not_mix(self, runtime: Runtime, image: str, box: Container, threads: int) -> None:
        """Every call gets its own answer, whatever the others do at the same time."""
        label = {"mark": unique()}

        def work(number: int) -> str:
            kind = number % 4
            if kind == 0:
                result = runtime.run(image, sh(f"echo {number}; exit {number}"), labels=label, check=False)
                return f"{result.exit_code} {result.text}"
            if kind == 1:
                executed = runtime.exec(box, sh(f"echo {number}; exit {number}"))
                return f"{executed.exit_code} {executed.text}"
            if kind == 2:
                return runtime.ps(name=box.name)[0].id
            with runtime.create(image, labels={**label, "number": str(number)}) as container:
                return runtime.inspect(container.name).labels["number"]

        with ThreadPoolExecutor(threads) as pool:
            answers = list(pool.map(work, range(1, 2 * threads + 5)))
        for number, answer in enumerate(answers, 1):
            expected = {0: f"{number} {number}\n", 1: f"{number} {number}\n", 2: box.id, 3: str(number)}
            assert answer == expected[number % 4]
        assert runtime.ps(all=True, labels=label) == ()

    def test_a_name_is_given_once(self, runtime: Runtime, image: str, name: str) -> None:
        """Of many who want one name at the same time one gets it, and the others know it."""

        def create(_: int) -> str:
            try:
                return runtime.create(image, IDLE, name=name).id
            except Exception as error:  # noqa: BLE001  # its type is what is looked at
                return type(error).__name__

        with ThreadPoolExecutor(8) as pool:
            ends = list(pool.map(create, range(8)))
        assert ends.count("Conflict") == 7
        assert runtime.inspect(name).id in ends
