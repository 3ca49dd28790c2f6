"""polyrun on Podman 4.3 and newer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from polyrun.adapter import require_sdk

if TYPE_CHECKING:
    from polyrun import Runtime

__all__ = ["connect"]


def connect(url: str | None = None, timeout: float = 60.0) -> Runtime:
    """Return a runtime for the Podman service at *url*, or where Podman's own rules lead."""
    require_sdk("podman", extra="podman")
    # What stands on the SDK is imported when there is one.
    from polyrun_podman._engine import open_runtime  # noqa: PLC0415

    return open_runtime(url, timeout)
