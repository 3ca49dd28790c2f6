"""What a build sends to the engine."""

from __future__ import annotations

import hashlib
import io
import os
import socket
import sys
import tarfile
import tracemalloc
from typing import TYPE_CHECKING

import pytest

from polyrun._errors import InvalidArgument
from polyrun.adapter._context import BuildContext, open_context

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

# Python tells a hook of every file it opens. A hook cannot be removed, so it mostly has nobody to tell.
recorders: list[list[str]] = []


def _note(event: str, arguments: tuple[object, ...]) -> None:
    if recorders and event in {"open", "os.scandir", "os.listdir"} and isinstance(arguments[0], str | os.PathLike):
        recorders[-1].append(os.fspath(arguments[0]))


sys.addaudithook(_note)


def write(root: Path, files: Mapping[str, str | bytes]) -> None:
    """Write *files*, and the folders they lie in."""
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())


def members(context: BuildContext) -> dict[str, tarfile.TarInfo]:
    """Return what is sent, in its order."""
    with tarfile.open(fileobj=io.BytesIO(b"".join(context.chunks()))) as archive:
        return {member.name: member for member in archive}


def content(context: BuildContext, name: str) -> bytes:
    """Return the content that one file is sent with."""
    with tarfile.open(fileobj=io.BytesIO(b"".join(context.chunks()))) as archive:
        file = archive.extractfile(name)
        assert file
        return file.read()


def test_a_context_is_sent_whole_and_sorted(tmp_path: Path) -> None:
    """Without an ignore file all is sent, folders before what they hold, empty ones too."""
    write(tmp_path, {"b/z": "1", "b/a": "2", "Dockerfile": "FROM scratch", "a": "3"})
    (tmp_path / "empty").mkdir()
    context = open_context(tmp_path)
    assert context.dockerfile == "Dockerfile"
    assert list(members(context)) == ["Dockerfile", "a", "b", "b/a", "b/z", "empty"]
    assert content(context, "b/z") == b"1"


def test_members_are_as_docker_sends_them(tmp_path: Path) -> None:
    """Modes, times in seconds and links are kept; the owner is 0:0 with no name."""
    write(tmp_path, {"Dockerfile": "", "run.sh": "#!/bin/sh\n", "data/x": "x"})
    (tmp_path / "run.sh").chmod(0o4751)
    (tmp_path / "data").chmod(0o700)
    os.utime(tmp_path / "run.sh", (1_000_000_000.9, 1_000_000_000.9))
    (tmp_path / "dangling").symlink_to("./nowhere//x")
    (tmp_path / "outward").symlink_to("/etc")
    (tmp_path / "twin").hardlink_to(tmp_path / "run.sh")
    found = members(open_context(tmp_path))
    assert found["run.sh"].mode == 0o4751
    assert found["run.sh"].mtime == 1_000_000_000
    assert found["data"].mode == 0o700
    assert found["data"].isdir()
    assert (found["dangling"].type, found["dangling"].linkname) == (tarfile.SYMTYPE, "./nowhere//x")
    assert found["outward"].linkname == "/etc"
    assert found["twin"].isreg()
    assert found["twin"].size == len("#!/bin/sh\n")
    assert {(one.uid, one.gid, one.uname, one.gname) for one in found.values()} == {(0, 0, "", "")}


def test_equal_contexts_give_equal_streams(tmp_path: Path) -> None:
    """Nothing of the order on disk, the owner or the moment shows, nor does a second reading differ."""
    names = ["Dockerfile", *(f"f{number}" for number in range(20))]
    one, two = tmp_path / "one", tmp_path / "two"
    write(one, dict.fromkeys(names, "x"))
    write(two, dict.fromkeys(reversed(names), "x"))
    for name in names:
        os.utime(one / name, (7, 7))
        os.utime(two / name, (7, 7.5))
    first = open_context(one)
    assert list(first.chunks()) == list(first.chunks()) == list(open_context(two).chunks())


def test_excluded_files_are_never_opened(tmp_path: Path) -> None:
    """An excluded file is not opened and an excluded folder is not listed, unless something in it is wanted."""
    write(
        tmp_path,
        {
            "Dockerfile": "",
            ".dockerignore": "*.log\nnode_modules\nvendor\n!vendor/*/keep",
            "a.log": "",
            "src/main.py": "",
            "node_modules/x/y": "",
            "vendor/one/keep": "",
            "vendor/one/other": "",
            "vendor/one/deep/keep": "",
        },
    )
    opened: list[str] = []
    recorders.append(opened)
    found = members(open_context(tmp_path))
    recorders.clear()
    seen = {os.path.relpath(path, tmp_path) for path in opened if path.startswith(str(tmp_path))}
    assert list(found) == ["Dockerfile", "src", "src/main.py", "vendor", "vendor/one", "vendor/one/keep"]
    assert seen == {".", ".dockerignore", "Dockerfile", "src", "src/main.py"} | {
        "vendor",
        "vendor/one",
        "vendor/one/keep",
    }


def test_folders_on_the_way_to_an_exception_keep_their_modes(tmp_path: Path) -> None:
    """A folder is sent if something in it is, and one that turns out to have nothing is not."""
    write(tmp_path, {"Dockerfile": "", ".dockerignore": "*\n!**/keep", "a/b/keep": "", "a/c/x": "", "d/x": ""})
    (tmp_path / "a").chmod(0o750)
    found = members(open_context(tmp_path))
    assert list(found) == [".dockerignore", "Dockerfile", "a", "a/b", "a/b/keep"]
    assert found["a"].mode == 0o750


def test_the_dockerfile_is_sent_even_if_excluded(tmp_path: Path) -> None:
    """No pattern can take the Dockerfile out, wherever it lies; an ignore file of ours hides it from COPY."""
    write(tmp_path, {".dockerignore": "**", "Dockerfile": "", "images/web/Dockerfile": "", "images/web/x": ""})
    assert list(members(open_context(tmp_path))) == [".dockerignore", "Dockerfile"]
    deep = open_context(tmp_path, "images/web/Dockerfile")
    assert deep.dockerfile == "images/web/Dockerfile"
    assert list(members(deep)) == [".dockerignore", "images", "images/web", "images/web/Dockerfile"]
    assert content(deep, ".dockerignore") == b".dockerignore\nimages/web/Dockerfile\n"


def test_ignore_files_of_the_context_are_never_sent(tmp_path: Path) -> None:
    """Podman would apply any of them a second time; in other folders the names mean nothing."""
    names = [".dockerignore", ".containerignore", "Dockerfile.dockerignore", "Dockerfile.containerignore"]
    write(tmp_path, {"Dockerfile": "", "sub/.dockerignore": "", "Other.dockerignore": "", **dict.fromkeys(names, "")})
    assert list(members(open_context(tmp_path))) == ["Dockerfile", "Other.dockerignore", "sub", "sub/.dockerignore"]


def test_the_first_ignore_file_there_is_counts(tmp_path: Path) -> None:
    """The Dockerfile's own before the context's, Docker's spelling before Podman's, and only one of them."""
    order = ["Dockerfile.dockerignore", "Dockerfile.containerignore", ".dockerignore", ".containerignore"]
    write(tmp_path, {"Dockerfile": "", **{str(number): "" for number in range(4)}})
    write(tmp_path, {name: str(number) for number, name in enumerate(order)})
    for number, name in enumerate(order):
        assert {str(other) for other in range(4)} - set(members(open_context(tmp_path))) == {str(number)}
        (tmp_path / name).unlink()
    assert len(members(open_context(tmp_path))) == 5


def test_a_malformed_ignore_file_is_refused_at_once(tmp_path: Path) -> None:
    """The error names the file, the line and the pattern, before anything is sent."""
    write(tmp_path, {"Dockerfile": "", ".dockerignore": "ok\n[a-\n"})
    with pytest.raises(InvalidArgument, match=r"\.dockerignore, line 2: not a pattern: '\[a-'"):
        open_context(tmp_path)


def test_an_ignore_file_may_hold_any_bytes(tmp_path: Path) -> None:
    """A byte order mark is skipped, and names that are not UTF-8 match the same bytes on disk."""
    write(tmp_path, {"Dockerfile": "", ".dockerignore": b"\xef\xbb\xbfcaf\xe9\r\n", "x": ""})
    (tmp_path / os.fsdecode(b"caf\xe9")).touch()
    assert list(members(open_context(tmp_path))) == ["Dockerfile", "x"]


def test_a_containerfile_is_found(tmp_path: Path) -> None:
    """Podman's name is taken where there is no Dockerfile."""
    write(tmp_path, {"Containerfile": ""})
    assert open_context(tmp_path).dockerfile == "Containerfile"
    write(tmp_path, {"Dockerfile": ""})
    assert open_context(tmp_path).dockerfile == "Dockerfile"


def test_a_missing_dockerfile_is_told_with_the_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error shows each path that was tried."""
    (tmp_path / "context").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InvalidArgument) as caught:
        open_context(tmp_path / "context")
    assert f"{tmp_path}/context/Dockerfile and {tmp_path}/context/Containerfile" in str(caught.value)
    with pytest.raises(InvalidArgument) as caught:
        open_context(tmp_path / "context", "web.Dockerfile")
    assert f"{tmp_path}/context/web.Dockerfile and {tmp_path}/web.Dockerfile" in str(caught.value)


@pytest.mark.parametrize("name", ["missing", "file"])
def test_a_context_that_is_no_folder_is_refused(tmp_path: Path, name: str) -> None:
    """The error shows what was given."""
    write(tmp_path, {"file": ""})
    with pytest.raises(InvalidArgument, match=f"not a folder: '.*{name}'"):
        open_context(tmp_path / name)


def test_a_relative_dockerfile_is_first_looked_for_in_the_context(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As by the engines' API; only if it is not there, from the current folder."""
    write(tmp_path, {"here/both": "here", "here/only": "here", "context/both": "context", "context/x": ""})
    monkeypatch.chdir(tmp_path / "here")
    both = open_context(tmp_path / "context", "both")
    assert both.dockerfile == "both"
    assert content(both, "both") == b"context"
    only = open_context(tmp_path / "context", "only")
    assert content(only, only.dockerfile) == b"here"


def test_a_dockerfile_outside_goes_in_under_another_name(tmp_path: Path) -> None:
    """Its own ignore file counts, and the name is the same for the same Dockerfile."""
    write(
        tmp_path,
        {"docker/web": "FROM scratch", "docker/web.dockerignore": "x", "context/x": "", "context/Dockerfile": "no"},
    )
    context = open_context(tmp_path / "context", tmp_path / "docker" / "web")
    assert context.dockerfile == ".dockerfile." + hashlib.sha256(b"FROM scratch").hexdigest()[:20]
    assert list(members(context)) == [context.dockerfile, ".dockerignore", "Dockerfile"]
    assert content(context, ".dockerignore") == f".dockerignore\n{context.dockerfile}\n".encode()
    assert content(context, context.dockerfile) == b"FROM scratch"
    assert open_context(tmp_path / "context", "../docker/web").dockerfile == context.dockerfile


def test_a_dockerfile_that_is_a_link_means_its_destination(tmp_path: Path) -> None:
    """The engine would refuse a link out of the context, and so gets the file."""
    write(tmp_path, {"out/Dockerfile": "out", "in/real/web": "in", "in/.dockerignore": "real"})
    (tmp_path / "in" / "Dockerfile").symlink_to("../out/Dockerfile")
    (tmp_path / "in" / "web").symlink_to("real/web")
    outward = open_context(tmp_path / "in")
    assert content(outward, outward.dockerfile) == b"out"
    assert open_context(tmp_path / "in", "web").dockerfile == "real/web"
    assert "real/web" in members(open_context(tmp_path / "in", "web"))


def test_a_context_may_be_a_link(tmp_path: Path) -> None:
    """What counts is the folder it leads to."""
    write(tmp_path, {"real/Dockerfile": "", "real/x": ""})
    (tmp_path / "link").symlink_to("real")
    context = open_context(tmp_path / "link", tmp_path / "real" / "Dockerfile")
    assert context.dockerfile == "Dockerfile"
    assert list(members(context)) == ["Dockerfile", "x"]


def test_sockets_and_pipes_are_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They cannot be copied, and opening a pipe would wait for ever."""
    write(tmp_path, {"Dockerfile": ""})
    os.mkfifo(tmp_path / "pipe")
    monkeypatch.chdir(tmp_path)  # a socket's path may have 107 bytes
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket")
        assert list(members(open_context(tmp_path))) == ["Dockerfile"]


def test_long_and_foreign_names_arrive(tmp_path: Path) -> None:
    """Names beyond 100 bytes, beyond ASCII and beyond UTF-8 are kept, and so are long links."""
    deep = "/".join(["d" * 60] * 6)
    odd = os.fsdecode(b"caf\xe9 \xc3\xa9\n")
    write(tmp_path, {"Dockerfile": "", f"{deep}/file": "x", "日本/Ω": "y", odd: "z"})
    (tmp_path / "link").symlink_to(deep)
    found = members(open_context(tmp_path))
    assert {f"{deep}/file", "日本/Ω", odd} <= set(found)
    assert found["link"].linkname == deep


def test_a_file_that_gets_smaller_is_refused_by_name(tmp_path: Path) -> None:
    """Half a file is never passed for a whole one."""
    write(tmp_path, {"Dockerfile": "", "big": bytes(1 << 20)})
    chunks = open_context(tmp_path).chunks()
    next(chunks)
    (tmp_path / "big").write_bytes(b"small")
    with pytest.raises(InvalidArgument, match=r"big became \d+ bytes smaller"):
        list(chunks)


def test_a_file_that_grows_is_sent_as_it_was_when_opened(tmp_path: Path) -> None:
    """A log that is written meanwhile does not damage the stream."""
    write(tmp_path, {"Dockerfile": "", "a.log": bytes(1 << 20), "z": "end"})
    chunks = open_context(tmp_path).chunks()
    first = next(chunks)
    with (tmp_path / "a.log").open("ab") as file:
        file.write(b"more")
    with tarfile.open(fileobj=io.BytesIO(first + b"".join(chunks))) as archive:
        assert [(one.name, one.size) for one in archive][1:] == [("a.log", 1 << 20), ("z", 3)]


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    """What vanished after it was listed is an error with its path, not a hole."""
    write(tmp_path, {"Dockerfile": "", "a": bytes(1 << 20), "z": ""})
    chunks = open_context(tmp_path).chunks()
    next(chunks)
    (tmp_path / "z").unlink()
    with pytest.raises(InvalidArgument, match=f"cannot read {tmp_path}/z: No such file"):
        list(chunks)


def test_a_large_context_takes_little_memory(tmp_path: Path) -> None:
    """Files are streamed, in blocks of 128 to 256 KiB."""
    write(tmp_path, {"Dockerfile": "", "small": "x"})
    with (tmp_path / "big").open("wb") as file:
        file.truncate(100 << 20)
    context = open_context(tmp_path)
    tracemalloc.start()
    sizes = [len(chunk) for chunk in context.chunks()]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert sum(sizes) > 100 << 20
    assert all(128 << 10 <= size <= 256 << 10 for size in sizes[:-1])
    assert peak < 2 << 20
