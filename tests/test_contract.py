"""Every runtime keeps the same promise."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from polyrun import ContainerNotFound
from polyrun.testing import RuntimeContract

if TYPE_CHECKING:
    from collections.abc import Iterator

    from polyrun import Runtime


@pytest.fixture(scope="module", autouse=True)
def no_image_is_left(runtime: Runtime) -> Iterator[None]:
    """Fail if an image of the contract is there at the end."""
    yield
    left = [tag for image in runtime.images() for tag in image.tags if RuntimeContract.mark in tag]
    for tag in left:
        runtime.rmi(tag, force=True)
    assert left == []


def test_no_test_hides_another() -> None:
    """No two parts of the contract have a test of the same name, of which one would not run."""
    parts = [part for part in RuntimeContract.__mro__ if part is not object]
    names = [name for part in parts for name in vars(part) if name.startswith("test_")]
    assert sorted(names) == sorted(set(names))


class TestContract(RuntimeContract):
    """Every runtime keeps the same promise, and leaves nothing behind."""

    @pytest.fixture(autouse=True)
    def no_container_is_left(self, runtime: Runtime, image: str) -> Iterator[None]:
        """Fail if a container of the test is there at its end; some share one, which stays."""
        del image  # so that it is still there
        yield
        left = [
            container
            for container in runtime.ps(all=True)
            if self.mark in f"{container.name} {container.image}" and "contract-box" not in container.name
        ]
        for container in left:
            with suppress(ContainerNotFound):
                container.rm(force=True)
        assert left == []

    @pytest.fixture(scope="class")
    @classmethod
    def memory_limit(cls, runtime: Runtime) -> int:
        """A runtime in memory holds in this process what the engines hold in theirs."""
        return 1 << (30 if runtime.name == "memory" else 23)
