"""Silence is no fault: what takes longer than the deadline of a request goes on while the engine lives."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

import polyrun
from polyrun.testing import RuntimeContract

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from polyrun import Runtime


@pytest.mark.slow
class TestPatience:
    """Over a runtime whose requests have one second each."""

    image = RuntimeContract.image
    busybox = RuntimeContract.busybox

    @pytest.fixture
    def hasty(self, runtime: Runtime) -> Iterator[Runtime]:
        """Return the same engine with a deadline of a second."""
        with polyrun.connect(runtime.url, timeout=1) as hasty:
            yield hasty

    def test_a_silent_run_goes_on(self, hasty: Runtime, image: str) -> None:
        """`run` waits for as long as the container takes."""
        script = "echo a; sleep 2.5; echo b; sleep 1.5; exit 3"
        result = hasty.run(image, ["sh", "-c", script], check=False)
        assert (result.exit_code, result.text) == (3, "a\nb\n")

    def test_a_silent_exec_goes_on(self, hasty: Runtime, image: str) -> None:
        """`exec` waits for as long as the command takes."""
        with hasty.spawn(image, ["sleep", "60"]) as container:
            result = container.exec(["sh", "-c", "echo a; sleep 2.5; echo b; exit 4"])
        assert (result.exit_code, result.text) == (4, "a\nb\n")

    def test_a_silent_container_is_followed_on(self, hasty: Runtime, image: str) -> None:
        """`logs` follows a container that says nothing for long."""
        with hasty.spawn(image, ["sh", "-c", "echo a; sleep 2.5; echo b; sleep 1.5; echo c"]) as container:
            assert b"".join(chunk.data for chunk in container.logs(follow=True)) == b"a\nb\nc\n"

    def test_a_silent_wait_goes_on(self, hasty: Runtime, image: str) -> None:
        """`wait` waits for as long as the container takes, or its own deadline."""
        with hasty.spawn(image, ["sh", "-c", "sleep 2.5; exit 5"]) as container:
            assert container.wait() == 5
        with hasty.spawn(image, ["sleep", "60"]) as container, pytest.raises(polyrun.DeadlineExceeded):
            container.wait(timeout=1.5)

    def test_a_silent_step_of_a_build_goes_on(self, hasty: Runtime, image: str, tmp_path: Path) -> None:
        """`build` waits for as long as its steps take."""
        (tmp_path / "Dockerfile").write_text(f"FROM {image}\nRUN echo a && sleep 2.5 && echo b\nRUN sleep 1.5\n")
        built = hasty.build(tmp_path, cache=False)
        hasty.rmi(built)
