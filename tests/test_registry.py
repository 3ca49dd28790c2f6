"""Finding a runtime: by name, by URL, by the environment, or the first that works."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from typing import TYPE_CHECKING

import pytest

import polyrun
from polyrun import ConnectError, InvalidArgument, NoRuntime, PolyrunError

if TYPE_CHECKING:
    from pathlib import Path

BUILT_IN = ("docker", "podman", "memory")


@pytest.fixture(autouse=True)
def no_engine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Let every rule of the engines lead to nothing."""
    monkeypatch.delenv("POLYRUN_RUNTIME", raising=False)
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/docker.sock")
    monkeypatch.setenv("CONTAINER_HOST", f"unix://{tmp_path}/podman.sock")


class TestRuntimes:
    def test_every_runtime_is_told_with_its_state(self) -> None:
        """What is known is listed, usable or not, and what is not usable has a reason."""
        found = {info.name: info for info in polyrun.runtimes()}
        assert set(BUILT_IN) <= set(found)
        assert (found["memory"].installed, found["memory"].usable) == (True, True)
        for name in ("docker", "podman"):
            assert not found[name].usable
            assert found[name].reason

    def test_the_usual_engines_come_first(self) -> None:
        """The order is that in which `connect` tries them."""
        names = [info.name for info in polyrun.runtimes()]
        assert names[:2] == ["docker", "podman"]

    def test_a_usable_runtime_has_a_report(self) -> None:
        """It is that of its check."""
        (info,) = [info for info in polyrun.runtimes() if info.name == "memory"]
        assert info.report is not None
        assert info.report.ok

    def test_a_check_is_of_all_or_of_one(self) -> None:
        """Every engine has a report, and none raises; the runtime in memory is none unless it is named."""
        assert {report.engine for report in polyrun.check()} >= set(BUILT_IN) - {"memory"}
        assert "memory" not in {report.engine for report in polyrun.check()}
        (report,) = polyrun.check("memory")
        assert (report.engine, report.ok) == ("memory", True)

    def test_a_check_of_what_does_not_exist_is_not_ok(self) -> None:
        """Neither a name nor an address that is wrong raises."""
        for wrong in ("no-such-engine", "docker+unix:///no/such.sock", "docker+smtp://x", "ftp://x", ""):
            reports = polyrun.check(wrong)
            assert not any(report.ok for report in reports if report.engine != "memory")


class TestConnect:
    def test_a_runtime_is_found_by_its_name(self) -> None:
        """The name is that of an entry point."""
        with polyrun.connect("memory") as runtime:
            assert runtime.name == "memory"

    def test_a_runtime_is_found_by_its_url(self) -> None:
        """What a runtime says where it is leads to it."""
        with polyrun.connect("memory") as runtime, polyrun.connect(runtime.url) as again:
            assert again.name == "memory"
            assert again.url == runtime.url

    def test_a_url_may_stand_beside_the_name(self, tmp_path: Path) -> None:
        """The engine is where the URL says, which may begin with its name as well."""
        for runtime, url in (
            ("docker", f"unix://{tmp_path}/x.sock"),
            ("docker", f"docker+unix://{tmp_path}/x.sock"),
            (None, f"docker+unix://{tmp_path}/x.sock"),
            (f"docker+unix://{tmp_path}/x.sock", None),
        ):
            with pytest.raises(NoRuntime, match=f"{tmp_path}/x.sock"):
                polyrun.connect(runtime, url=url)

    def test_the_environment_chooses_where_nothing_is_said(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """``POLYRUN_RUNTIME`` is a name or a URL, and what the caller says wins over it."""
        monkeypatch.setenv("POLYRUN_RUNTIME", "memory")
        with polyrun.connect() as runtime:
            assert runtime.name == "memory"
        monkeypatch.setenv("POLYRUN_RUNTIME", runtime.url)
        with polyrun.connect() as runtime:
            assert runtime.name == "memory"
        monkeypatch.setenv("POLYRUN_RUNTIME", "no-such-engine")
        with polyrun.connect("memory") as runtime:
            assert runtime.name == "memory"
        with pytest.raises(NoRuntime, match="no-such-engine"):
            polyrun.connect()

    def test_the_runtime_in_memory_is_never_chosen_unasked(self) -> None:
        """Without an engine there is an error, and not a runtime that runs nothing."""
        with pytest.raises(NoRuntime) as caught:
            polyrun.connect()
        for name in ("docker", "podman", "DOCKER_HOST", "CONTAINER_HOST"):
            assert name in str(caught.value)
        assert caught.value.report is not None

    def test_an_unknown_name_is_told_with_those_there_are(self) -> None:
        """The error lists the runtimes, and how there come to be more."""
        with pytest.raises(NoRuntime) as caught:
            polyrun.connect("dokcer")
        for part in ("dokcer", *BUILT_IN, "polyrun.runtimes"):
            assert part in str(caught.value)

    @pytest.mark.parametrize(
        ("runtime", "url", "said"),
        [
            ("", None, "empty"),
            (" ", None, "empty"),
            (None, "", "empty"),
            (None, "unix:///x.sock", "which engine"),
            ("unix:///x.sock", None, "which engine"),
            ("docker", "podman+unix:///x.sock", "two engines"),
            ("docker+unix:///x.sock", "unix:///y.sock", "two addresses"),
            ("docker", "x.sock", "not an address"),
            ("docker", "unix://x.sock", "not an address"),
            ("docker+smtp://x", None, "not an address"),
            ("podman", "/x.sock", "not an address"),
        ],
    )
    def test_what_cannot_be_an_address_is_refused(self, runtime: str | None, url: str | None, said: str) -> None:
        """The error says what is wrong."""
        with pytest.raises(InvalidArgument, match=said):
            polyrun.connect(runtime, url=url)

    @pytest.mark.parametrize("timeout", [0, -1, float("inf"), float("nan")])
    def test_a_timeout_is_a_time(self, timeout: float) -> None:
        """There is no waiting for ever."""
        with pytest.raises(InvalidArgument):
            polyrun.connect("memory", timeout=timeout)

    def test_a_docker_context_that_is_not_there_is_told(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        """The rule that chose it is named, and what shows the others."""
        monkeypatch.delenv("DOCKER_HOST")
        monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
        monkeypatch.setenv("DOCKER_CONTEXT", "no-such-context")
        with pytest.raises(ConnectError) as caught:
            polyrun.connect("docker")
        for part in ("no-such-context", "DOCKER_CONTEXT", "docker context ls"):
            assert part in str(caught.value)


class TestOutsideAdapters:
    """An adapter of somebody else's is an entry point, and nothing more."""

    @pytest.fixture
    def site(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        """Return a folder in which distributions are found."""
        monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
        return tmp_path

    def install(self, site: Path, name: str, code: str) -> None:
        """Install an adapter *name*."""
        info = site / f"{name}-1.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1\n")
        (info / "entry_points.txt").write_text(f"[polyrun.runtimes]\n{name} = {name}_adapter:connect\n")
        (site / f"{name}_adapter.py").write_text(textwrap.dedent(code))

    def test_an_adapter_is_found_by_its_name(self, site: Path) -> None:
        """It is given the URL and the timeout."""
        self.install(
            site,
            "elsewhere",
            """
            from polyrun.testing import MemoryRuntime
            asked = []
            def connect(url=None, timeout=60.0):
                asked.append((url, timeout))
                return MemoryRuntime()
            """,
        )
        with polyrun.connect("elsewhere+tcp://host:1", timeout=7):
            pass
        assert sys.modules["elsewhere_adapter"].asked == [("tcp://host:1", 7)]
        assert "elsewhere" in {info.name for info in polyrun.runtimes()}

    def test_an_error_in_an_adapter_is_not_hidden(self, site: Path) -> None:
        """What is wrong with it is what its user sees, who asked for it."""
        self.install(site, "broken", "raise ZeroDivisionError('mine')")
        with pytest.raises(ZeroDivisionError, match="mine"):
            polyrun.connect("broken")

    def test_a_broken_adapter_does_not_hide_the_others(self, site: Path) -> None:
        """A list of what there is tells that it is broken, and goes on."""
        self.install(site, "ruined", "import no_such_module_at_all")
        found = {info.name: info for info in polyrun.runtimes()}
        assert not found["ruined"].usable
        assert "no_such_module_at_all" in found["ruined"].reason
        assert found["memory"].usable


class TestWithoutSdks:
    """The core needs no SDK, and explains what to install."""

    @pytest.mark.parametrize("sdk", ["docker", "podman"])
    def test_a_missing_sdk_is_told_with_what_to_install(self, sdk: str) -> None:
        """The error has the command that installs it, and so has the list of runtimes."""
        script = f"""
            import sys
            sys.modules[{sdk!r}] = None  # what makes an import of it fail
            import polyrun
            try:
                polyrun.connect({sdk!r})
            except polyrun.NoRuntime as error:
                print(error)
            print([info.installed for info in polyrun.runtimes() if info.name == {sdk!r}])
        """
        done = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(script)],
            capture_output=True,
            text=True,
            check=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
        )
        assert f"polyrun-sdk[{sdk}]" in done.stdout
        assert done.stdout.endswith("[False]\n")

    def test_the_error_is_one_of_ours(self) -> None:
        """Whatever an engine lacks, it is a `PolyrunError`."""
        for name in ("docker", "podman"):
            with pytest.raises(PolyrunError):
                polyrun.connect(name)
