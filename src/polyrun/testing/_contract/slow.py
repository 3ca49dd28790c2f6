"""What takes long on every engine, and therefore comes last."""

from __future__ import annotations

import hashlib
import os
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from polyrun.testing._contract._base import MEGABYTE, ContractFixtures, memory_below, sh, unique

if TYPE_CHECKING:
    from pathlib import Path

    from polyrun import Container, Runtime


class SlowContract(ContractFixtures):
    """Many runs, long logs, large files. Each test has the marker itself: that of a base would be everybody's."""

    @pytest.mark.slow
    def test_two_hundred_runs_have_the_true_exit_code(self, runtime: Runtime, image: str) -> None:
        """Not one of many runs has another exit code, lacks output, or leaves its container."""
        label = {"mark": unique()}

        def run(_: int) -> tuple[int, bytes, bytes]:
            result = runtime.run(image, sh("echo out; echo err >&2; exit 3"), labels=label, check=False)
            return result.exit_code, result.stdout, result.stderr

        with ThreadPoolExecutor(4) as pool:
            results = list(pool.map(run, range(200)))
        assert results == [(3, b"out\n", b"err\n")] * 200
        assert runtime.ps(all=True, labels=label) == ()

    @pytest.mark.slow
    def test_fifty_megabytes_of_logs_take_no_memory(self, runtime: Runtime, image: str, memory_limit: int) -> None:
        """Logs are read as they come, to the last byte."""
        block = b"".join(b"%099d\n" % number for number in range(MEGABYTE // 100))
        with runtime.create(image, ["cat", *["/block"] * 50]) as container:
            container.put(block, "/block")
            container.start()
            container.wait(timeout=60)
            expected = hashlib.sha256(block * 50).hexdigest()
            seen = hashlib.sha256()
            with memory_below(memory_limit):
                for chunk in container.logs():
                    seen.update(chunk.data)
            assert seen.hexdigest() == expected
            with memory_below(memory_limit), container.logs(follow=True) as stream:
                assert sum(len(chunk.data) for chunk in stream) == len(block) * 50

    @pytest.mark.slow
    def test_a_hundred_megabytes_are_copied_without_memory(
        self, box: Container, place: str, tmp_path: Path, memory_limit: int
    ) -> None:
        """Files go in and come out as a stream, and are what they were."""
        source = tmp_path / "source"
        block = os.urandom(MEGABYTE)
        with source.open("wb") as file:
            for _ in range(100):
                file.write(block)
        expected = hashlib.sha256(block * 100).hexdigest()
        with memory_below(memory_limit):
            box.put(source, place)
        assert box.exec(["sha256sum", place], check=True).text.split()[0] == expected
        with memory_below(memory_limit):
            target = box.get(place, tmp_path / "target")
        with target.open("rb") as file:
            assert hashlib.sha256(file.read()).hexdigest() == expected
        box.exec(["rm", place], check=True)
