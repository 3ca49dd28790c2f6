r"""Docker's ignore files: which paths of a build context stay at home.

The rules are those of moby/patternmatcher, which `docker build` applies. A pattern is a path from the
root of the context, with ``*``, ``?``, ``[a-z]``, ``\`` and, for any number of folders, ``**``. It covers
what it matches and everything below that; with a leading ``!`` it takes that back. The last pattern
that covers a path decides, as Docker documents it. (Its builders ask a pattern about a folder only if that
could change the answer, and so miss ``!a`` after ``a/b``, or ``a`` after ``!a/b``, where it is not needed for ``a``.)
"""

from __future__ import annotations

import posixpath
import re
from typing import TYPE_CHECKING

from attr import field, frozen

from polyrun._errors import InvalidArgument

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from typing_extensions import Self

# What Go's filepath.Match accepts between brackets: "-" and "]" only after a backslash, nothing empty.
_SET = r"\[(?:\^|(?!\^))(?:(?:[^\\\]-]|\\.)(?:-(?:[^\\\]-]|\\.))?)+\]"
# Every valid pattern is a run of these, so the place where none fits is where a pattern is wrong.
_TOKEN = re.compile(
    rf"(?P<deep>\*\*/?)|(?P<star>\*)|(?P<one>\?)|(?P<set>{_SET})|(?P<escaped>\\.)|(?P<plain>[^\\\[])", re.DOTALL
)
_SPECIAL = re.compile(r"[*?\[\]\\]")
# Inside a set these mean something to Python and nothing to Go.
_PYTHON_SET = re.compile(r"(\\.)|([\[&~|])", re.DOTALL)
# Go's \d, \s and \w are ASCII; a file name may hold a newline.
_FLAGS = re.ASCII | re.DOTALL
_NOTHING = re.compile("(?!)")
_NO_EXCEPTIONS: Mapping[int | None, tuple[re.Pattern[str] | None, ...]] = {}


@frozen
class IgnoreRules:
    """The patterns of one ignore file."""

    # One group for each pattern, the last pattern first: the first group that fits decides, and a
    # folder of thousands costs one match for each of its files.
    _deciding: re.Pattern[str] = _NOTHING
    # By the number of its group, for each exception, an expression for each folder on its way; None
    # where from there on anything may match.
    _exceptions: Mapping[int | None, tuple[re.Pattern[str] | None, ...]] = field(default=_NO_EXCEPTIONS, repr=False)

    @classmethod
    def parse(cls, text: str, *, origin: str = ".dockerignore") -> Self:
        """Read an ignore file; *origin* is what an error calls it.

        Raises:
            InvalidArgument: if a pattern is malformed; the text has the pattern and its line.
        """
        patterns: list[str] = []
        groups: list[str] = []
        for number, line in enumerate(text.removeprefix("\ufeff").split("\n"), 1):
            pattern = _clean(line)
            if not pattern:
                continue
            try:
                groups.insert(0, f"({_translate(pattern.removeprefix('!'))})")
            except (ValueError, re.error) as exc:
                raise InvalidArgument(
                    f"{origin}, line {number}: not a pattern: {line.strip()!r}",
                    hint="A pattern is a path with *, ?, **, [a-z] and, before a literal one of these, a backslash.",
                ) from exc
            patterns.insert(0, pattern)
        if not patterns:
            return cls()
        return cls(
            # "." is the context itself, which "*" would match.
            re.compile(rf"(?!\.\Z)(?:{'|'.join(groups)})(?:/.*)?", _FLAGS),
            {group: tuple(_steps(text[1:])) for group, text in enumerate(patterns, 1) if text.startswith("!")},
        )

    def excludes(self, path: str) -> bool:
        """Tell whether *path*, relative to the context and with forward slashes, stays at home."""
        found = self._deciding.fullmatch(path)
        return found is not None and found.lastindex not in self._exceptions

    def may_reinclude_below(self, directory: str) -> bool:
        """Tell whether anything below *directory*, which is excluded, could be taken back by a ``!``.

        If not, the directory need not be listed. Docker's legacy builder looks at the letters of an
        exception only and so misses ``!**/keep``; this, like BuildKit, never misses one.
        """
        found = self._deciding.fullmatch(directory)
        decided = found and found.lastindex
        parts = directory.split("/")
        # What excludes the directory excludes all below it, and beats every exception before it.
        later = (steps for group, steps in self._exceptions.items() if decided and group and group < decided)
        return any(_may_match_below(steps, parts) for steps in later)


def _clean(line: str) -> str:
    """Return the pattern of *line*, or nothing for a comment or a blank line."""
    if line.startswith("#"):
        return ""
    pattern = line.strip()
    mark = "!" if pattern.startswith("!") else ""
    pattern = pattern[len(mark) :].strip()
    return mark + posixpath.normpath(pattern).lstrip("/") if pattern else mark


def _translate(pattern: str) -> str:
    if not pattern:
        raise ValueError("an exception to nothing")
    if pattern.startswith("**") and not _SPECIAL.search(pattern[2:]) and pattern[2:3] != "/":
        # "**file" alone matches "myfile" too; "**fil?" does not. Docker's own difference.
        return ".*" + re.escape(pattern[2:])
    parts: list[str] = []
    position = 0
    while position < len(pattern):
        token = _TOKEN.match(pattern, position)
        if not token:
            raise ValueError(f"nothing can start with {pattern[position:]!r}")
        position = token.end()
        parts.append(_token(token, last=position == len(pattern)))
    translated = "".join(parts)
    if "[" in pattern or "\\" in pattern:
        re.compile(translated, _FLAGS)  # "[z-a]" and "\q" are tokens, and mean nothing all the same
    return translated


def _token(token: re.Match[str], *, last: bool) -> str:
    text = token[0]
    if token.lastgroup == "deep":
        return ".*" if last else "(?:.*/)?"
    if token.lastgroup == "star":
        return "[^/]*"
    if token.lastgroup == "one":
        return "[^/]"
    if token.lastgroup == "set":
        return "[" + _PYTHON_SET.sub(lambda found: found[1] or "\\" + found[2], text[1:-1]) + "]"
    # An escape is left as it is: Docker, too, reads "\d" as a digit.
    return text if token.lastgroup == "escaped" else re.escape(text)


def _steps(pattern: str) -> Iterator[re.Pattern[str] | None]:
    for part in pattern.split("/"):
        # Docker's sets and escapes can match a slash, so they say as little about the rest as "**".
        if "**" in part or "[" in part or "\\" in part:
            yield None
            return
        yield re.compile(_translate(part), _FLAGS)


def _may_match_below(steps: tuple[re.Pattern[str] | None, ...], parts: list[str]) -> bool:
    for depth, step in enumerate(steps):
        if step is None or depth == len(parts):
            return True
        if not step.fullmatch(parts[depth]):
            return False
    return False
