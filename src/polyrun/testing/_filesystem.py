"""File systems in memory: the trees of images, containers and volumes, and folders of the host in them."""

from __future__ import annotations

import errno
import hashlib
import io
import os
import posixpath
import shutil
import stat
import tarfile
import time
from collections import deque
from typing import TYPE_CHECKING

from attr import frozen

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

_LINKS = 40
_BLOCK = 65536


@frozen
class Who:
    """The user on whose behalf a path is used."""

    uid: int = 0
    gid: int = 0
    name: str = ""
    home: str = "/"


ROOT = Who(name="root", home="/root")


def failure(number: int, path: str) -> OSError:
    """Return the error of the operating system with this number."""
    return OSError(number, os.strerror(number), path)


class Node:
    """What a path leads to; one of the classes below."""

    def __init__(self, mode: int, uid: int = 0, gid: int = 0, mtime: float | None = None) -> None:
        self.mode = mode
        self.uid = uid
        self.gid = gid
        self.mtime = time.time() if mtime is None else mtime

    def chmod(self, mode: int) -> None:
        """Change the permission bits."""
        self.mode = mode

    def chown(self, uid: int, gid: int) -> None:
        """Change the owner."""
        self.uid, self.gid = uid, gid

    def touch(self) -> None:
        """Set the time of the last change to now."""
        self.mtime = time.time()

    def copy(self) -> Node:
        """Return a node that can be changed without changing this one."""
        raise NotImplementedError

    def allows(self, who: Who, bit: int) -> bool:
        """Whether *who* may read (4), write (2) or execute (1)."""
        if who.uid == 0:
            return bit != 1 or isinstance(self, Folder) or bool(self.mode & 0o111)
        shift = 6 if who.uid == self.uid else 3 if who.gid == self.gid else 0
        return bool(self.mode >> shift & bit)


class File(Node):
    """A regular file. Copies share the bytes until one of them is written."""

    def __init__(
        self, data: bytes = b"", mode: int = 0o644, uid: int = 0, gid: int = 0, mtime: float | None = None
    ) -> None:
        super().__init__(mode, uid, gid, mtime)
        self._data: bytes | bytearray = data

    @property
    def size(self) -> int:
        """Its length in bytes."""
        return len(self._data)

    def read(self, offset: int = 0, count: int | None = None) -> bytes:
        """Return up to *count* bytes from *offset* on."""
        if offset == 0 and (count is None or count >= len(self._data)):
            return bytes(self._data)
        return bytes(self._data[offset : None if count is None else offset + count])

    def write(self, offset: int, data: bytes) -> None:
        """Put *data* at *offset*."""
        if isinstance(self._data, bytes):
            self._data = bytearray(self._data)
        if offset > len(self._data):
            self._data.extend(bytes(offset - len(self._data)))
        self._data[offset : offset + len(data)] = data
        self.touch()

    def truncate(self) -> None:
        """Empty it."""
        self._data = b""
        self.touch()

    def copy(self) -> File:
        """Return a file of its own."""
        return File(bytes(self._data), self.mode, self.uid, self.gid, self.mtime)


class Device(File):
    """One of ``/dev/null``, ``/dev/zero`` and ``/dev/urandom``."""

    def __init__(self, kind: str) -> None:
        super().__init__(mode=0o666)
        self.kind = kind

    def read(self, offset: int = 0, count: int | None = None) -> bytes:
        """Return what the device gives: nothing, zeros or noise."""
        del offset
        length = _BLOCK if count is None else count
        if self.kind == "urandom":
            return os.urandom(length)
        return bytes(length) if self.kind == "zero" else b""

    def write(self, offset: int, data: bytes) -> None:
        """Drop the data."""

    def truncate(self) -> None:
        """Do nothing."""


class Link(Node):
    """A symbolic link; it is never changed, so copies are the same object."""

    def __init__(self, target: str, uid: int = 0, gid: int = 0, mtime: float | None = None) -> None:
        super().__init__(0o777, uid, gid, mtime)
        self.target = target

    def copy(self) -> Link:
        """Return itself."""
        return self


class Folder(Node):
    """A folder."""

    def __init__(self, mode: int = 0o755, uid: int = 0, gid: int = 0, mtime: float | None = None) -> None:
        super().__init__(mode, uid, gid, mtime)
        self._entries: dict[str, Node] = {}

    def names(self) -> list[str]:
        """Return the names in it, sorted."""
        return sorted(self._entries)

    def get(self, name: str) -> Node | None:
        """Return what is called *name*."""
        return self._entries.get(name)

    def add(self, name: str, node: Node) -> None:
        """Put *node* in it, in place of what had the name."""
        self._entries[name] = node
        self.touch()

    def remove(self, name: str) -> None:
        """Take *name* and all below it away."""
        self._entries.pop(name, None)
        self.touch()

    def copy(self) -> Folder:
        """Return a folder of its own, with copies of all below."""
        folder = Folder(self.mode, self.uid, self.gid, self.mtime)
        folder._entries = {name: node.copy() for name, node in list(self._entries.items())}
        return folder


# The host's files, for bind mounts. A node is made anew at each look, so its mode and owner are current.


class HostFile(File):
    """A file of the host."""

    def __init__(self, path: Path) -> None:
        found = path.stat()
        super().__init__(b"", stat.S_IMODE(found.st_mode), found.st_uid, found.st_gid, found.st_mtime)
        self._path = path

    @property
    def size(self) -> int:
        """Its length in bytes."""
        return self._path.stat().st_size

    def read(self, offset: int = 0, count: int | None = None) -> bytes:
        """Return up to *count* bytes from *offset* on."""
        with self._path.open("rb") as file:
            file.seek(offset)
            return file.read(-1 if count is None else count)

    def write(self, offset: int, data: bytes) -> None:
        """Put *data* at *offset*."""
        with self._path.open("r+b") as file:
            file.seek(offset)
            file.write(data)

    def truncate(self) -> None:
        """Empty it."""
        os.truncate(self._path, 0)

    def chmod(self, mode: int) -> None:
        """Change the permission bits."""
        self._path.chmod(mode)

    def touch(self) -> None:
        """Set the time of the last change to now."""
        self._path.touch()

    def copy(self) -> File:
        """Return a file in memory with the same content."""
        return File(self.read(), self.mode, self.uid, self.gid, self.mtime)


class HostFolder(Folder):
    """A folder of the host."""

    def __init__(self, path: Path) -> None:
        found = path.stat()
        super().__init__(stat.S_IMODE(found.st_mode), found.st_uid, found.st_gid, found.st_mtime)
        self._path = path

    def names(self) -> list[str]:
        """Return the names in it, sorted."""
        return sorted(path.name for path in self._path.iterdir())

    def get(self, name: str) -> Node | None:
        """Return what is called *name*."""
        path = self._path / name
        return host_node(path) if path.is_symlink() or path.exists() else None

    def add(self, name: str, node: Node) -> None:
        """Write *node*, and all below it, to the host."""
        path = self._path / name
        if isinstance(node, Link):
            path.symlink_to(node.target)
            return
        if isinstance(node, Folder):
            path.mkdir()
            for child in node.names():
                HostFolder(path).add(child, require(node.get(child), child))
        elif isinstance(node, File):
            path.write_bytes(node.read())
        path.chmod(node.mode)

    def remove(self, name: str) -> None:
        """Take *name* and all below it away."""
        path = self._path / name
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()

    def chmod(self, mode: int) -> None:
        """Change the permission bits."""
        self._path.chmod(mode)

    def touch(self) -> None:
        """Set the time of the last change to now."""
        self._path.touch()

    def copy(self) -> Folder:
        """Return a folder in memory with copies of all below."""
        folder = Folder(self.mode, self.uid, self.gid, self.mtime)
        for name in self.names():
            folder.add(name, require(self.get(name), name).copy())
        return folder


def host_node(path: Path) -> Node:
    """Return the node for a path of the host."""
    if path.is_symlink():
        return Link(str(path.readlink()))
    if path.is_dir():
        return HostFolder(path)
    # A pipe or a socket is there, and has nothing to read: nobody shall wait for it.
    return HostFile(path) if path.is_file() else File()


def require(node: Node | None, path: str) -> Node:
    """Return *node*, or raise that there is none."""
    if node is None:
        raise failure(errno.ENOENT, path)
    return node


@frozen
class Place:
    """Where a path ends: *node* is ``None`` if only its folder exists."""

    folder: Folder
    name: str
    node: Node | None
    path: str
    read_only: bool


@frozen
class Mounted:
    """What covers a path."""

    node: Node
    read_only: bool = False


class Tree:
    """The file system of one container: a root folder and what is mounted below it."""

    def __init__(self, root: Folder, *, read_only: bool = False) -> None:
        self.root = root
        self.read_only = read_only
        self.mounts: dict[str, Mounted] = {}

    def find(self, path: str, who: Who = ROOT, *, follow: bool = True) -> Place:
        """Return where the absolute *path* ends; with *follow*, a link at its end is gone through."""
        todo = deque(path.split("/"))
        trail = [Place(self.root, "", self.root, "/", self.read_only)]
        links = 0
        while todo:
            part = todo.popleft()
            if part in ("", "."):
                continue
            if part == "..":
                del trail[max(1, len(trail) - 1) :]
                continue
            here = trail[-1]
            place = self._step(here, part, path, who)
            rest = any(word not in ("", ".") for word in todo)
            if isinstance(place.node, Link) and (rest or follow):
                links += 1
                if links > _LINKS:
                    raise failure(errno.ELOOP, path)
                if place.node.target.startswith("/"):
                    del trail[1:]
                todo.extendleft(reversed(place.node.target.split("/")))
                continue
            if place.node is None and rest:
                raise failure(errno.ENOENT, path)
            trail.append(place)
        return trail[-1]

    def _step(self, here: Place, part: str, path: str, who: Who) -> Place:
        folder = here.node
        if not isinstance(folder, Folder):
            raise failure(errno.ENOTDIR, path)
        if not folder.allows(who, 1):
            raise failure(errno.EACCES, path)
        full = posixpath.join(here.path, part)
        mounted = self.mounts.get(full)
        if mounted:
            return Place(folder, part, mounted.node, full, mounted.read_only)
        return Place(folder, part, folder.get(part), full, here.read_only)

    def node(self, path: str, who: Who = ROOT, *, follow: bool = True) -> Node:
        """Return what is at *path*."""
        return require(self.find(path, who, follow=follow).node, path)

    def folder(self, path: str, who: Who = ROOT) -> Folder:
        """Return the folder at *path*."""
        node = self.node(path, who)
        if not isinstance(node, Folder):
            raise failure(errno.ENOTDIR, path)
        return node

    def read(self, path: str, who: Who = ROOT) -> File:
        """Return the file at *path*, to be read."""
        node = self.node(path, who)
        if not node.allows(who, 4):
            raise failure(errno.EACCES, path)
        if not isinstance(node, File):
            raise failure(errno.EISDIR, path)
        return node

    def write(self, path: str, who: Who = ROOT) -> File:
        """Return the file at *path*, to be written; it is made if it is missing."""
        place = self.find(path, who)
        if place.node is None:
            self._add(place, File(uid=who.uid, gid=who.gid), who)
            node = place.folder.get(place.name)  # a folder of the host makes its own node
        else:
            node = place.node
            if place.read_only and not isinstance(node, Device):
                raise failure(errno.EROFS, path)
            if not node.allows(who, 2):
                raise failure(errno.EACCES, path)
        if not isinstance(node, File):
            raise failure(errno.EISDIR, path)
        return node

    def add(self, path: str, node: Node, who: Who = ROOT) -> None:
        """Put *node* at *path*, where nothing may be."""
        place = self.find(path, who, follow=False)
        if place.node is not None:
            raise failure(errno.EEXIST, path)
        self._add(place, node, who)

    def replace(self, path: str, node: Node, who: Who = ROOT) -> None:
        """Put *node* at *path*, in place of what is there."""
        place = self.find(path, who, follow=False)
        if place.node is not None:
            self.remove(path, who)
        self._add(place, node, who)

    def remove(self, path: str, who: Who = ROOT) -> None:
        """Take away what is at *path*, and all below it."""
        place = self.find(path, who, follow=False)
        require(place.node, path)
        self._writable(place, path, who)
        if place.path == "/" or place.path in self.mounts:
            raise failure(errno.EBUSY, path)
        place.folder.remove(place.name)

    def mkdirs(self, path: str, who: Who = ROOT, mode: int = 0o755) -> None:
        """Make the folder *path*, and those on the way that are missing."""
        done = ""
        for part in path.split("/"):
            done = posixpath.join(done or "/", part)
            place = self.find(done, who)
            if place.node is None:
                self._add(place, Folder(mode, who.uid, who.gid), who)
            elif not isinstance(place.node, Folder):
                raise failure(errno.ENOTDIR, path)

    def walk(self, path: str) -> Iterator[tuple[str, Node]]:
        """Yield what is at *path* and all below it, with their paths, through what is mounted there."""
        place = self.find(path, follow=False)
        waiting = [(place.path, require(place.node, path))]
        while waiting:
            full, node = waiting.pop()
            yield full, node
            if isinstance(node, Folder):
                for name in reversed(node.names()):
                    child = posixpath.join(full, name)
                    mounted = self.mounts.get(child)
                    found = mounted.node if mounted else node.get(name)
                    if found is not None:
                        waiting.append((child, found))

    def chmod(self, path: str, mode: int, who: Who = ROOT) -> None:
        """Change the permission bits of what is at *path*."""
        place = self.find(path, who)
        node = require(place.node, path)
        if place.read_only:
            raise failure(errno.EROFS, path)
        if who.uid not in (0, node.uid):
            raise failure(errno.EPERM, path)
        node.chmod(mode)

    def mount(self, path: str, node: Node, *, read_only: bool = False) -> None:
        """Cover *path* with *node*; the place is made if it is missing, whatever may be written there."""
        was, self.read_only = self.read_only, False
        try:
            self.mkdirs(posixpath.dirname(path))
            place = self.find(path)
            if place.node is None:
                place.folder.add(place.name, Folder() if isinstance(node, Folder) else File())
        finally:
            self.read_only = was
        self.mounts[place.path] = Mounted(node, read_only)

    def _add(self, place: Place, node: Node, who: Who) -> None:
        self._writable(place, place.path, who)
        place.folder.add(place.name, node)

    @staticmethod
    def _writable(place: Place, path: str, who: Who) -> None:
        if place.read_only:
            raise failure(errno.EROFS, path)
        if not place.folder.allows(who, 2):
            raise failure(errno.EACCES, path)


# Archives


def digest(node: Node) -> str:
    """Return a digest of *node* and all below it: content, modes and owners, but no times."""
    found = hashlib.sha256()
    for path, item in walk(node, ""):
        kind = type(item).__name__
        found.update(f"{path}\0{kind}\0{item.mode:o}\0{item.uid}\0{item.gid}\0".encode("utf-8", "surrogateescape"))
        if isinstance(item, File):
            found.update(item.read())
        elif isinstance(item, Link):
            found.update(item.target.encode("utf-8", "surrogateescape"))
    return found.hexdigest()


def walk(node: Node, path: str) -> Iterator[tuple[str, Node]]:
    """Yield *node* and all below it with their paths, folders before what they hold."""
    yield path, node
    if isinstance(node, Folder):
        for name in node.names():
            child = node.get(name)
            if child is not None:
                yield from walk(child, posixpath.join(path, name))


def size(node: Node) -> int:
    """Return the bytes in the files of *node* and all below it."""
    return sum(item.size for _, item in walk(node, "") if isinstance(item, File))


def pack(tree: Tree, path: str) -> Iterator[bytes]:
    """Yield a tar stream of *path* and all below it, under its own name."""
    place = tree.find(path, follow=False)
    sink = io.BytesIO()
    with tarfile.open(mode="w|", fileobj=sink, format=tarfile.PAX_FORMAT) as tar:
        for full, item in tree.walk(path):
            info = tarfile.TarInfo((place.name + full[len(place.path) :]).lstrip("/") or ".")
            info.mode, info.uid, info.gid, info.mtime = item.mode, item.uid, item.gid, int(item.mtime)
            data = b""
            if isinstance(item, Folder):
                info.type = tarfile.DIRTYPE
            elif isinstance(item, Link):
                info.type, info.linkname = tarfile.SYMTYPE, item.target
            elif isinstance(item, File):
                data = item.read()
                info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
            yield _drain(sink)
    yield _drain(sink)


def _drain(sink: io.BytesIO) -> bytes:
    data = sink.getvalue()
    sink.seek(0)
    sink.truncate()
    return data


class _Reader(io.RawIOBase):
    """Chunks as a file, for `tarfile`."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._rest = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]  # all that io gives it
        while not self._rest:
            chunk = next(self._chunks, None)
            if chunk is None:
                return 0
            self._rest = memoryview(chunk)
        count = min(len(buffer), len(self._rest))
        buffer[:count] = self._rest[:count]
        self._rest = self._rest[count:]
        return count


def unpack(chunks: Iterable[bytes]) -> Iterator[tuple[str, Node]]:
    """Yield the paths, relative and clean, and the nodes of a tar stream."""
    chunks = iter(chunks)
    files: dict[str, File] = {}
    with io.BufferedReader(_Reader(chunks)) as reader, tarfile.open(mode="r|*", fileobj=reader) as tar:
        for member in tar:
            path = posixpath.normpath("/" + member.name).lstrip("/")
            about = (member.mode & 0o7777, member.uid, member.gid, float(member.mtime))
            if member.isdir():
                yield path, Folder(*about)
            elif member.issym():
                yield path, Link(member.linkname, *about[1:])
            elif member.islnk():
                yield path, files[posixpath.normpath("/" + member.linkname).lstrip("/")].copy()
            elif member.isfile():
                content = tar.extractfile(member)
                files[path] = File(content.read() if content else b"", *about)
                yield path, files[path]
    for _ in chunks:  # what is left is padding, and whoever sends it waits until it is read
        pass


def put(tree: Tree, path: str, node: Node) -> None:
    """Put *node* at *path* as an archive does: a folder takes over the mode of one that is there."""
    tree.mkdirs(posixpath.dirname(path))
    there = tree.find(path, follow=False)
    if isinstance(node, Folder) and isinstance(there.node, Folder):
        there.node.chmod(node.mode)
    elif there.node is not None and isinstance(node, Folder) != isinstance(there.node, Folder):
        raise failure(errno.EISDIR if isinstance(there.node, Folder) else errno.ENOTDIR, path)
    elif isinstance(there.node, File) and isinstance(node, File) and there.path in tree.mounts:
        there.node.truncate()
        there.node.write(0, node.read())
    else:
        tree.replace(path, node)
