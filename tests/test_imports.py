"""Who may import what, where ruff's list of banned names cannot say it, and what `import polyrun` costs."""

from __future__ import annotations

import ast
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from attr import frozen

import polyrun

if TYPE_CHECKING:
    from collections.abc import Iterator


def exported(module: str) -> frozenset[str]:
    """Return the public names of *module*, without importing what it stands on."""
    source = Path(polyrun.__file__).parent.joinpath(*module.split(".")[1:], "__init__.py").read_text(encoding="utf-8")
    for node in ast.parse(source).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            return frozenset(ast.literal_eval(node.value))
    raise LookupError(module)


PUBLIC = {module: exported(module) for module in ("polyrun", "polyrun.adapter", "polyrun.adapter.http")}


@frozen
class Rule:
    """What a package may import, next to the standard library and to what is its own."""

    ours: tuple[str, ...] = ()
    """Packages of this project, with all that is private in them."""
    public: tuple[str, ...] = ()
    """Packages of this project of which only the public names are."""
    others: tuple[str, ...] = ()


RULES = {
    "polyrun": Rule(others=("attr",)),
    "polyrun.adapter": Rule(ours=("polyrun",), others=("attr",)),
    "polyrun.adapter.http": Rule(ours=("polyrun", "polyrun.adapter"), others=("attr", "urllib3")),
    "polyrun.testing": Rule(public=tuple(PUBLIC), others=("attr", "pytest")),
    "polyrun.cluster": Rule(public=tuple(PUBLIC), others=("attr",)),
    "polyrun_docker": Rule(public=tuple(PUBLIC), others=("attr", "docker")),
    "polyrun_podman": Rule(public=tuple(PUBLIC), others=("attr", "podman")),
}

# What polyrun does not ask to be installed; for types it does not need to be.
ONLY_FOR_TYPES = {"typing_extensions"}


def package_of(module: str) -> str:
    """Return the package whose rule is *module*'s: the longest in the table."""
    return max((name for name in RULES if f"{module}.".startswith(f"{name}.")), key=len, default="")


def imports(source: str) -> Iterator[tuple[int, str, str | None, bool]]:
    """Yield for each import in *source* its line, the module, the name if there is one, and if it is for types only."""
    tree = ast.parse(source)
    for_types = {
        id(node)
        for block in ast.walk(tree)
        if isinstance(block, ast.If) and isinstance(block.test, ast.Name) and block.test.id == "TYPE_CHECKING"
        for statement in block.body
        for node in ast.walk(statement)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name, None, id(node) in for_types
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                yield node.lineno, "." * node.level + (node.module or ""), alias.name, id(node) in for_types


def allowed(importer: str, module: str, name: str | None, *, for_types: bool) -> bool:
    """Tell whether a module of the package *importer* may import *module*, or *name* from it."""
    rule = RULES[importer]
    top = module.partition(".")[0]
    if top in sys.stdlib_module_names:
        return True
    if top in ONLY_FOR_TYPES:
        return for_types
    owner = package_of(module)
    if not owner:
        return top in rule.others
    if owner == importer or owner in rule.ours:
        return True
    return module in rule.public and (name is None or name in PUBLIC[module])


def complaints(module: str, source: str) -> list[str]:
    """Return what *module*, with this *source*, must not import."""
    return [
        f"{module}, line {line}: {imported}" + (f" ({name})" if name else "")
        for line, imported, name, for_types in imports(source)
        if not allowed(package_of(module), imported, name, for_types=for_types)
    ]


def modules(top: str) -> Iterator[tuple[str, str]]:
    """Yield the name and the source of each module of an installed package, which is not imported."""
    spec = find_spec(top)
    assert spec is not None, f"{top} is not installed"
    assert spec.origin is not None, f"{top} is not the package"
    folder = Path(spec.origin).parent
    for path in sorted(folder.rglob("*.py")):
        name = ".".join((top, *path.relative_to(folder).with_suffix("").parts))
        yield name.removesuffix(".__init__"), path.read_text(encoding="utf-8")


@pytest.mark.parametrize("top", ["polyrun", "polyrun_docker", "polyrun_podman"])
def test_imports_follow_the_rules(top: str) -> None:
    """No module imports what its package may not."""
    assert [complaint for module, source in modules(top) for complaint in complaints(module, source)] == []


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("polyrun._registry", "import polyrun_docker"),
        ("polyrun._registry", "def load():\n    from polyrun_podman import connect"),
        ("polyrun._models", "import docker.errors"),
        ("polyrun._models", "from polyrun.adapter import Engine"),
        ("polyrun._models", "from typing_extensions import Self"),
        ("polyrun._probes", "import requests"),
        ("polyrun.adapter._verbs", "import urllib3"),
        ("polyrun.adapter._verbs", "from polyrun.adapter.http import HttpClient"),
        ("polyrun.adapter.http._compat", "import podman"),
        ("polyrun.testing._memory", "from polyrun._models import container_spec"),
        ("polyrun.testing._memory", "import polyrun._models"),
        ("polyrun.testing._memory", "from polyrun import _models"),
        ("polyrun.testing._memory", "from polyrun.adapter._verbs import EngineRuntime"),
        ("polyrun.cluster", "from polyrun.testing import MemoryRuntime"),
        ("polyrun.cluster", "from polyrun_docker import connect"),
        ("polyrun_docker._engine", "from polyrun_podman import connect"),
        ("polyrun_docker._engine", "import podman"),
        ("polyrun_docker._engine", "import urllib3"),
        ("polyrun_docker._engine", "from polyrun.adapter.http._transport import HttpClient"),
        ("polyrun_podman", "from ._engine import open_runtime"),
    ],
)
def test_a_wrong_import_is_noticed(module: str, source: str) -> None:
    """The rules refuse what they are there to refuse."""
    assert complaints(module, source) != []


def test_import_polyrun_is_light() -> None:
    """`import polyrun` loads attrs and nothing else, and of the standard library nothing that talks to an engine."""
    code = "import sys; before = set(sys.modules); import polyrun; print(*sorted(set(sys.modules) - before))"
    loaded = set(subprocess.check_output([sys.executable, "-c", code], text=True).split())
    assert {name.partition(".")[0] for name in loaded} - sys.stdlib_module_names == {"attr", "polyrun"}
    assert loaded & {"asyncio", "http.client", "importlib.metadata", "logging", "socket", "ssl", "tarfile"} == set()
    assert not [name for name in loaded if name.startswith(("polyrun.adapter", "polyrun.testing"))]
