"""Copying into a container and out of it."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

import pytest

from polyrun import ContainerNotFound, InvalidArgument, NotFound, PolyrunError
from polyrun.testing._contract._base import IDLE, ContractFixtures, paused, sh, write_tree

if TYPE_CHECKING:
    from pathlib import Path

    from polyrun import Container, Runtime


def listing(folder: Path) -> dict[str, tuple[str, int, bytes]]:
    """Return what is below *folder*: kind, mode and content, or the target of a link."""
    found: dict[str, tuple[str, int, bytes]] = {}
    for path in folder.rglob("*"):
        name = str(path.relative_to(folder))
        mode = stat.S_IMODE(path.lstat().st_mode)
        if path.is_symlink():
            found[name] = ("link", 0, os.fsencode(path.readlink()))
        elif path.is_dir():
            found[name] = ("folder", mode, b"")
        else:
            found[name] = ("file", mode, path.read_bytes())
    return found


def sample(folder: Path) -> Path:
    """Make a folder with files of several modes, links, an empty folder and names in any script."""
    write_tree(
        folder,
        {
            "run.sh": "#!/bin/sh\n",
            "key": "private",
            "empty": b"",
            "unter/ordner/grüße 世界 🐳.txt": "hallo",
            "unter/binary": bytes(range(256)),
        },
    )
    (folder / "run.sh").chmod(0o755)
    (folder / "key").chmod(0o600)
    (folder / "nothing in it").mkdir(mode=0o700)
    (folder / "link").symlink_to("unter/binary")
    (folder / "unter/up").symlink_to("../key")
    (folder / "unter/dangling").symlink_to("no-such-file")
    return folder


class PutContract(ContractFixtures):
    """`put`."""

    def test_put_bytes_become_a_file(self, runtime: Runtime, box: Container, place: str) -> None:
        """Bytes are written to the path that is named, over what was there."""
        for data in (bytes(range(256)), b"", b"again"):
            runtime.put(box, data, place)
            assert box.exec(["cat", place], check=True).stdout == data

    def test_put_a_file_becomes_the_target(self, box: Container, place: str, tmp_path: Path) -> None:
        """A target that does not exist is the file's new name."""
        (tmp_path / "source").write_bytes(b"data")
        box.put(tmp_path / "source", place)
        box.put(str(tmp_path / "source"), f"{place}-again")
        assert box.exec(["cat", place, f"{place}-again"], check=True).stdout == b"datadata"

    def test_put_a_file_goes_into_a_folder(self, box: Container, place: str, tmp_path: Path) -> None:
        """In a target that is a folder the file keeps its name."""
        (tmp_path / "grüße 世界.txt").write_bytes(b"data")
        box.exec(["mkdir", place], check=True)
        box.put(tmp_path / "grüße 世界.txt", place)
        assert box.exec(["cat", f"{place}/grüße 世界.txt"], check=True).stdout == b"data"

    def test_put_a_folder_becomes_the_target(self, box: Container, place: str, tmp_path: Path) -> None:
        """A target that does not exist is the folder's new name."""
        write_tree(tmp_path / "folder", {"a/b": "data"})
        box.put(tmp_path / "folder", place)
        assert box.exec(["cat", f"{place}/a/b"], check=True).stdout == b"data"

    def test_put_a_folder_goes_into_a_folder(self, box: Container, place: str, tmp_path: Path) -> None:
        """In a target that is a folder the folder keeps its name."""
        write_tree(tmp_path / "folder", {"a/b": "data"})
        box.exec(["mkdir", place], check=True)
        box.put(tmp_path / "folder", place)
        assert box.exec(["cat", f"{place}/folder/a/b"], check=True).stdout == b"data"

    def test_put_modes_and_links_are_kept_and_owners_are_not(self, box: Container, place: str, tmp_path: Path) -> None:
        """A folder arrives with the modes and symbolic links that it has, and belongs to root."""
        sample(tmp_path / "folder")
        os.chown(tmp_path / "folder/key", os.getuid(), os.getgid())
        box.put(tmp_path / "folder", place)
        modes = box.exec(["stat", "-c", "%a", f"{place}/run.sh", f"{place}/key", f"{place}/nothing in it"], check=True)
        assert modes.text.split() == ["755", "600", "700"]
        assert box.exec(["readlink", f"{place}/link"]).text == "unter/binary\n"
        assert box.exec(["readlink", f"{place}/unter/up"]).text == "../key\n"
        assert box.exec(["cat", f"{place}/link"], check=True).stdout == bytes(range(256))
        owners = box.exec(["stat", "-c", "%u:%g", place, f"{place}/key", f"{place}/unter/binary"], check=True)
        assert set(owners.text.split()) == {"0:0"}

    def test_put_a_missing_parent_is_not_made(self, box: Container, place: str, tmp_path: Path) -> None:
        """The folder that the target would be in has to exist, for whatever is copied."""
        write_tree(tmp_path, {"file": "", "folder/file": ""})
        for source in (b"data", tmp_path / "file", tmp_path / "folder"):
            with pytest.raises(NotFound, match=place):
                box.put(source, f"{place}/missing/target")
            assert box.exec(["test", "-e", place]).exit_code == 1

    def test_put_a_missing_source_is_refused(self, box: Container, place: str, tmp_path: Path) -> None:
        """A source that is not on this machine is named."""
        with pytest.raises((NotFound, InvalidArgument), match="no-such-file"):
            box.put(tmp_path / "no-such-file", place)
        assert box.exec(["test", "-e", place]).exit_code == 1

    def test_put_a_folder_does_not_replace_a_file(self, box: Container, place: str, tmp_path: Path) -> None:
        """What is there as a file stays as it is."""
        write_tree(tmp_path / "folder", {"a": "new"})
        box.put(b"old", place)
        with pytest.raises(PolyrunError):
            box.put(tmp_path / "folder", place)
        assert box.exec(["cat", place], check=True).stdout == b"old"

    def test_put_bytes_do_not_replace_a_folder(self, box: Container, place: str) -> None:
        """Bytes have no name to be called by in a folder, so a folder is no target for them."""
        box.exec(["mkdir", place], check=True)
        with pytest.raises(PolyrunError):
            box.put(b"data", place)
        assert box.exec(["test", "-d", place]).exit_code == 0

    def test_put_a_link_in_the_container_is_followed(self, box: Container, place: str) -> None:
        """A target below a symbolic link is where the link leads, in the container."""
        box.exec(sh(f"mkdir {place}; ln -s {place} {place}-link"), check=True)
        box.put(b"data", f"{place}-link/file")
        assert box.exec(["cat", f"{place}/file"], check=True).stdout == b"data"

    def test_put_a_container_need_not_run(self, runtime: Runtime, image: str, tmp_path: Path) -> None:
        """Copies go into created, paused and exited containers, and out of them."""
        with runtime.create(image, ["cat", "/srv/word"]) as container:
            container.put(b"one", "/srv/word")
            assert container.get("/srv/word", tmp_path / "created").read_bytes() == b"one"
            container.start()
            assert container.wait(timeout=20) == 0
            assert b"".join(chunk.data for chunk in container.logs()) == b"one"
            container.put(b"two", "/srv/word")
            assert container.get("/srv/word", tmp_path / "exited").read_bytes() == b"two"
        with runtime.spawn(image, IDLE) as container:
            paused(container)
            container.put(b"three", "/srv/word")
            assert container.get("/srv/word", tmp_path / "paused").read_bytes() == b"three"

    def test_put_a_missing_container_is_not_found(self, runtime: Runtime, name: str, tmp_path: Path) -> None:
        """The error is about the container, and not about a path."""
        with pytest.raises(ContainerNotFound, match=name):
            runtime.put(name, b"data", "/srv/file")
        with pytest.raises(ContainerNotFound, match=name):
            runtime.get(name, "/etc/passwd", tmp_path)


class GetContract(ContractFixtures):
    """`get`."""

    def test_get_a_file_becomes_the_target(self, runtime: Runtime, box: Container, place: str, tmp_path: Path) -> None:
        """A target that does not exist is the file's new name, and is returned."""
        box.put(bytes(range(256)), place)
        target = tmp_path / "grüße 世界"
        assert runtime.get(box, place, str(target)) == target
        assert target.read_bytes() == bytes(range(256))

    def test_get_a_file_goes_into_a_folder(self, box: Container, place: str, tmp_path: Path) -> None:
        """In a target that is a folder the file keeps its name."""
        box.put(b"data", place)
        target = box.get(place, tmp_path)
        assert target == tmp_path / place.rpartition("/")[2]
        assert target.read_bytes() == b"data"

    def test_get_a_file_replaces_a_file(self, box: Container, place: str, tmp_path: Path) -> None:
        """A target that is a file is overwritten."""
        box.put(b"new", place)
        (tmp_path / "target").write_bytes(b"old and long")
        assert box.get(place, tmp_path / "target").read_bytes() == b"new"

    def test_get_a_folder_becomes_the_target(self, box: Container, place: str, tmp_path: Path) -> None:
        """A target that does not exist is the folder's new name."""
        box.exec(sh(f"mkdir -p {place}/a; echo data > {place}/a/b"), check=True)
        assert box.get(place, tmp_path / "new") == tmp_path / "new"
        assert (tmp_path / "new/a/b").read_bytes() == b"data\n"

    def test_get_a_folder_goes_into_a_folder(self, box: Container, place: str, tmp_path: Path) -> None:
        """In a target that is a folder the folder keeps its name."""
        box.exec(sh(f"mkdir -p {place}/a; echo data > {place}/a/b"), check=True)
        target = box.get(place, tmp_path)
        assert target == tmp_path / place.rpartition("/")[2]
        assert (target / "a/b").read_bytes() == b"data\n"

    def test_get_a_folder_comes_back_as_it_went(self, box: Container, place: str, tmp_path: Path) -> None:
        """Contents, names, modes and links survive the way in and out."""
        source = sample(tmp_path / "source")
        box.put(source, place)
        assert listing(box.get(place, tmp_path / "back")) == listing(source)

    def test_get_a_file_with_two_names_comes_with_both(self, box: Container, place: str, tmp_path: Path) -> None:
        """Hard links within a folder are files with the same content."""
        box.exec(sh(f"mkdir {place}; echo data > {place}/a; ln {place}/a {place}/b"), check=True)
        target = box.get(place, tmp_path / "new")
        assert ((target / "a").read_bytes(), (target / "b").read_bytes()) == (b"data\n", b"data\n")

    def test_get_a_missing_source_is_not_found(self, box: Container, place: str, tmp_path: Path) -> None:
        """The error names the path and leaves nothing at the target."""
        with pytest.raises(NotFound, match=place) as caught:
            box.get(place, tmp_path / "target")
        assert not isinstance(caught.value, ContainerNotFound)
        assert not (tmp_path / "target").exists()

    def test_get_a_target_in_a_missing_folder_is_refused(self, box: Container, tmp_path: Path) -> None:
        """The folder that the target would be in has to exist on this machine."""
        with pytest.raises((NotFound, InvalidArgument), match="missing"):
            box.get("/etc/passwd", tmp_path / "missing/target")
        assert not (tmp_path / "missing").exists()

    def test_get_a_folder_does_not_replace_a_file(self, box: Container, place: str, tmp_path: Path) -> None:
        """What is there as a file stays as it is."""
        box.exec(["mkdir", place], check=True)
        (tmp_path / "target").write_bytes(b"old")
        with pytest.raises(PolyrunError):
            box.get(place, tmp_path / "target")
        assert (tmp_path / "target").read_bytes() == b"old"

    @pytest.mark.parametrize("link", ["/etc", "../../../../../../../../etc", "{outside}", "a/../../outside"])
    def test_get_a_link_that_leaves_the_target_is_refused(
        self, box: Container, place: str, tmp_path: Path, link: str
    ) -> None:
        """A container cannot place a link through which something outside would be read or written."""
        outside = tmp_path / "outside"
        outside.mkdir()
        aim = link.format(outside=outside)
        box.exec(sh(f"mkdir -p {place}/a; echo bad > {place}/z; ln -s '{aim}' {place}/evil"), check=True)
        with pytest.raises(PolyrunError, match="evil"):
            box.get(place, tmp_path / "target")
        assert list(outside.iterdir()) == []
        assert not (tmp_path / "target/evil").is_symlink()

    def test_get_a_link_at_the_target_is_not_written_through(self, box: Container, place: str, tmp_path: Path) -> None:
        """A link that is in the folder already does not lead what comes to another place."""
        outside = tmp_path / "outside"
        target = tmp_path / "target" / place.rpartition("/")[2]
        for folder in (outside, target):
            folder.mkdir(parents=True)
        (target / "sub").symlink_to(outside)
        box.exec(sh(f"mkdir -p {place}/sub; echo data > {place}/sub/file"), check=True)
        with pytest.raises(PolyrunError):
            box.get(place, tmp_path / "target")
        assert list(outside.iterdir()) == []
