"""Tar streams: what goes into a container, and what comes out of one.

`pack` and `unpack` stream: a file of any size takes no more memory than a few blocks. What is packed is
the caller's own; what is unpacked was written by a container and is trusted with nothing.
"""

from __future__ import annotations

import io
import os
import shutil
import stat
import tarfile
import tempfile
import time
from contextlib import contextmanager, suppress
from itertools import chain
from operator import itemgetter
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, NoReturn, cast

from polyrun._errors import EngineError, InvalidArgument, PolyrunError

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator

# Blocks of 64 to 256 KiB were measured to beat both smaller and larger ones.
BLOCK = 128 * 1024
END = bytes(2 * tarfile.BLOCKSIZE)
"""What ends a tar stream."""

# Names, links and pax headers are held in memory, so a header that claims more than Go's own
# archive/tar takes is no header.
_LONGEST_HEADER = 1 << 20
# The largest file that a disk could hold; tarfile reads larger numbers.
_LARGEST = (1 << 63) - 1
# As many links as the kernel follows.
_MOST_HOPS = 40
# Python before 3.13 removes a tree by recursion.
_DEEPEST = 256


def pack(source: Path | bytes, name: str) -> Iterator[bytes]:
    """Return a tar stream of *source*: a file, a folder with all that is in it, or the bytes of a file.

    Its one top-level entry is *name*. Modes, times and symbolic links are kept (a link is packed as the
    link, even when it is *source* itself); the owner is 0:0, as for a copy that does not ask for more.
    Sockets, pipes and devices inside a folder are left out. A file is opened when the stream comes to it.

    Raises:
        InvalidArgument: if *source* is missing or none of the three, at once; while streaming, if
            something cannot be read or gets smaller meanwhile.
    """
    check_name(name)
    if isinstance(source, bytes):
        return blocks(chain(text_member(source, name, time=int(time.time())), [END]))
    with reading(source):
        mode = os.lstat(source).st_mode
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode) or stat.S_ISLNK(mode)):
        raise InvalidArgument(f"not a file, a folder or a link: {source}")
    below = walk(source) if stat.S_ISDIR(mode) else ()
    members = (member(Path(entry), f"{name}/{relative}") for relative, entry in below)
    return blocks(chain(member(source, name), chain.from_iterable(members), [END]))


def walk(
    folder: Path, keep: Callable[[str, os.DirEntry[str]], bool] | None = None
) -> Iterator[tuple[str, os.DirEntry[str]]]:
    """Yield all that is below *folder*, sorted, a folder before what it holds, with its relative path.

    What *keep* is false for is left out, a folder with all that is in it: it is not listed.
    """
    waiting = _list(folder, "", keep)
    while waiting:
        path, entry = waiting.pop()
        yield path, entry
        if entry.is_dir(follow_symlinks=False):
            waiting += _list(entry, path + "/", keep)


def _list(
    folder: Path | os.DirEntry[str], prefix: str, keep: Callable[[str, os.DirEntry[str]], bool] | None
) -> list[tuple[str, os.DirEntry[str]]]:
    with reading(folder), os.scandir(folder) as entries:
        found = ((prefix + entry.name, entry) for entry in entries)
        kept = [one for one in found if keep(*one)] if keep else found
        return sorted(kept, key=itemgetter(0), reverse=True)


def member(path: Path, name: str) -> Iterator[bytes]:
    """Yield the file, folder or link at *path* as the member *name* of a tar stream.

    A socket, a pipe or a device yields nothing: none of them can be copied.
    """
    with reading(path):
        info = os.lstat(path)
    header = tarfile.TarInfo(name)
    # Whole seconds, as Docker sends them: a fraction takes a pax header of its own for each file.
    header.mode, header.mtime = stat.S_IMODE(info.st_mode), int(info.st_mtime)
    if stat.S_ISREG(info.st_mode):
        yield from _file(path, header)
    elif stat.S_ISDIR(info.st_mode):
        header.type = tarfile.DIRTYPE
        yield _encode(header)
    elif stat.S_ISLNK(info.st_mode):
        header.type = tarfile.SYMTYPE
        with reading(path):
            header.linkname = os.readlink(path)  # noqa: PTH115 - a Path would tidy the text
        yield _encode(header)


def text_member(data: bytes, name: str, *, time: int = 0) -> Iterator[bytes]:
    """Yield *data* as the file *name* of a tar stream, last changed at *time*."""
    header = tarfile.TarInfo(name)
    header.size, header.mtime = len(data), time
    yield _encode(header)
    yield from (data[start : start + BLOCK] for start in range(0, len(data), BLOCK))
    yield _padding(len(data))


def _file(path: Path, header: tarfile.TarInfo) -> Iterator[bytes]:
    with reading(path), path.open("rb", buffering=0) as file:
        # Asked of the open file: a log that grows meanwhile goes in as it is now.
        left = header.size = os.fstat(file.fileno()).st_size
        yield _encode(header)
        while left and (block := file.read(min(BLOCK, left))):
            left -= len(block)
            yield block
    if left:
        raise InvalidArgument(f"{path} became {left} bytes smaller while it was read", hint="Try again.")
    yield _padding(header.size)


def blocks(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Join *pieces*, none longer than `BLOCK`, to blocks of 128 to 256 KiB; only the last may be smaller."""
    waiting = bytearray()
    for piece in pieces:
        if not waiting and len(piece) >= BLOCK:
            yield piece
            continue
        waiting += piece
        if len(waiting) >= BLOCK:
            yield bytes(waiting)
            waiting.clear()
    if waiting:
        yield bytes(waiting)


def check_name(name: str) -> None:
    """Raise `InvalidArgument` if *name* is anything but the name of one file or folder."""
    if not _is_name(name):
        raise InvalidArgument(f"not the name of a file or a folder: {name!r}")


def _is_name(text: str) -> bool:
    # On Windows a backslash and a drive are more than a name as well.
    return text not in {"", ".."} and "\0" not in text and PurePath(text).name == text


def _encode(header: tarfile.TarInfo) -> bytes:
    return header.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")


def _padding(size: int) -> bytes:
    return bytes(-size % tarfile.BLOCKSIZE)


@contextmanager
def reading(path: Path | os.DirEntry[str]) -> Generator[None, None, None]:
    """Turn an `OSError` about the caller's own file into `InvalidArgument`."""
    try:
        yield
    except OSError as exc:
        raise InvalidArgument(f"cannot read {os.fspath(path)}: {exc.strerror}") from exc


def unpack(chunks: Iterable[bytes], target: Path, *, rename: str | None = None, max_bytes: int | None = None) -> Path:
    """Extract a tar stream with one top-level entry into the folder *target*, and return where it is.

    The entry keeps its name unless *rename* gives another. A folder that is there already is filled,
    a file that is there is replaced. Modes and times are kept; owners and the setuid, setgid and sticky
    bits are not.

    The stream is trusted with nothing. It is first extracted into a new folder inside *target*, and put
    in its place only when all of it was found good; so after an error nothing has changed.

    Raises:
        InvalidArgument: if *target* is not a folder, or *rename* not a name.
        EngineError: if the stream ends early or is no tar stream; if it holds more than *max_bytes*; if
            it holds anything that is not a file, a folder or a link, or anything that would lie outside
            its top-level entry: an absolute name, a ``..``, a link that leads out of it, a file below a
            link; or if a link or a file on disk is where it has a folder, or a folder where it has a file.
        PolyrunError: if the disk refuses, or is full.
    """
    if rename is not None:
        check_name(rename)
    with reading(target):
        if not target.is_dir():
            raise InvalidArgument(f"not a folder: {target}")
    try:
        with _staging(target) as staging:
            tree = _Tree(staging, rename, max_bytes)
            reader = ChunkReader(chunks)
            for header in _headers(reader):
                tree.add(header, reader)
            tree.check_links()
            return tree.move_to(target)
    except PolyrunError:  # some are an OSError as well
        raise
    except (OSError, UnicodeError) as exc:
        raise PolyrunError(f"cannot extract to {target}: {exc}") from exc


@contextmanager
def _staging(target: Path) -> Generator[Path, None, None]:
    # Not TemporaryDirectory: before Python 3.12.3 its end could change modes through a link.
    staging = tempfile.mkdtemp(prefix=".polyrun-", dir=target)
    try:
        yield Path(staging)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


class ChunkReader(io.RawIOBase):
    """The bytes of *chunks*, of whatever lengths, as a file that can only be read onwards."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks = iter(chunks)
        self._rest = memoryview(b"")
        self._position = 0

    def tell(self) -> int:
        """Return how many bytes were read."""
        return self._position

    def read(self, size: int = -1, /) -> bytes:
        """Return the next *size* bytes, or what is left of them."""
        if not 0 <= size <= _LONGEST_HEADER:
            raise tarfile.ReadError("a header is too long")
        return b"".join(self.pieces(size))

    def seek(self, position: int, whence: int = os.SEEK_SET, /) -> int:
        """Go on to *position*, which must not lie behind, nor beyond the end."""
        ahead = position - self._position
        if whence != os.SEEK_SET or ahead < 0:
            raise tarfile.ReadError("it leads back to where it was read already")
        if sum(map(len, self.pieces(ahead))) < ahead:
            raise tarfile.ReadError("it ends too early")
        return position

    def peek(self, size: int) -> bytes:
        """Return the next *size* bytes, or what is left of them, and stay where it is."""
        while len(self._rest) < size and (chunk := next(self._chunks, None)) is not None:
            self._rest = memoryview(self._rest.tobytes() + chunk)
        return self._rest[:size].tobytes()

    def pieces(self, size: int) -> Iterator[memoryview]:
        """Yield the next *size* bytes, or what is left of them, without a copy."""
        while size:
            while not self._rest:
                chunk = next(self._chunks, None)
                if chunk is None:
                    return
                self._rest = memoryview(chunk)
            piece, self._rest = self._rest[:size], self._rest[size:]
            self._position += len(piece)
            size -= len(piece)
            yield piece


def _headers(reader: ChunkReader) -> Iterator[tarfile.TarInfo]:
    """Yield the headers; after each the reader stands at its data, which need not be read."""
    try:
        if not any(reader.peek(tarfile.BLOCKSIZE)):
            raise tarfile.ReadError("it is empty")
        with tarfile.open(mode="r:", fileobj=reader, encoding="utf-8", errors="surrogateescape") as archive:
            header = archive.next()
            while header:
                yield header
                # Not archive.next(): it keeps every header, and takes any end of the stream for the end
                # of the archive.
                reader.seek(archive.offset)
                following = reader.peek(tarfile.BLOCKSIZE)
                if len(following) < tarfile.BLOCKSIZE:
                    raise tarfile.ReadError("it ends too early")
                if not any(following):
                    break
                header = tarfile.TarInfo.fromtarfile(archive)
        # A connection whose reply was read to its end can be used again.
        for _ in reader.pieces(_LONGEST_HEADER):
            pass
    except PolyrunError:
        raise
    except (tarfile.TarError, ValueError, LookupError, ArithmeticError, RecursionError) as exc:
        # tarfile checks little of what it computes with.
        raise EngineError(f"the archive cannot be read: {exc}") from exc


class _Tree:
    """One top-level entry on its way to disk, in a folder that nobody else writes to."""

    def __init__(self, staging: Path, rename: str | None, max_bytes: int | None) -> None:
        self._staging = staging
        self._rename = rename
        self._max_bytes = max_bytes
        self._bytes = 0
        self._top = ""  # its name in the archive
        self._name = ""  # its name on disk
        # Only folders made here are ever written into: that no path leads through a link needs no
        # other check. They get their modes when all is in place, as a folder may be read-only.
        self._folders: dict[str, tarfile.TarInfo | None] = {}
        self._links: list[str] = []

    def add(self, header: tarfile.TarInfo, reader: ChunkReader) -> None:
        place = self._place(header.name, header.name)
        if header.isdir():
            self._make_folders(place, header)
            self._folders[place] = header
            return
        self._make_folders(_parent(place), header)
        if place in self._folders:
            _refuse(header.name, "it is a folder as well")
        path = self._staging / place
        if header.isreg():
            self._write(path, header, reader)
        elif header.issym():
            self._symlink(path, header)
        elif header.islnk():
            self._hardlink(path, header)
        else:
            _refuse(header.name, "it is a device, a pipe or something unknown")
        if path.is_symlink():
            self._links.append(place)

    def _place(self, name: str, culprit: str) -> str:
        """Return where *name* lies, relative to the staging folder and with forward slashes."""
        parts = [part for part in name.split("/") if part not in {"", "."}]
        if name.startswith("/"):
            _refuse(culprit, "its path is absolute")
        if not parts:
            _refuse(culprit, "it has no name")
        if len(parts) > _DEEPEST:
            _refuse(culprit, f"it lies more than {_DEEPEST} folders deep")
        for part in parts:
            if not _is_name(part):
                _refuse(culprit, f"{part!r} cannot be part of a path")
        if not self._top:
            self._top, self._name = parts[0], self._rename or parts[0]
        if parts[0] != self._top:
            _refuse(culprit, f"it is not part of {self._top!r}")
        return "/".join([self._name, *parts[1:]])

    def _make_folders(self, place: str, header: tarfile.TarInfo) -> None:
        missing: list[str] = []
        while place and place not in self._folders:
            missing.append(place)
            place = _parent(place)
        for folder in reversed(missing):
            try:
                (self._staging / folder).mkdir()
            except FileExistsError:
                _refuse(header.name, f"{folder!r} is not a folder")
            self._folders[folder] = None

    def _write(self, path: Path, header: tarfile.TarInfo, reader: ChunkReader) -> None:
        # The stretches of a sparse file that are there; the rest stays a hole.
        extents = cast("list[tuple[int, int]] | None", header.sparse)
        if extents is None:
            extents = [(0, header.size)]
        if header.size > _LARGEST or any(not 0 <= offset <= offset + size <= header.size for offset, size in extents):
            _refuse(header.name, "its size makes no sense")
        self._bytes += max(header.size, sum(size for _, size in extents))
        if self._max_bytes is not None and self._bytes > self._max_bytes:
            _refuse(header.name, f"the archive holds more than {self._max_bytes} bytes")
        path.unlink(missing_ok=True)
        reader.seek(header.offset_data)
        with path.open("xb", buffering=BLOCK) as file:
            for offset, size in extents:
                file.seek(offset)
                if sum(map(file.write, reader.pieces(size))) < size:
                    raise EngineError(f"the archive cannot be read: it ends in the middle of {header.name!r}")
            file.truncate(header.size)
        _stamp(path, header)

    def _symlink(self, path: Path, header: tarfile.TarInfo) -> None:
        if not header.linkname or "\0" in header.linkname:
            _refuse(header.name, f"it links to {header.linkname!r}")
        path.unlink(missing_ok=True)
        path.symlink_to(header.linkname)
        _stamp(path, header)

    def _hardlink(self, path: Path, header: tarfile.TarInfo) -> None:
        place = self._place(header.linkname, header.name)
        source = self._staging / place
        within = _parent(place)
        if (within and within not in self._folders) or place in self._folders or not os.path.lexists(source):
            _refuse(header.name, f"it links to {header.linkname!r}, which is no file before it")
        if source != path:
            path.unlink(missing_ok=True)
            os.link(source, path, follow_symlinks=False)

    def check_links(self) -> None:
        """Refuse the whole if one of its links leads out of it.

        Only now is it known what each link passes through. Following them is left to no library: Python's
        own answer differs between versions, and costs a hostile chain of links the square of its length.
        """
        for place in self._links:
            if not self._stays_inside(place):
                _refuse(place, f"it links to {_destination(self._staging / place)!r}, outside of what is extracted")

    def _stays_inside(self, place: str) -> bool:
        done: list[str] = []
        ahead = place.split("/")[::-1]
        hops = 0
        while ahead:
            part = ahead.pop()
            if part == "..":
                if len(done) <= 1:
                    return False
                done.pop()
            elif part not in {"", "."}:
                done.append(part)
                path = self._staging.joinpath(*done)
                if path.is_symlink():
                    destination = _destination(path)
                    hops += 1
                    if hops > _MOST_HOPS or PurePath(destination).is_absolute():
                        return False
                    done.pop()
                    ahead += destination.split("/")[::-1]
        return done[:1] == [self._name]

    def move_to(self, target: Path) -> Path:
        """Move what was extracted to its place in *target*: all of it or nothing."""
        moves = list(self._moves(target))
        new = [path for _, path in moves if not os.path.lexists(path)]
        try:
            for staged, path in moves:
                staged.replace(path)
        except BaseException:
            for path in new:
                if _is_folder(path):
                    shutil.rmtree(path, ignore_errors=True)
                else:
                    path.unlink(missing_ok=True)
            raise
        # What lies deepest first: a folder that may not be entered, and a folder's own time.
        for place in sorted(self._folders, key=lambda place: place.count("/"), reverse=True):
            header = self._folders[place]
            if header:
                _stamp(target / place, header)
        return target / self._name

    def _moves(self, target: Path) -> Iterator[tuple[Path, Path]]:
        waiting = [self._name]
        while waiting:
            place = waiting.pop()
            staged, path = self._staging / place, target / place
            if place in self._folders and os.path.lexists(path):
                if not _is_folder(path):
                    _refuse(place, f"{path} is there and is not a folder")
                # A folder that was there keeps its own mode and time.
                self._folders[place] = None
                waiting += (f"{place}/{below.name}" for below in staged.iterdir())
            elif _is_folder(path):
                _refuse(place, f"{path} is a folder")
            else:
                yield staged, path


def _refuse(name: str, reason: str) -> NoReturn:
    raise EngineError(f"refused to extract {name!r}: {reason}")


def _parent(place: str) -> str:
    return place.rpartition("/")[0]


def _destination(link: Path) -> str:
    return os.readlink(link)  # noqa: PTH115 - a Path would tidy the text


def _is_folder(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink()


def _stamp(path: Path, header: tarfile.TarInfo) -> None:
    """Give *path* the time and the mode of *header*, as far as the disk knows such things.

    Never through a link, and never the bits that let a program run as somebody else.
    """
    with suppress(OSError, ArithmeticError, ValueError, NotImplementedError):
        os.utime(path, (header.mtime, header.mtime), follow_symlinks=False)
    if not path.is_symlink():
        with suppress(OSError):
            path.chmod(header.mode & 0o777)
