"""Names and labels that hold on every engine."""

from __future__ import annotations

import re
import secrets
from functools import lru_cache
from importlib.util import find_spec
from typing import TYPE_CHECKING

from polyrun import CheckReport, Finding, InvalidArgument, NoRuntime, Reference

if TYPE_CHECKING:
    from collections.abc import Mapping

    from polyrun import ContainerSpec

VERB_LABEL = "polyrun.verb"
"""On everything that polyrun makes: the verb that made it, so that leftovers can be found."""

IMAGE_LABEL = "polyrun.image"
"""The image as it was asked for: engines keep a full name, an id, or what was typed."""

CALL_LABEL = "polyrun.call"
"""The call that made a container; it is how that call finds it again, and is not shown in snapshots."""


@lru_cache(maxsize=1024)
def familiar(name: str) -> str:
    """Return an engine's name for an image in the short form that people use; ids stay as they are."""
    try:
        return Reference.parse(name).familiar
    except InvalidArgument:
        return name


def made_by(verb: str, spec: ContainerSpec) -> Mapping[str, str]:
    """Return the labels of a container that *verb* makes."""
    return {**spec.labels, VERB_LABEL: verb, IMAGE_LABEL: spec.image}


def shown(container: str) -> str:
    """Return a container's name, or the short form of its id, for a message."""
    return container[:12] if re.fullmatch(r"[0-9a-f]{64}", container) else container


def new_name() -> str:
    """Return a name for a container that was given none.

    A name of ours can be removed by name when the reply to its creation is lost.
    """
    return f"polyrun-{secrets.token_hex(6)}"


@lru_cache  # which keeps no exception
def require_sdk(package: str, *, extra: str) -> None:
    """Raise `NoRuntime`, with the command that installs it, unless *package* is installed.

    A folder that happens to have the SDK's name is not the SDK, hence the look for its origin.
    """
    found = find_spec(package)
    if found is not None and found.origin is not None:
        return
    report = CheckReport(
        ok=False,
        engine=extra,
        endpoint="",
        chosen_by="",
        findings=(
            Finding(
                code="sdk-missing",
                severity="error",
                summary=f"the Python package {package!r} is not installed",
                fix=f"pip install 'polyrun-sdk[{extra}]'",
            ),
        ),
    )
    raise NoRuntime(
        f"the Python package {package!r} is not installed",
        report=report,
        engine=extra,
        hint=f"Install it with: pip install 'polyrun-sdk[{extra}]'",
    )
