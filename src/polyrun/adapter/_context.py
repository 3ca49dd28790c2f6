"""The context of a build: which files are sent to the engine, as one tar stream.

Neither of Docker's builders filters a context that it gets over the API, so the ignore file is read here.
"""

from __future__ import annotations

import hashlib
import os
import re
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from attr import field, frozen

from polyrun._errors import InvalidArgument
from polyrun.adapter._archive import END, blocks, member, reading, text_member, walk
from polyrun.adapter._ignore import IgnoreRules

if TYPE_CHECKING:
    from collections.abc import Iterator

_DOCKERFILES = ("Dockerfile", "Containerfile")
# Docker's spelling first: it reads no other, and a build must not depend on the engine.
_IGNORE_FILES = (".dockerignore", ".containerignore")


def open_context(context: Path, dockerfile: str | Path | None = None) -> BuildContext:
    """Find out what a build of the folder *context* sends.

    *dockerfile* is looked for in the context, as by the engines' API, and if it is not there from the
    current folder, as by their command lines. It may lie outside the context. Without it, ``Dockerfile``
    is taken, or else ``Containerfile``, which neither engine looks for by itself over its API.

    The ignore file is the first there is of ``<dockerfile>.dockerignore`` and
    ``<dockerfile>.containerignore``, beside the Dockerfile, then ``.dockerignore`` and
    ``.containerignore`` in the context. So one that is made for this Dockerfile comes before the one for
    all, as in BuildKit, and Docker's spelling before Podman's.

    Raises:
        InvalidArgument: if *context* is not a folder, there is no Dockerfile, or the ignore file cannot
            be read or has a malformed pattern.
    """
    with reading(context):
        if not context.is_dir():
            raise InvalidArgument(
                f"the build context is not a folder: {str(context)!r}",
                hint="A context is the folder that has the Dockerfile and the files it copies.",
            )
    named = _find_dockerfile(context, dockerfile)
    root = Path(os.path.realpath(context))
    # As for `docker build`, a Dockerfile that is a link means the file that it leads to.
    real = Path(os.path.realpath(named))
    beside = [named.with_name(named.name + suffix) for suffix in _IGNORE_FILES]
    inside = _relative(root, real)
    return BuildContext(
        dockerfile=inside or f".dockerfile.{_digest(real)}",
        root=root,
        rules=_read_rules([*beside, *(root / name for name in _IGNORE_FILES)]),
        outside=None if inside else real,
        withheld=frozenset(
            found
            for path in [*beside, *(real.with_name(real.name + suffix) for suffix in _IGNORE_FILES)]
            if (found := _relative(root, Path(os.path.realpath(path.parent), path.name)))
        ).union(_IGNORE_FILES),
    )


@frozen(kw_only=True)
class BuildContext:
    """What a build sends: the files of the folder *root* that *rules* do not exclude."""

    dockerfile: str
    """The name of the Dockerfile inside the stream, which the engine has to be told."""
    root: Path
    rules: IgnoreRules = field(repr=False)
    outside: Path | None
    """The Dockerfile, if it lies outside of the context."""
    withheld: frozenset[str] = field(repr=False)
    """The ignore files. Podman would apply them a second time, and by its own order."""

    def chunks(self) -> Iterator[bytes]:
        """Return the context as a tar stream, in blocks of 128 to 256 KiB; each call starts anew.

        Equal contexts give equal streams: the order is fixed and the owner is 0:0, as Docker sends
        it. Modes, times in seconds, symbolic links and empty folders are kept, a hard link is a file of
        its own, and sockets, pipes and devices are left out. An excluded file is not looked at, and an
        excluded folder is listed only where an exception could match inside. The Dockerfile is always
        sent, the ignore files never are; one of our own hides a Dockerfile that is not to be copied.

        Raises:
            InvalidArgument: while streaming, if a file cannot be read or gets smaller meanwhile.
        """
        own = member(self.outside, self.dockerfile) if self.outside else ()
        hidden = text_member(self._hiding(), ".dockerignore") if self._hides_dockerfile else ()
        return blocks(chain(own, hidden, self._members(), [END]))

    @property
    def _hides_dockerfile(self) -> bool:
        return self.outside is not None or self.rules.excludes(self.dockerfile)

    def _hiding(self) -> bytes:
        """Return an ignore file of ours, by which both engines read the Dockerfile and do not copy it.

        Docker removes the two before the first step, Podman leaves them out of each COPY.
        """
        escaped = re.sub(r"([\\*?\[\]^!#])", r"\\\1", self.dockerfile)
        return f".dockerignore\n{escaped}\n".encode("utf-8", "surrogateescape")

    def _members(self) -> Iterator[bytes]:
        # Folders that are excluded, but not all that is in them. They go in just before it does, as
        # otherwise the engine would have to make up their modes.
        pending: list[tuple[str, Path]] = []
        for path, entry in walk(self.root, self._keeps):
            while pending and not path.startswith(pending[-1][0] + "/"):
                pending.pop()
            if self._sends(path):
                for folder, source in pending:
                    yield from member(source, folder)
                pending.clear()
                yield from member(Path(entry), path)
            else:
                pending.append((path, Path(entry)))

    def _keeps(self, path: str, entry: os.DirEntry[str]) -> bool:
        return self._sends(path) or (entry.is_dir(follow_symlinks=False) and self._leads_on(path))

    def _sends(self, path: str) -> bool:
        return path == self.dockerfile or (path not in self.withheld and not self.rules.excludes(path))

    def _leads_on(self, folder: str) -> bool:
        return self.dockerfile.startswith(folder + "/") or self.rules.may_reinclude_below(folder)


def _find_dockerfile(context: Path, dockerfile: str | Path | None) -> Path:
    names = _DOCKERFILES if dockerfile is None else (dockerfile,)
    places = [context / name for name in names]
    if dockerfile is not None:
        places.append(Path(dockerfile).absolute())
    for place in places:
        with reading(place):
            if place.is_file():
                return place
    raise InvalidArgument(
        "there is no Dockerfile; looked for " + " and ".join(dict.fromkeys(map(str, places))),
        hint='Name it with dockerfile="path", from the context or from the current folder.',
    )


def _read_rules(places: list[Path]) -> IgnoreRules:
    for place in places:
        with reading(place):
            if place.is_file():
                text = place.read_bytes().decode("utf-8", "surrogateescape")
                return IgnoreRules.parse(text, origin=str(place))
    return IgnoreRules()


def _relative(root: Path, path: Path) -> str | None:
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else None


def _digest(dockerfile: Path) -> str:
    """Return a name that no file of the context has by accident, and that is the same each time.

    Docker's own is random; then every build would start ``COPY . .`` anew.
    """
    with reading(dockerfile):
        return hashlib.sha256(dockerfile.read_bytes()).hexdigest()[:20]
