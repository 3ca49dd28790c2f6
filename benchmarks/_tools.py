"""The engines' own commands."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from benchmarks._facts import Facts


def tool(facts: Facts) -> list[str]:
    """Return the command that talks to the same engine as the others."""
    if facts.engine == "docker":
        return ["docker", "--host", facts.url]
    # Without --remote it would be an engine of its own, with other containers.
    return ["podman", "--remote", "--url", facts.url]


def environment(facts: Facts) -> None:
    """Set what the command needs: the builder in the engine, which all the others use too."""
    if facts.engine == "docker":
        os.environ["DOCKER_BUILDKIT"] = "0"
