"""Tar streams into a container and out of one."""

from __future__ import annotations

import io
import os
import shutil
import stat
import tarfile
import tempfile
import tracemalloc
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from polyrun._errors import EngineError, InvalidArgument, PolyrunError
from polyrun.adapter._archive import ChunkReader, pack, unpack

if TYPE_CHECKING:
    from collections.abc import Iterator

Member = tuple[tarfile.TarInfo, bytes]


def entry(name: str, data: bytes = b"", *, kind: bytes = tarfile.REGTYPE, link: str = "", mode: int = 0o644) -> Member:
    """Return a member of an archive, with what a container could have written into it."""
    header = tarfile.TarInfo(name)
    header.type, header.linkname, header.mode, header.size = kind, link, mode, len(data)
    return header, data


def folder(name: str, mode: int = 0o755) -> Member:
    """Return a folder."""
    return entry(name, kind=tarfile.DIRTYPE, mode=mode)


def symlink(name: str, link: str) -> Member:
    """Return a symbolic link."""
    return entry(name, kind=tarfile.SYMTYPE, link=link)


def hardlink(name: str, link: str) -> Member:
    """Return a second name of an earlier member."""
    return entry(name, kind=tarfile.LNKTYPE, link=link)


def archive(*members: Member, form: int = tarfile.PAX_FORMAT) -> bytes:
    """Return a whole archive."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=form) as tar:
        for header, data in members:
            tar.addfile(header, io.BytesIO(data))
    return buffer.getvalue()


def headers(stream: Iterator[bytes]) -> dict[str, tarfile.TarInfo]:
    """Return what a stream holds, in its order."""
    with tarfile.open(fileobj=io.BytesIO(b"".join(stream))) as tar:
        return {member.name: member for member in tar}


def snapshot(root: Path) -> dict[str, tuple[int, str | bytes | None]]:
    """Return the mode and the content of all that is below *root*."""
    found: dict[str, tuple[int, str | bytes | None]] = {}
    for path in sorted(root.rglob("*")):
        content = os.readlink(path) if path.is_symlink() else path.read_bytes() if path.is_file() else None  # noqa: PTH115
        found[str(path.relative_to(root))] = (path.lstat().st_mode, content)
    return found


@pytest.fixture
def target(tmp_path: Path) -> Path:
    """Return a folder to extract into, with a secret beside it."""
    (tmp_path / "secret").write_text("untouched")
    (tmp_path / "outside").mkdir()
    path = tmp_path / "target"
    path.mkdir()
    return path


@pytest.fixture
def ordinary_user() -> Iterator[Path]:
    """Return a folder of a user for whom modes count, and be that user meanwhile."""
    path = Path(tempfile.mkdtemp())
    if os.geteuid() != 0:
        yield path
    else:
        os.chown(path, 65534, 65534)
        os.seteuid(65534)
        yield path
        os.seteuid(0)
    shutil.rmtree(path)


class TestPack:
    def test_a_file_is_packed_under_its_new_name(self, tmp_path: Path) -> None:
        """Mode and time are kept, the owner is 0:0."""
        (tmp_path / "file").write_bytes(b"content")
        (tmp_path / "file").chmod(0o4750)
        os.utime(tmp_path / "file", (1_000_000_000, 1_000_000_000))
        stream = b"".join(pack(tmp_path / "file", "new"))
        with tarfile.open(fileobj=io.BytesIO(stream)) as tar:
            [member] = tar.getmembers()
            file = tar.extractfile(member)
            assert file
            assert file.read() == b"content"
        assert (member.name, member.mode, member.mtime) == ("new", 0o4750, 1_000_000_000)
        assert (member.uid, member.gid, member.uname, member.gname) == (0, 0, "", "")

    def test_bytes_are_packed_as_a_file(self, target: Path) -> None:
        """Bytes need no file on disk."""
        assert unpack(pack(b"content", "name"), target).read_bytes() == b"content"
        assert headers(pack(b"", "empty"))["empty"].mode == 0o644

    def test_a_folder_is_packed_with_all_below_it(self, tmp_path: Path) -> None:
        """Order is fixed, empty folders and links are kept, pipes are left out."""
        source = tmp_path / "source"
        (source / "b" / "empty").mkdir(parents=True)
        (source / "b" / "file").touch()
        (source / "a").symlink_to("b/file")
        os.mkfifo(source / "pipe")
        found = headers(pack(source, "top"))
        assert list(found) == ["top", "top/a", "top/b", "top/b/empty", "top/b/file"]
        assert found["top/a"].linkname == "b/file"

    def test_a_link_is_packed_as_a_link(self, tmp_path: Path) -> None:
        """As `docker cp` does, the link is copied and not what it leads to."""
        (tmp_path / "link").symlink_to("nowhere")
        found = headers(pack(tmp_path / "link", "name"))
        assert (found["name"].type, found["name"].linkname) == (tarfile.SYMTYPE, "nowhere")

    @pytest.mark.parametrize("name", ["", ".", "..", "a/b", "/a", "a/", "a\0b"])
    def test_a_name_is_one_name(self, name: str) -> None:
        """A path is refused at once."""
        with pytest.raises(InvalidArgument, match="not the name"):
            pack(b"", name)

    def test_what_cannot_be_packed_is_refused_at_once(self, tmp_path: Path) -> None:
        """A source that is missing, or is a pipe, is an error before the first block."""
        with pytest.raises(InvalidArgument, match=f"cannot read {tmp_path}/missing: No such file"):
            pack(tmp_path / "missing", "x")
        os.mkfifo(tmp_path / "pipe")
        with pytest.raises(InvalidArgument, match="not a file, a folder or a link"):
            pack(tmp_path / "pipe", "x")

    def test_files_are_opened_when_their_turn_comes(self, tmp_path: Path) -> None:
        """What is gone by then is named."""
        (tmp_path / "a").write_bytes(bytes(1 << 20))
        (tmp_path / "b").touch()
        stream = pack(tmp_path, "top")
        next(stream)
        (tmp_path / "b").unlink()
        with pytest.raises(InvalidArgument, match=f"cannot read {tmp_path}/b"):
            list(stream)

    def test_what_may_not_be_read_is_named(self, ordinary_user: Path) -> None:
        """A file and a folder without the right to read them stop the stream with their path."""
        (ordinary_user / "top" / "sub").mkdir(parents=True)
        (ordinary_user / "top" / "sub").chmod(0)
        with pytest.raises(InvalidArgument, match=f"cannot read {ordinary_user}/top/sub: Permission denied"):
            list(pack(ordinary_user / "top", "top"))
        (ordinary_user / "top" / "sub").chmod(0o755)
        (ordinary_user / "top" / "file").touch(mode=0)
        with pytest.raises(InvalidArgument, match=f"cannot read {ordinary_user}/top/file: Permission denied"):
            list(pack(ordinary_user / "top", "top"))

    @pytest.mark.parametrize("size", [0, 1, 511, 512, 513, (128 << 10) - 512, 128 << 10, 300_000])
    def test_any_size_arrives(self, target: Path, size: int) -> None:
        """Padding and block edges lose nothing, from bytes and from a file."""
        data = os.urandom(size)
        (target / "file").write_bytes(data)
        stream = list(pack(target / "file", "file"))
        assert all(128 << 10 <= len(block) <= 256 << 10 for block in stream[:-1])
        assert unpack(stream, target, rename="new").read_bytes() == data
        assert unpack(pack(data, "file"), target, rename="new").read_bytes() == data


class TestUnpack:
    def test_a_tree_arrives_as_it_was(self, tmp_path: Path, target: Path) -> None:
        """Contents, modes, times, links and empty folders come out as they went in."""
        source = tmp_path / "source"
        (source / "sub" / "empty").mkdir(parents=True)
        (source / "sub" / "run").write_bytes(b"#!")
        (source / "sub" / "run").chmod(0o751)
        (source / "sub" / "up").symlink_to("../sub/run")
        (source / ("long" * 60)).touch()
        (source / os.fsdecode(b"caf\xe9 \xce\xa9")).touch()
        for path in [*source.rglob("*"), source]:
            os.utime(path, (1_000_000_000, 1_000_000_000), follow_symlinks=False)
        before = snapshot(source)
        out = unpack(pack(source, "top"), target)
        assert out == target / "top"
        assert snapshot(out) == before
        assert {int(path.lstat().st_mtime) for path in [*out.rglob("*"), out]} == {1_000_000_000}
        assert list(target.iterdir()) == [out]

    def test_a_new_name_holds_for_all(self, target: Path) -> None:
        """Links inside the tree follow the new name of its top."""
        members = [folder("old"), entry("old/a", b"x"), hardlink("old/b", "old/a"), symlink("old/c", "./a")]
        out = unpack([archive(*members)], target, rename="new")
        assert out == target / "new"
        assert (out / "b").read_bytes() == (out / "c").read_bytes() == b"x"
        assert (out / "a").samefile(out / "b")

    @pytest.mark.parametrize("size", [1, 100, 512, 10_000])
    def test_chunks_may_have_any_length(self, target: Path, size: int) -> None:
        """The stream is the same however it was cut."""
        stream = archive(folder("top"), entry("top/" + "n" * 200, b"data" * 500), entry("top/b", b"end"))
        chunks = [b"", *(stream[start : start + size] for start in range(0, len(stream), size)), b""]
        out = unpack(iter(chunks), target)
        assert (out / ("n" * 200)).read_bytes() == b"data" * 500
        assert (out / "b").read_bytes() == b"end"

    @pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
    def test_every_form_of_tar_is_read(self, target: Path, form: int) -> None:
        """Both engines write pax, and other tools the others."""
        name = "top/" + "d" * 90 + "/" + "f" * 90
        assert unpack([archive(entry(name, b"x"), form=form)], target) == target / "top"
        assert (target / name).read_bytes() == b"x"

    def test_folders_that_no_member_names_are_made(self, target: Path) -> None:
        """A file may come before its folder, or without it."""
        unpack([archive(entry("./top/a/b", b"1"), folder("top/a/", mode=0o700), entry("top//c", b"2"))], target)
        assert (target / "top/a/b").read_bytes() == b"1"
        assert stat.S_IMODE((target / "top/a").stat().st_mode) == 0o700
        assert (target / "top/c").read_bytes() == b"2"

    def test_owners_and_special_bits_are_dropped(self, target: Path) -> None:
        """Nothing that is extracted runs as somebody else."""
        members = [folder("top", 0o7777), entry("top/su", mode=0o6755)]
        for header, _ in members:
            header.uid = header.gid = 12345
        out = unpack([archive(*members)], target)
        assert stat.S_IMODE(out.stat().st_mode) == 0o777
        assert stat.S_IMODE((out / "su").stat().st_mode) == 0o755
        assert (out / "su").stat().st_uid == os.geteuid()

    def test_a_read_only_folder_is_filled_first(self, ordinary_user: Path) -> None:
        """A folder gets its mode and its time when all that is in it is there."""
        members = [folder("top", 0o555), folder("top/sub", 0o500), entry("top/sub/file", b"x", mode=0o400)]
        for header, _ in members:
            header.mtime = 1_000_000_000
        out = unpack([archive(*members)], ordinary_user)
        assert (out / "sub" / "file").read_bytes() == b"x"
        assert stat.S_IMODE(out.stat().st_mode) == 0o555
        assert stat.S_IMODE((out / "sub").stat().st_mode) == 0o500
        assert int((out / "sub").stat().st_mtime) == 1_000_000_000
        out.chmod(0o755)
        (out / "sub").chmod(0o755)

    def test_a_target_without_the_right_to_write_is_told(self, ordinary_user: Path) -> None:
        """An error of the local disk is an error of polyrun."""
        ordinary_user.chmod(0o555)
        with pytest.raises(PolyrunError, match=f"cannot extract to {ordinary_user}: .*Permission denied"):
            unpack(pack(b"", "x"), ordinary_user)
        ordinary_user.chmod(0o755)

    def test_an_existing_folder_is_filled(self, target: Path) -> None:
        """Files are replaced, others stay, and a folder that was there keeps its mode."""
        (target / "top" / "sub").mkdir(parents=True, mode=0o700)
        (target / "top" / "sub" / "old").write_text("old")
        (target / "top" / "sub" / "both").write_text("old")
        members = [folder("top"), folder("top/sub"), entry("top/sub/both", b"new"), folder("top/new", 0o750)]
        unpack([archive(*members, entry("top/new/x"))], target)
        assert (target / "top/sub/old").read_text() == "old"
        assert (target / "top/sub/both").read_text() == "new"
        assert stat.S_IMODE((target / "top/sub").stat().st_mode) == 0o700
        assert stat.S_IMODE((target / "top/new").stat().st_mode) == 0o750

    def test_a_link_on_disk_is_replaced_and_not_followed(self, target: Path) -> None:
        """A file takes the place of the link, and what the link led to is not touched."""
        (target / "top").mkdir()
        (target / "top" / "file").symlink_to("../../secret")
        (target / "single").symlink_to("../secret")
        unpack([archive(entry("top/file", b"new"))], target)
        unpack([archive(entry("single", b"new"))], target)
        assert (target / "top/file").read_bytes() == b"new"
        assert (target / "single").read_bytes() == b"new"
        assert (target.parent / "secret").read_text() == "untouched"

    @pytest.mark.parametrize("name", ["top", "top/sub"])
    def test_a_linked_folder_on_disk_is_never_written_through(self, target: Path, name: str) -> None:
        """Where the archive has a folder and the disk a link, nothing is extracted."""
        (target / name).parent.mkdir(exist_ok=True)
        (target / name).symlink_to(target.parent / "outside")
        before = snapshot(target.parent)
        with pytest.raises(EngineError, match=f"{name} is there and is not a folder"):
            unpack([archive(entry("top/a"), folder("top/sub"), entry("top/sub/file", b"x"))], target)
        assert snapshot(target.parent) == before

    def test_a_folder_is_never_replaced_by_a_file(self, target: Path) -> None:
        """What is in it would be lost."""
        (target / "top" / "kept").mkdir(parents=True)
        with pytest.raises(EngineError, match="top is a folder"):
            unpack([archive(entry("top", b"x"))], target)
        assert (target / "top" / "kept").is_dir()

    def test_the_later_of_two_members_stays(self, target: Path) -> None:
        """A member replaces an earlier one of its name, never through a hard link to it."""
        members = [entry("top/a", b"one"), hardlink("top/b", "top/a"), entry("top/a", b"two"), symlink("top/c", "a")]
        unpack([archive(*members, entry("top/c", b"three"))], target)
        assert [(target / "top" / name).read_bytes() for name in "abc"] == [b"two", b"one", b"three"]
        assert not (target / "top/c").is_symlink()

    def test_links_that_stay_inside_are_kept(self, target: Path) -> None:
        """To a file, a folder, nothing yet, over another link, and with a detour."""
        links = {
            "a": "sub",
            "sub/up": "../file",
            "b": "missing/x",
            "c": "a/up",
            "d": "sub/../file",
            "e": ".",
            "f": "g/../../file",
        }
        members = [folder("top"), *(symlink(f"top/{name}", to) for name, to in links.items())]
        deep = [symlink("top/g", "sub/deep"), folder("top/sub/deep")]
        out = unpack([archive(*members, entry("top/file", b"x"), *deep)], target)
        assert {name: os.readlink(out / name) for name in links} == links  # noqa: PTH115
        assert (out / "c").read_bytes() == (out / "d").read_bytes() == (out / "f").read_bytes() == b"x"

    def test_a_hard_link_to_a_link_is_that_link(self, target: Path) -> None:
        """It is not followed, and is looked at like any other."""
        out = unpack([archive(folder("top/sub"), symlink("top/a", "sub"), hardlink("top/b", "top/a"))], target)
        assert (out / "b").is_symlink()
        with pytest.raises(EngineError, match="outside of what is extracted"):
            unpack([archive(symlink("top/d/a", "../x"), hardlink("top/b", "top/d/a"))], target)

    def test_a_backslash_is_part_of_a_name(self, target: Path) -> None:
        """Here it is a letter like any other."""
        unpack([archive(entry("top/..\\..\\x", b"x"))], target)
        assert [path.name for path in (target / "top").iterdir()] == ["..\\..\\x"]

    def test_a_sparse_file_keeps_its_holes(self, target: Path) -> None:
        """What was not stored reads as zeros, and takes no room."""
        header, data = entry("top/stored", b"helloworld")
        header.pax_headers = {
            "GNU.sparse.name": "top/s",
            "GNU.sparse.size": str(1 << 30),
            "GNU.sparse.map": f"0,5,{(1 << 30) - 5},5",
        }
        path = unpack([archive((header, data), entry("top/next", b"n"))], target) / "s"
        assert path.stat().st_size == 1 << 30
        assert path.stat().st_blocks * 512 < 1 << 20
        with path.open("rb") as file:
            assert file.read(6) == b"hello\0"
            file.seek(-6, os.SEEK_END)
            assert file.read() == b"\0world"
        assert (target / "top/next").read_bytes() == b"n"

    def test_times_that_no_disk_can_hold_are_passed_over(self, target: Path) -> None:
        """A bad time is no reason to lose a file."""
        for time in ["nan", "inf", "-1e300", "1e300"]:
            header, data = entry("top", b"x")
            header.pax_headers = {"mtime": time}
            assert unpack([archive((header, data))], target).read_bytes() == b"x"

    @pytest.mark.parametrize("limit", [3000, 2999])
    def test_the_limit_counts_all_that_is_extracted(self, target: Path, limit: int) -> None:
        """Exactly *max_bytes* fit; one more is refused and leaves nothing."""
        stream = archive(entry("top/a", bytes(1000)), entry("top/b", bytes(2000)))
        if limit == 3000:
            unpack([stream], target, max_bytes=limit)
            assert (target / "top/b").stat().st_size == 2000
        else:
            with pytest.raises(EngineError, match="more than 2999 bytes"):
                unpack([stream], target, max_bytes=limit)
            assert not list(target.iterdir())

    def test_a_target_that_is_no_folder_is_refused(self, target: Path) -> None:
        """The stream is not even begun."""
        with pytest.raises(InvalidArgument, match="not a folder"):
            unpack(pack(b"", "x"), target / "missing")
        with pytest.raises(InvalidArgument, match="not the name"):
            unpack(pack(b"", "x"), target, rename="../x")

    def test_an_error_of_the_stream_is_passed_on(self, target: Path) -> None:
        """A lost connection is told as such, and leaves nothing behind."""

        class LostError(PolyrunError, OSError):
            """As `DeadlineExceeded`, which is a TimeoutError as well."""

        def chunks() -> Iterator[bytes]:
            yield archive(entry("top/a", b"x"), entry("top/b"))[:700]
            raise LostError("the connection was lost")

        with pytest.raises(LostError):
            unpack(chunks(), target)
        assert not list(target.iterdir())

    def test_the_stream_is_read_to_its_end(self, target: Path) -> None:
        """A reply that was read to its end leaves its connection usable."""
        chunks = iter([archive(entry("top")), bytes(10240)])
        unpack(chunks, target)
        assert next(chunks, None) is None

    def test_a_large_file_takes_little_memory(self, target: Path) -> None:
        """100 MB go in and out in a few blocks."""
        with (target / "big").open("wb") as file:
            file.truncate(100 << 20)
        tracemalloc.start()
        out = unpack(pack(target / "big", "big"), target, rename="copy")
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert out.stat().st_size == 100 << 20
        assert peak < 2 << 20

    def test_many_files_take_little_memory(self, target: Path) -> None:
        """Nothing is remembered of a file once it is written."""
        stream = archive(*(entry(f"top/{number}") for number in range(3000)))
        tracemalloc.start()
        unpack([stream], target)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 2 << 20


def _pax(member: Member, **fields: str) -> Member:
    member[0].pax_headers = {name.replace("__", "."): value for name, value in fields.items()}
    return member


def _sparse(size: str, extents: str) -> Member:
    return _pax(entry("top/s", b"x"), GNU__sparse__name="top/s", GNU__sparse__size=size, GNU__sparse__map=extents)


def _long_header() -> bytes:
    header, data = entry("././@PaxHeader", bytes(2 << 20), kind=tarfile.XHDTYPE)
    return header.tobuf() + data + archive(entry("top"))


def _negative() -> bytes:
    header, _ = entry("top/x")
    header.size = -1024
    return archive(entry("top/a", b"x"))[:1024] + header.tobuf(tarfile.GNU_FORMAT) + bytes(1024)


HOSTILE: dict[str, tuple[bytes, str]] = {
    "a path upwards": (archive(entry("../x")), "cannot be part of a path"),
    "a path upwards from inside": (archive(folder("top"), entry("top/../../x")), "cannot be part of a path"),
    "a path that comes back": (archive(entry("top/../top/x")), "cannot be part of a path"),
    "an absolute path": (archive(entry("/abs")), "absolute"),
    "an absolute path, twice": (archive(entry("//abs")), "absolute"),
    "no name": (archive(folder("./")), "has no name"),
    "a NUL": (archive(_pax(entry("top/x"), path="top/a\0b")), "cannot be part of a path"),
    "two tops": (archive(entry("top/x"), entry("other")), "not part of 'top'"),
    "a link upwards": (archive(symlink("top/l", "../../secret")), "outside of what is extracted"),
    "a link beside the top": (archive(symlink("top/l", "../x")), "outside of what is extracted"),
    "a link out and back": (archive(symlink("top/l", "../top/x")), "outside of what is extracted"),
    "an absolute link": (archive(symlink("top/l", "/etc/passwd")), "outside of what is extracted"),
    "a link to nothing": (archive(symlink("top/l", "")), "links to ''"),
    "a link with a NUL": (archive(_pax(symlink("top/l", "x"), linkpath="a\0b")), "links to"),
    "a top that is a link": (archive(symlink("top", "other")), "outside of what is extracted"),
    "a file through a link": (archive(symlink("top/l", "../.."), entry("top/l/x")), "'top/l' is not a folder"),
    "a file through an inner link": (
        archive(folder("top/d"), symlink("top/l", "d"), entry("top/l/x")),
        "'top/l' is not a folder",
    ),
    "a file through a top that is a link": (archive(symlink("top", "/tmp"), entry("top/x")), "'top' is not a folder"),
    "a folder over a link": (archive(symlink("top/l", "/tmp"), folder("top/l")), "'top/l' is not a folder"),
    "a link over a folder": (archive(folder("top/d"), symlink("top/d", "/tmp")), "it is a folder as well"),
    "a file over a folder": (archive(folder("top/d"), entry("top/d")), "it is a folder as well"),
    "a folder over a file": (archive(entry("top/d"), folder("top/d")), "'top/d' is not a folder"),
    "a file below a file": (archive(entry("top"), entry("top/x")), "'top' is not a folder"),
    "a chain of links": (archive(symlink("top/a", "b"), symlink("top/b", "..")), "outside of what is extracted"),
    "a chain, the other way round": (
        archive(symlink("top/b", "."), symlink("top/a", "b/../x")),
        "outside of what is extracted",
    ),
    "a chain through a deep link": (
        archive(folder("top/x/y"), symlink("top/x/y/a", "../.."), symlink("top/l", "x/y/a/../z")),
        "outside of what is extracted",
    ),
    "a link that is completed later": (
        archive(symlink("top/l", "d/../x"), symlink("top/d", "e/.."), folder("top/e")),
        "outside of what is extracted",
    ),
    "a loop of links": (archive(symlink("top/a", "b"), symlink("top/b", "a")), "outside of what is extracted"),
    "a long chain of links": (
        archive(*(symlink(f"top/{number}", str(number + 1)) for number in range(100))),
        "outside of what is extracted",
    ),
    "a hard link to an absolute path": (archive(hardlink("top/h", "/etc/passwd")), "absolute"),
    "a hard link upwards": (archive(hardlink("top/h", "../secret")), "cannot be part of a path"),
    "a hard link beside the top": (archive(entry("top/x"), hardlink("top/h", "secret")), "not part of 'top'"),
    "a hard link to nothing": (archive(entry("top/x"), hardlink("top/h", "top/y")), "which is no file before it"),
    "a hard link to itself": (archive(hardlink("top/h", "top/h")), "which is no file before it"),
    "a hard link to a folder": (archive(folder("top/d"), hardlink("top/h", "top/d")), "which is no file before it"),
    "a hard link through a link": (
        archive(symlink("top/l", "/etc"), hardlink("top/h", "top/l/passwd")),
        "which is no file before it",
    ),
    "a block device": (archive(entry("top/d", kind=tarfile.BLKTYPE)), "a device"),
    "a character device": (archive(entry("top/d", kind=tarfile.CHRTYPE)), "a device"),
    "a pipe": (archive(entry("top/p", kind=tarfile.FIFOTYPE)), "a device"),
    "something unknown": (archive(entry("top/u", kind=b"~")), "something unknown"),
    "a very deep path": (archive(entry("top/" + "d/" * 1500 + "x")), "folders deep"),
    "a sparse file larger than any disk": (archive(_sparse(str(1 << 80), "0,1")), "makes no sense"),
    "a sparse file that is shorter than its parts": (archive(_sparse("10", "0,100")), "makes no sense"),
    "a sparse file with a negative part": (archive(_sparse("10", "5,-5")), "makes no sense"),
    "a sparse file with more parts than it stored": (archive(_sparse("9999", "0,9999")), "cannot be read"),
    "a sparse file without a number": (archive(_sparse("x", "y")), "cannot be read"),
    "a header that would fill the memory": (_long_header(), "a header is too long"),
    "a negative size": (_negative(), ""),
    "no archive": (b"HTTP/1.1 500 oops" * 100, "cannot be read"),
    "garbage between members": (archive(entry("top/a"))[:512] + b"garbage!" * 64 + bytes(1024), "cannot be read"),
    "nothing": (b"", "it is empty"),
    "only an end": (bytes(1024), "it is empty"),
}


@pytest.mark.parametrize(("stream", "reason"), HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_archive_is_refused_and_changes_nothing(target: Path, stream: bytes, reason: str) -> None:
    """The error says why, and inside and outside of the target all is as before."""
    (target / "top").mkdir()
    (target / "top" / "kept").write_text("kept")
    before = snapshot(target.parent)
    with pytest.raises(EngineError) as caught:
        unpack([stream], target)
    assert reason in str(caught.value)
    assert snapshot(target.parent) == before
    with pytest.raises(EngineError):
        unpack([stream], target, rename="new")
    assert snapshot(target.parent) == before


WHOLE = archive(folder("top"), entry("top/" + "n" * 150, b"data" * 200), symlink("top/l", "x"), entry("top/b", b"x"))
END = len(WHOLE.rstrip(b"\0")) + -len(WHOLE.rstrip(b"\0")) % 512


@given(st.integers(0, END))
@settings(deadline=None, database=None)
def test_a_stream_that_ends_early_is_refused(length: int) -> None:
    """At whatever byte: in a header, in data, or just between two members."""
    with tempfile.TemporaryDirectory() as name:
        with pytest.raises(EngineError):
            unpack([WHOLE[:length]], Path(name))
        assert not list(Path(name).iterdir())


@given(st.lists(st.tuples(st.integers(0, END - 1), st.integers(0, 255)), max_size=8))
@settings(deadline=None, database=None, max_examples=300)
def test_a_damaged_stream_never_leaves_the_target(damage: list[tuple[int, int]]) -> None:
    """It is extracted or refused; there is no other error and no other file."""
    stream = bytearray(WHOLE)
    for position, value in damage:
        stream[position] = value
    for start in range(0, END, 512):
        # A right checksum lets the damage through to what it means.
        header = bytes(stream[start : start + 148]) + b" " * 8 + bytes(stream[start + 156 : start + 512])
        if WHOLE[start + 257 : start + 262] == b"ustar":
            stream[start + 148 : start + 156] = b"%06o\0 " % sum(header)
    with tempfile.TemporaryDirectory() as name:
        target = Path(name) / "a" / "b"
        target.mkdir(parents=True)
        try:
            unpack([bytes(stream)], target, max_bytes=1 << 20)
        except PolyrunError:
            assert not list(target.iterdir())
        assert [path.name for path in Path(name).iterdir()] == ["a"]
        assert [path.name for path in (Path(name) / "a").iterdir()] == ["b"]


NAMES = st.text(st.characters(blacklist_characters="/\0", blacklist_categories=["Cs"]), min_size=1, max_size=20).filter(
    lambda name: name not in {".", ".."}
)


@given(st.dictionaries(NAMES, st.binary(max_size=2000) | st.dictionaries(NAMES, st.binary(max_size=10)), max_size=5))
@settings(deadline=None, database=None)
def test_what_goes_in_comes_out(tree: dict[str, bytes | dict[str, bytes]]) -> None:
    """Any names and any contents survive the way through a tar stream."""
    with tempfile.TemporaryDirectory() as name:
        source = Path(name) / "source"
        source.mkdir()
        for path, content in tree.items():
            if isinstance(content, bytes):
                (source / path).write_bytes(content)
            else:
                (source / path).mkdir()
                for below, data in content.items():
                    (source / path / below).write_bytes(data)
        before = snapshot(source)
        assert snapshot(unpack(pack(source, "top"), Path(name))) == before


@given(st.lists(st.binary(max_size=20), max_size=10), st.lists(st.integers(0, 30), max_size=10))
@settings(deadline=None, database=None)
def test_a_chunk_reader_reads_what_the_chunks_hold(chunks: list[bytes], sizes: list[int]) -> None:
    """Reads, looks ahead and steps forward add up, wherever the chunks were cut."""
    reader, whole = ChunkReader(chunks), b"".join(chunks)
    for position, step in pairwise([0, *sizes]):
        start = reader.tell()
        assert reader.peek(position) == whole[start : start + position]
        assert reader.read(step) == whole[start : start + step]
        assert reader.tell() == min(start + step, len(whole))
    with pytest.raises(tarfile.ReadError):
        reader.seek(len(whole) + 1)
