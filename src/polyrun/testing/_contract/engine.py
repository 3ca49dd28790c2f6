"""The engine itself: who it is, what it can do, how a connection to it ends."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from polyrun import Capabilities, CheckReport, EngineError
from polyrun.testing._contract._base import ContractFixtures

if TYPE_CHECKING:
    from collections.abc import Callable

    from polyrun import Runtime


class EngineContract(ContractFixtures):
    """`check`, `version`, `close` and what identifies a runtime."""

    def test_a_runtime_has_a_name_and_a_url(self, runtime: Runtime) -> None:
        """A runtime says which engine it is, and where, in the form that `connect` takes."""
        assert runtime.name
        assert "://" in runtime.url

    def test_capabilities_are_told_without_being_asked_for(self, runtime: Runtime) -> None:
        """What the engine can do is known of every runtime."""
        assert isinstance(runtime.capabilities, Capabilities)

    def test_the_version_is_that_of_the_engine(self, runtime: Runtime) -> None:
        """The version names the engine, and leaves nothing out."""
        version = runtime.version()
        assert version.engine == runtime.name
        assert version.version
        assert version.api
        assert version.os == "linux"
        assert version.arch

    def test_a_check_of_a_working_engine_is_ok(self, runtime: Runtime) -> None:
        """An engine that works is reported as usable, with its endpoint and who chose that."""
        report = runtime.check()
        assert isinstance(report, CheckReport)
        assert report.ok, str(report)
        assert not [finding for finding in report.findings if finding.severity == "error"]
        assert report.engine == runtime.name
        assert report.endpoint
        assert report.chosen_by
        assert report.version

    def test_a_check_changes_nothing(self, runtime: Runtime, image: str, name: str) -> None:
        """A check leaves the containers as they are, and makes none."""
        with runtime.create(image, name=name):
            before = {container.id for container in runtime.ps(all=True) if self.mark in container.name}
            runtime.check()
            assert {container.id for container in runtime.ps(all=True) if self.mark in container.name} == before

    def test_closing_twice_is_allowed(self, connect_again: Callable[[], Runtime]) -> None:
        """A runtime can be closed twice."""
        runtime = connect_again()
        runtime.close()
        runtime.close()

    def test_a_closed_runtime_refuses_every_other_verb(self, connect_again: Callable[[], Runtime], image: str) -> None:
        """A closed runtime does not quietly open itself again."""
        runtime = connect_again()
        runtime.close()
        verbs: list[Callable[[], object]] = [
            runtime.version,
            runtime.ps,
            runtime.images,
            lambda: runtime.run(image, ["true"]),
            lambda: runtime.create(image),
            lambda: runtime.inspect("any"),
            lambda: runtime.exec("any", ["true"]),
            lambda: list(runtime.logs("any")),
        ]
        for verb in verbs:
            with pytest.raises(EngineError, match="closed"):
                verb()

    def test_a_runtime_closes_at_the_end_of_its_block(self, connect_again: Callable[[], Runtime]) -> None:
        """As a context manager a runtime is closed at the end."""
        with connect_again() as runtime:
            assert runtime.check().ok
        with pytest.raises(EngineError, match="closed"):
            runtime.ps()

    def test_closing_one_runtime_leaves_another_open(
        self, runtime: Runtime, connect_again: Callable[[], Runtime]
    ) -> None:
        """Two runtimes on one engine have nothing in common but the engine."""
        connect_again().close()
        assert runtime.check().ok
