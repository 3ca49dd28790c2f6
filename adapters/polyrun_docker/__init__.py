"""polyrun on Docker Engine 20.10 and newer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from polyrun.adapter import require_sdk

if TYPE_CHECKING:
    from polyrun import Runtime

__all__ = ["connect"]


def connect(url: str | None = None, timeout: float = 60.0) -> Runtime:
    """Return a runtime for the Docker engine at *url*, or where Docker's own rules lead."""
    require_sdk("docker", extra="docker")
    # What stands on the SDK is imported when there is one.
    from polyrun_docker._engine import open_runtime  # noqa: PLC0415

    return open_runtime(url, timeout)
