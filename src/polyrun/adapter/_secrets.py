"""Keeping secrets out of messages."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

_SHORTEST = 4
"""A shorter value is no secret worth the name, and hiding it would hide every "1" of a message."""


def hiding(values: Iterable[str]) -> Callable[[str], str]:
    """Return what replaces every line of *values* in a text by ``…``; lines under 4 characters stay."""
    lines = {line for value in values for line in value.splitlines() if len(line) >= _SHORTEST}
    if not lines:
        return lambda text: text
    # The longest first: one may be the beginning of another.
    pattern = re.compile("|".join(re.escape(line) for line in sorted(lines, key=len, reverse=True)))
    return lambda text: pattern.sub("…", text)
