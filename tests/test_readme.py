"""What README.md and the pages in docs say is run, and is true; so is examples/quickstart.py."""

from __future__ import annotations

import inspect
import io
import os
import re
import shutil
import subprocess
import sys
from contextlib import redirect_stdout
from pathlib import Path
from tempfile import TemporaryDirectory
from textwrap import indent
from typing import TYPE_CHECKING

import pytest

import polyrun
from polyrun.adapter import Engine

if TYPE_CHECKING:
    from collections.abc import Iterator

    from polyrun import Runtime

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]

# Where no engine is chosen, the code in the pages runs in memory, and the quickstart does not.
CHOSEN = os.environ.get("POLYRUN_TEST_RUNTIMES", "docker,podman,podman-rootless").split(",")
ENGINES = [name for name in CHOSEN if name not in {"", "memory"}]

# A block of code, and the block of text that follows it with nothing between, which is its output.
_EXAMPLE = re.compile(r"^```python\n(.*?)^```\n(?:\n```text\n(.*?)^```\n)?", re.DOTALL | re.MULTILINE)


def examples() -> dict[str, tuple[str, str | None]]:
    """Return the code in the pages, each by its page and line, with its output if one is shown."""
    found: dict[str, tuple[str, str | None]] = {}
    for page in PAGES:
        text = page.read_text()
        for example in _EXAMPLE.finditer(text):
            line = text.count("\n", 0, example.start()) + 1
            found[f"{page.name}:{line}"] = (example[1], example[2])
    return found


@pytest.fixture(scope="module")
def busybox(runtime: Runtime) -> Iterator[None]:
    """Give the engine the image that the pages use, out of this machine's busybox, if it has none."""
    with TemporaryDirectory() as folder:
        shutil.copy(shutil.which("busybox") or "/bin/busybox", folder)
        install = 'RUN ["/bin/busybox", "--install", "-s", "/bin"]'
        Path(folder, "Dockerfile").write_text(f"FROM scratch\nCOPY busybox /bin/\n{install}\n")
        there = any("busybox:latest" in image.tags for image in runtime.images())
        if not there:
            runtime.build(folder, tag="busybox")
        yield
        if not there:
            runtime.rmi("busybox")


@pytest.mark.usefixtures("busybox")
@pytest.mark.parametrize(("code", "output"), examples().values(), ids=examples())
def test_examples_do_what_is_said(
    code: str, output: str | None, runtime: Runtime, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Each example in the pages runs as it stands, and prints what stands below it."""
    monkeypatch.setenv("POLYRUN_RUNTIME", runtime.url)
    monkeypatch.chdir(tmp_path)
    printed = io.StringIO()
    with redirect_stdout(printed):
        exec(compile(code, "example", "exec"), {"__name__": "example"})
    if output is not None:
        assert printed.getvalue() == output


if ENGINES:

    @pytest.mark.parametrize("runtime_name", ENGINES, indirect=True, scope="session")
    def test_the_quickstart_runs(runtime: Runtime) -> None:
        """The quickstart builds, runs, calls, looks into, lists and removes, and leaves nothing."""
        done = subprocess.run(
            [sys.executable, ROOT / "examples/quickstart.py", runtime.url],
            capture_output=True,
            text=True,
            check=False,
            timeout=100,
        )
        assert (done.returncode, done.stderr) == (0, "")
        said = dict(line.split(maxsplit=1) for line in done.stdout.splitlines())
        assert said["engine"].split()[0] == runtime.name
        assert said["built"] == "polyrun-quickstart:latest"
        assert said["ran"] == "a container that came and went"
        assert said["called"] == "200 Hello from a container."
        assert said["inside"] == "index.html"
        assert re.fullmatch(r"polyrun-\w+ polyrun-quickstart running \d+:80/tcp", said["listed"])
        assert said["removed;"] == "0 containers and 0 images are left"


def test_the_quickstart_says_what_is_missing() -> None:
    """Without an engine, or without its SDK, the last line is what to do."""
    done = subprocess.run(
        [sys.executable, ROOT / "examples/quickstart.py", "docker+unix:///nowhere/docker.sock"],
        stderr=subprocess.PIPE,
        text=True,
        check=False,
        timeout=100,
    )
    assert done.returncode != 0
    assert re.search(r"pip install 'polyrun-sdk\[docker\]'|systemctl enable --now docker", done.stderr.splitlines()[-1])


def names(page: Path, heading: str) -> set[str]:
    """Return what stands between backquotes in the first column of the table below *heading*."""
    section = page.read_text().partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (`.*?) \|", section, re.MULTILINE)
    return {name for row in rows for name in re.findall(r"`(\w+)`", row)}


def members(protocol: type) -> set[str]:
    """Return the public methods and properties of *protocol*."""
    found = inspect.getmembers(protocol, lambda member: inspect.isfunction(member) or isinstance(member, property))
    return {name for name, _ in found if not name.startswith("_")}


def test_the_readme_lists_every_verb() -> None:
    """The table has the verbs of `Runtime`, and no other."""
    assert names(ROOT / "README.md", "Verbs") == members(polyrun.Runtime) - {"name", "url"}


def test_the_readme_lists_every_error() -> None:
    """The table, with the line below it, has the errors that polyrun exports."""
    errors = {
        name
        for name in polyrun.__all__
        if isinstance(kind := getattr(polyrun, name), type) and issubclass(kind, polyrun.PolyrunError)
    }
    for_clusters = {"PartialFailure", "Unplaceable", "Locked"}
    assert names(ROOT / "README.md", "Errors") == errors - for_clusters - {"PolyrunError"}
    text = (ROOT / "README.md").read_text()
    assert [name for name in sorted(errors) if f"`{name}`" not in text] == []


def test_the_adapter_page_lists_every_primitive() -> None:
    """The table in docs/adapters.md has the members of `Engine`, and no other."""
    assert names(ROOT / "docs/adapters.md", "The primitives") == members(Engine)


def test_the_contributors_example_is_a_test_of_the_contract() -> None:
    """The test that CONTRIBUTING.md shows stands in the contract as it is shown."""
    shown = _EXAMPLE.findall((ROOT / "CONTRIBUTING.md").read_text())
    folder = Path(polyrun.__file__).parent / "testing/_contract"
    contract = "".join(path.read_text() for path in folder.glob("*.py"))
    assert [code for code, _ in shown if indent(code, "    ") in contract] == [code for code, _ in shown] != []


@pytest.mark.parametrize("page", [*PAGES, ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md"], ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    """A link to a file of this project leads to one."""
    links = re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text())
    assert [link for link in links if not (page.parent / link).exists()] == []
