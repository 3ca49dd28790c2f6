"""The runtimes that the tests run on, and what holds for every test.

``POLYRUN_TEST_RUNTIMES`` chooses them (``docker,memory``; all four when it is not set), and
``POLYRUN_TEST_DOCKER``, ``POLYRUN_TEST_PODMAN`` and ``POLYRUN_TEST_PODMAN_ROOTLESS`` say where the
engines are; ``scripts/engines`` provides them. An engine that is missing is a skip that one can
see, and with ``CI`` set a failure. So is, with ``CI`` set, every other skip whose reason is not in
``allowed_skips.txt``.
"""

from __future__ import annotations

import faulthandler
import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING, cast

import pytest

import polyrun

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType

    from polyrun import Runtime

RUNTIMES = ("docker", "podman", "podman-rootless", "memory")
CHOSEN = [name for name in os.environ.get("POLYRUN_TEST_RUNTIMES", ",".join(RUNTIMES)).split(",") if name]
IN_CI = bool(os.environ.get("CI"))
ALLOWED_SKIPS = Path(__file__).with_name("allowed_skips.txt")


def address(name: str) -> str | None:
    """Return where the engine *name* is, or ``None`` to let its own rules find it."""
    given = os.environ.get(f"POLYRUN_TEST_{name.replace('-', '_').upper()}")
    if given or name == "memory":
        return given
    if name == "podman-rootless":
        sockets = sorted(Path("/run/user").glob("*/podman/podman.sock"))
        return f"unix://{sockets[0]}" if sockets else "unix:///run/user/none/podman/podman.sock"
    return {"docker": "unix:///var/run/docker.sock", "podman": "unix:///run/podman/podman.sock"}[name]


@pytest.fixture(scope="session", params=CHOSEN)
def runtime_name(request: pytest.FixtureRequest) -> str:
    """Return the name of each runtime in turn."""
    name: str = request.param
    return name


@pytest.fixture(scope="session")
def open_runtime(runtime_name: str) -> Callable[[], Runtime]:
    """Return what connects to the runtime; skip, or in CI fail, where there is none."""

    def connect() -> Runtime:
        try:
            return polyrun.connect(runtime_name.partition("-")[0], url=address(runtime_name))
        except (polyrun.NoRuntime, polyrun.ConnectError, polyrun.PermissionDenied) as error:
            if IN_CI:
                raise
            pytest.skip(f"no {runtime_name}: {error}")

    return connect


@pytest.fixture(scope="session")
def runtime(open_runtime: Callable[[], Runtime]) -> Iterator[Runtime]:
    """Return each runtime in turn."""
    with open_runtime() as runtime:
        yield runtime


@pytest.fixture(autouse=True)
def watchdog(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fail a test that hangs: nothing in polyrun may."""
    item = cast("pytest.Item", request.node)  # pyright: ignore[reportUnknownMemberType]  # pytest's own gap
    seconds = 600 if item.get_closest_marker("slow") else 120

    def bark(_signal: int, _frame: FrameType | None) -> None:
        pytest.fail(f"not over after {seconds} s")

    before = signal.signal(signal.SIGALRM, bark)
    # Again and again, since what cleans up can hang as well; in the end the whole run is given up.
    signal.setitimer(signal.ITIMER_REAL, seconds, 5)
    faulthandler.dump_traceback_later(seconds + 60, exit=True, file=2)
    yield
    faulthandler.cancel_dump_traceback_later()
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


class NoSilentSkips:
    """Fail a run that skips something for a reason that nobody agreed to."""

    def __init__(self) -> None:
        lines = ALLOWED_SKIPS.read_text().splitlines()
        self._allowed = tuple(line for line in lines if line and not line.startswith("#"))
        self.found: list[str] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Look at a test."""
        self._look(report)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Look at a module."""
        self._look(report)

    def _look(self, report: pytest.TestReport | pytest.CollectReport) -> None:
        if report.skipped and not hasattr(report, "wasxfail"):
            reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
            reason = reason.removeprefix("Skipped: ")
            if not reason.startswith(self._allowed):
                self.found.append(f"{report.nodeid}: {reason}")

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Say what was skipped."""
        if self.found:
            terminalreporter.section("skipped, and not in tests/allowed_skips.txt", red=True)
            for line in self.found:
                terminalreporter.line(line)

    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> None:
        """Fail the run."""
        if self.found and exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_configure(config: pytest.Config) -> None:
    """Watch for skips in CI."""
    if IN_CI:
        config.pluginmanager.register(NoSilentSkips())
