"""The forms people type, read once: sizes, durations, commands and image references."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, cast

from attr import frozen

from polyrun._errors import InvalidArgument

if TYPE_CHECKING:
    from collections.abc import Sequence

    from typing_extensions import Self

_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kmgt]?)i?b?", re.IGNORECASE | re.ASCII)
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h)", re.ASCII)
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}

# The grammar of distribution/reference: a first component with a dot, a colon or the word
# "localhost" is a registry, anything else belongs to Docker Hub.
_REPOSITORY = re.compile(r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*")
_REGISTRY = re.compile(r"(?:[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)*|\[[0-9a-fA-F:]+\])(?::\d+)?")
_TAG = re.compile(r"[\w][\w.-]{0,127}", re.ASCII)
_DIGEST = re.compile(r"[a-z0-9]+(?:[.+_-][a-z0-9]+)*:[0-9a-fA-F]{32,}")
_IMAGE_ID = re.compile(r"(?:sha256:)?[0-9a-f]{12,64}")

HUB = "docker.io"


def parse_size(size: int | str) -> int:
    """Return bytes for an int, or for text such as ``"64m"``, ``"1.5g"`` or ``"512KiB"``.

    The units are powers of 1024, as in both engines' command lines.
    """
    if isinstance(size, bool) or (isinstance(size, int) and size < 0):
        raise InvalidArgument(f"not a size: {size!r}", hint='A size is bytes as an int, or text like "64m" or "1.5g".')
    if isinstance(size, int):
        return size
    found = _SIZE.fullmatch(size.strip())
    if not found:
        raise InvalidArgument(f"not a size: {size!r}", hint='A size is bytes as an int, or text like "64m" or "1.5g".')
    number, unit = found.groups()
    return int(float(number) * 1024 ** " kmgt".index(unit.lower() or " "))


def parse_duration(duration: float | str) -> float:
    """Return seconds for a number, or for text such as ``"500ms"``, ``"1m30s"`` or ``"2h"``."""
    hint = 'A duration is seconds as a number, or text like "500ms", "30s" or "1m30s".'
    if isinstance(duration, str):
        text = duration.strip()
        parts = _DURATION.findall(text)
        if not parts or "".join(number + unit for number, unit in parts) != text:
            raise InvalidArgument(f"not a duration: {duration!r}", hint=hint)
        return sum(float(number) * _SECONDS[unit] for number, unit in parts)
    if isinstance(duration, bool) or not 0 <= duration < float("inf"):
        raise InvalidArgument(f"not a duration: {duration!r}", hint=hint)
    return float(duration)


def parse_command(command: Sequence[str] | None, *, what: str = "command") -> tuple[str, ...] | None:
    """Return *command* as a tuple; a bare string is refused with the two ways to write it."""
    if command is None:
        return None
    if isinstance(command, str):
        text = command
        raise InvalidArgument(
            f"a {what} is a sequence of strings, not one string: {text!r}",
            hint=f'Write {text.split()!r}, or ["sh", "-c", {text!r}] for a shell to read it.',
        )
    words = tuple(command)
    for word in words:
        if not isinstance(cast("object", word), str):  # callers without a type checker
            raise InvalidArgument(f"a {what} is a sequence of strings; this one holds {word!r}")
        if "\0" in word or not is_text(word):
            raise InvalidArgument(f"a {what} cannot hold a NUL character, or what is not UTF-8: {word!r}")
    return words


def is_text(word: str) -> bool:
    """Whether *word* can be sent: what Python made of bytes that are not UTF-8 is replaced by engines."""
    try:
        word.encode()
    except UnicodeEncodeError:
        return False
    return True


@frozen
class Reference:
    """The full name of an image: what ``alpine`` is short for, spelt out.

    ``Reference.parse("alpine")`` has the registry ``docker.io``, the repository
    ``library/alpine`` and the tag ``latest``.
    """

    registry: str
    repository: str
    tag: str | None = None
    digest: str | None = None
    qualified: bool = True
    """Whether the registry was written, and not just understood."""

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read *text* as docker and podman do; `InvalidArgument` shows the accepted forms."""
        name, _, digest = text.partition("@")
        rest, tag = name, None
        colon = name.rfind(":")
        if colon > name.rfind("/"):
            rest, tag = name[:colon], name[colon + 1 :]
        first, slash, remainder = rest.partition("/")
        qualified = bool(slash) and ("." in first or ":" in first or first == "localhost")
        registry, repository = (first, remainder) if qualified else (HUB, rest)
        if (
            not _REPOSITORY.fullmatch(repository)
            or not _REGISTRY.fullmatch(registry)
            or (tag is not None and not _TAG.fullmatch(tag))
            or ("@" in text and not _DIGEST.fullmatch(digest))
            or len(text) > 4096
        ):
            raise InvalidArgument(
                f"not an image reference: {text!r}",
                hint='A reference is [registry/]repository[:tag][@digest], in lower case: "alpine", '
                '"shop/web:7", "registry.example:5000/web@sha256:…".',
            )
        if registry in ("index.docker.io", "registry-1.docker.io"):
            registry = HUB
        if registry == HUB and "/" not in repository:
            repository = f"library/{repository}"
        if tag is None and not digest:
            tag = "latest"
        return cls(registry=registry, repository=repository, tag=tag, digest=digest or None, qualified=qualified)

    @property
    def name(self) -> str:
        """Registry and repository, without tag or digest."""
        return f"{self.registry}/{self.repository}"

    def __str__(self) -> str:
        tag = f":{self.tag}" if self.tag else ""
        digest = f"@{self.digest}" if self.digest else ""
        return f"{self.name}{tag}{digest}"

    @property
    def familiar(self) -> str:
        """The short form people use: ``alpine:latest``, with no ``docker.io/library/`` or ``localhost/``.

        An unqualified build is ``localhost/web`` for Podman and ``docker.io/library/web`` for
        Docker; both are ``web`` to whoever built it.
        """
        text = str(self)
        for prefix in (f"{HUB}/library/", f"{HUB}/", "localhost/"):
            if text.startswith(prefix):
                return text[len(prefix) :]
        return text


def is_image_id(text: str) -> bool:
    """Whether *text* can only be an image id: 12 to 64 hex digits, ``sha256:`` before them or not."""
    return _IMAGE_ID.fullmatch(text) is not None and (text.startswith("sha256:") or len(text) in (12, 64))


def short_id(identifier: str) -> str:
    """Return the twelve digits by which people name a container or an image."""
    return identifier.removeprefix("sha256:")[:12]
