"""What tests of programs that use polyrun need: a runtime in memory, and the contract that every runtime keeps.

`MemoryRuntime` needs nothing but polyrun. `RuntimeContract` is a class of pytest tests; pytest is
imported when it is used, and not before.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from polyrun.testing._memory import MemoryRuntime

if TYPE_CHECKING:
    from polyrun.testing._contract import RuntimeContract

__all__ = ["MemoryRuntime", "RuntimeContract", "connect"]


def connect(url: str | None = None, timeout: float = 60.0) -> MemoryRuntime:
    """Return a runtime in memory; the entry point ``memory`` of the group ``polyrun.runtimes``."""
    return MemoryRuntime(url, timeout=timeout)


def __getattr__(name: str) -> object:
    if name == "RuntimeContract":
        from polyrun.testing._contract import RuntimeContract  # noqa: PLC0415  # it needs pytest

        return RuntimeContract
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
