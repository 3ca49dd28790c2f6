"""Images: building, listing, tagging, removing, pulling."""

from __future__ import annotations

import os
import threading
import time
from typing import TYPE_CHECKING

import pytest
from attr import evolve

from polyrun import (
    BuildFailed,
    Conflict,
    DeadlineExceeded,
    ImageNotFound,
    InUse,
    InvalidArgument,
    PolyrunError,
    Progress,
    PullFailed,
    Unsupported,
)
from polyrun.testing._contract._base import IDLE, ContractFixtures, sh, unique, write_tree

if TYPE_CHECKING:
    from pathlib import Path

    from polyrun import Image, Runtime

SECRET = "s3cr3t-of-the-build"  # noqa: S105  # what no message may show


def tagged(runtime: Runtime, reference: str) -> Image | None:
    """Return the image that has *reference*, in its short form."""
    return next((image for image in runtime.images() if reference in image.tags), None)


def timeless(image: Image | None) -> Image | None:
    """Return *image* without its time, which a list need not tell to the microsecond."""
    return image and evolve(image, created=None)


class BuildContract(ContractFixtures):
    """`build`."""

    def test_a_build_returns_the_image_under_its_real_id(
        self, runtime: Runtime, image: str, tag: str, tmp_path: Path
    ) -> None:
        """The id that a build returns is the one by which the engine knows the image."""
        write_tree(tmp_path, {"Dockerfile": f"FROM {image}\nCMD echo built\n"})
        built = runtime.build(tmp_path, tag=tag)
        assert built.id.startswith("sha256:")
        assert len(built.id) == len("sha256:") + 64
        assert timeless(tagged(runtime, f"{tag}:latest")) == timeless(built)
        assert runtime.run(built.id).text == "built\n"
        assert runtime.run(built).text == "built\n"
        assert runtime.run(tag).text == "built\n"

    def test_a_build_without_a_tag_is_found_by_its_id(self, runtime: Runtime, image: str, tmp_path: Path) -> None:
        """An image needs no name: it has no tags, is listed, and can be removed by its id."""
        write_tree(tmp_path, {"Dockerfile": f"FROM {image}\nLABEL unnamed={unique()}\n"})
        built = runtime.build(str(tmp_path))
        assert built.tags == ()
        assert timeless(built) in [timeless(found) for found in runtime.images()]
        runtime.rmi(built)
        assert built.id not in {other.id for other in runtime.images()}

    def test_an_image_keeps_the_labels_of_its_build(
        self, runtime: Runtime, image: str, tag: str, tmp_path: Path
    ) -> None:
        """Labels of the Dockerfile and of the call are on the image, whatever they hold."""
        write_tree(tmp_path, {"Dockerfile": f"FROM {image}\nLABEL inside=yes\n"})
        built = runtime.build(tmp_path, tag=tag, labels={"outside": "größer = älter, ja"})
        assert built.labels["inside"] == "yes"
        assert built.labels["outside"] == "größer = älter, ja"

    def test_a_build_takes_all_of_its_context(self, runtime: Runtime, image: str, tag: str, tmp_path: Path) -> None:
        """Names in any script, modes, empty folders and symbolic links arrive as they are."""
        write_tree(tmp_path, {"Dockerfile": f"FROM {image}\nCOPY . /all\n", "ordner/grüße 世界.txt": "hallo"})
        (tmp_path / "tool").write_bytes(b"\x00\xff")
        (tmp_path / "tool").chmod(0o750)
        (tmp_path / "empty").mkdir()
        (tmp_path / "link").symlink_to("tool")
        runtime.build(tmp_path, tag=tag)
        assert runtime.run(tag, ["cat", "/all/ordner/grüße 世界.txt"]).text == "hallo"
        assert runtime.run(tag, ["cat", "/all/link"]).stdout == b"\x00\xff"
        assert runtime.run(tag, ["readlink", "/all/link"]).text == "tool\n"
        assert runtime.run(tag, ["stat", "-c", "%a", "/all/tool"]).text == "750\n"
        assert runtime.run(tag, ["test", "-d", "/all/empty"]).exit_code == 0

    def test_a_build_honours_the_ignore_file(self, runtime: Runtime, image: str, tag: str, tmp_path: Path) -> None:
        """Docker's rules say what stays at home; the Dockerfile itself may be among it."""
        write_tree(
            tmp_path,
            {
                "Dockerfile": f"FROM {image}\nCOPY . /all\n",
                ".dockerignore": "# a comment\n/dist/\n**/*.pyc\n!keep/this.pyc\nnotes?.md\n.dockerignore\nDockerfile",
                "dist/a": "",
                "src/dist/b": "",
                "src/c.pyc": "",
                "src/c.py": "",
                "keep/this.pyc": "",
                "keep/that.pyc": "",
                "notes1.md": "",
                "notes.md": "",
            },
        )
        runtime.build(tmp_path, tag=tag)
        found = runtime.run(tag, ["find", "/all", "-type", "f"]).text.split()
        assert sorted(found) == ["/all/keep/this.pyc", "/all/notes.md", "/all/src/c.py", "/all/src/dist/b"]

    def test_a_build_does_not_open_what_is_ignored(
        self, runtime: Runtime, image: str, tag: str, tmp_path: Path
    ) -> None:
        """A file that stays at home is not read: a pipe, which would block, can lie there."""
        write_tree(tmp_path, {"Dockerfile": f"FROM {image}\n", ".dockerignore": "secrets\n", "secrets/key": "private"})
        key = tmp_path / "secrets/key"
        os.utime(key, (0, 0))
        os.utime(key.parent, (0, 0))
        runtime.build(tmp_path, tag=tag)
        assert (key.stat().st_atime, key.parent.stat().st_atime) == (0, 0)

    def test_build_arguments_are_given(self, runtime: Runtime, image: str, tag: str, tmp_path: Path) -> None:
        """An argument replaces the default of its ARG."""
        write_tree(
            tmp_path,
            {"Dockerfile": f'FROM {image}\nARG word=default\nARG other=default\nRUN echo "$word $other" > /word\n'},
        )
        runtime.build(tmp_path, tag=tag, args={"word": "grün & blau"})
        assert runtime.run(tag, ["cat", "/word"]).text == "grün & blau default\n"

    def test_the_values_of_build_arguments_are_in_no_error(
        self, runtime: Runtime, image: str, tag: str, tmp_path: Path
    ) -> None:
        """A failed build does not tell what it was given, though its step prints it."""
        write_tree(tmp_path, {"Dockerfile": f'FROM {image}\nARG token\nRUN echo "$token" && exit 3\n'})
        with pytest.raises(BuildFailed) as caught:
            runtime.build(tmp_path, tag=tag, args={"token": SECRET})
        error = caught.value
        assert SECRET not in f"{error} {error!r} {error.output} {error.step} {error.__cause__}"

    def test_a_build_stops_at_its_target(self, runtime: Runtime, image: str, tag: str, tmp_path: Path) -> None:
        """The stage that is named is the result; what follows is not built."""
        write_tree(
            tmp_path,
            {
                "Dockerfile": f"FROM {image} AS first\nRUN echo one > /stage\n"
                "FROM first AS second\nRUN echo two > /stage\n"
                f"FROM {image}\nCOPY --from=second /stage /stage\nRUN exit 1\n"
            },
        )
        runtime.build(tmp_path, tag=tag, target="second")
        assert runtime.run(tag, ["cat", "/stage"]).text == "two\n"

    def test_a_second_build_comes_from_the_cache(self, runtime: Runtime, image: str, tmp_path: Path) -> None:
        """The same context is the same image, unless the cache is refused."""
        write_tree(tmp_path, {"Dockerfile": f"FROM {image}\nRUN echo {unique()} > /word\n"})
        first = runtime.build(tmp_path)
        second = runtime.build(tmp_path)
        third = runtime.build(tmp_path, cache=False)
        for built in {first.id, third.id}:
            runtime.rmi(built, force=True)
        assert second.id == first.id
        assert third.id != first.id

    def test_a_failing_step_is_told_with_its_last_output(
        self, runtime: Runtime, image: str, tag: str, tmp_path: Path
    ) -> None:
        """A failed build carries the instruction that failed and what it wrote; no image has the tag."""
        write_tree(
            tmp_path,
            {"Dockerfile": f"FROM {image}\nRUN echo fine\nRUN echo famous last words && echo alas >&2 && exit 42\n"},
        )
        with pytest.raises(BuildFailed) as caught:
            runtime.build(tmp_path, tag=tag)
        error = caught.value
        assert "exit 42" in (error.step or "")
        assert "famous last words" in error.output
        assert "alas" in error.output
        assert "fine" not in error.output
        assert "famous last words" in str(error)
        assert "42" in str(error)
        assert tagged(runtime, f"{tag}:latest") is None

    def test_a_failing_step_leaves_no_container(self, runtime: Runtime, image: str, tmp_path: Path) -> None:
        """The container of the step that failed is gone."""
        mark = unique()
        write_tree(tmp_path, {"Dockerfile": f"FROM {image}\nLABEL mark={mark}\nRUN exit 1\n"})
        with pytest.raises(BuildFailed):
            runtime.build(tmp_path)
        assert runtime.ps(all=True, labels={"mark": mark}) == ()

    def test_a_dockerfile_that_cannot_be_read_is_a_failed_build(
        self, runtime: Runtime, image: str, tmp_path: Path
    ) -> None:
        """An unknown instruction is told by its name."""
        write_tree(tmp_path, {"Dockerfile": f"FROM {image}\nRUM echo hello\n"})
        with pytest.raises(BuildFailed, match=r"(?i)rum"):
            runtime.build(tmp_path)

    def test_a_base_that_is_nowhere_is_a_failed_build(self, runtime: Runtime, tmp_path: Path) -> None:
        """A build from an image that cannot be had says which one."""
        write_tree(tmp_path, {"Dockerfile": "FROM localhost:1/nowhere:7\n"})
        with pytest.raises(BuildFailed, match="nowhere"):
            runtime.build(tmp_path)

    def test_a_missing_dockerfile_is_refused(self, runtime: Runtime, tmp_path: Path) -> None:
        """Without a Dockerfile nothing is sent; the text names what was looked for."""
        with pytest.raises(InvalidArgument, match="Dockerfile"):
            runtime.build(tmp_path)
        with pytest.raises(InvalidArgument, match="Other"):
            runtime.build(tmp_path, dockerfile="Other")

    def test_a_context_that_is_no_folder_is_refused(self, runtime: Runtime, tmp_path: Path) -> None:
        """A context has to be a folder that exists."""
        (tmp_path / "file").touch()
        for context in (tmp_path / "missing", tmp_path / "file"):
            with pytest.raises(InvalidArgument, match=context.name):
                runtime.build(context)

    def test_a_dockerfile_can_have_another_name(self, runtime: Runtime, image: str, tag: str, tmp_path: Path) -> None:
        """A Dockerfile is named by its path below the context."""
        write_tree(
            tmp_path, {"Dockerfile": f"FROM {image}\nCMD echo no\n", "docker/web": f"FROM {image}\nCMD echo web\n"}
        )
        runtime.build(tmp_path, tag=tag, dockerfile="docker/web")
        assert runtime.run(tag).text == "web\n"

    def test_a_dockerfile_can_lie_outside_of_the_context(
        self, runtime: Runtime, image: str, tag: str, tmp_path: Path
    ) -> None:
        """A Dockerfile elsewhere is used in place of the context's, and does not get into it."""
        write_tree(
            tmp_path,
            {
                "context/Dockerfile": f"FROM {image}\nCMD echo no\n",
                "context/data": "",
                "elsewhere/mine": f"FROM {image}\nCOPY . /all\nCMD find /all -type f\n",
            },
        )
        runtime.build(tmp_path / "context", tag=tag, dockerfile=tmp_path / "elsewhere/mine")
        assert sorted(runtime.run(tag).text.split()) == ["/all/Dockerfile", "/all/data"]

    def test_a_containerfile_is_found(self, runtime: Runtime, image: str, tag: str, tmp_path: Path) -> None:
        """``Containerfile`` is used where there is no ``Dockerfile``, and only there."""
        write_tree(tmp_path, {"Containerfile": f"FROM {image}\nCMD echo container\n"})
        runtime.build(tmp_path, tag=tag)
        assert runtime.run(tag).text == "container\n"
        write_tree(tmp_path, {"Dockerfile": f"FROM {image}\nCMD echo docker\n"})
        runtime.build(tmp_path, tag=tag)
        assert runtime.run(tag).text == "docker\n"

    def test_a_build_tells_its_progress(self, runtime: Runtime, image: str, tag: str, tmp_path: Path) -> None:
        """Every instruction and what it writes comes as an event, in order, in the calling thread."""
        write_tree(tmp_path, {"Dockerfile": f"FROM {image}\nRUN echo {unique()} from inside\nCMD true\n"})
        events: list[Progress] = []
        threads: set[int] = set()

        def on_event(event: Progress) -> None:
            events.append(event)
            threads.add(threading.get_ident())

        runtime.build(tmp_path, tag=tag, on_event=on_event)
        steps = [(event.step, event.steps) for event in events if event.kind == "step"]
        assert steps == [(1, 3), (2, 3), (3, 3)]
        assert [event for event in events if event.kind == "output" and event.text.endswith("from inside")]
        assert threads == {threading.get_ident()}

    def test_an_error_of_the_listener_ends_the_build(
        self, runtime: Runtime, image: str, tag: str, tmp_path: Path
    ) -> None:
        """What the caller's function raises reaches the caller, and the build is cancelled."""
        write_tree(tmp_path, {"Dockerfile": f"FROM {image}\nRUN echo {unique()}; sleep 5\n"})

        def on_event(event: Progress) -> None:
            if event.step == 2:
                raise LookupError("mine")

        with pytest.raises(LookupError, match="mine"):
            runtime.build(tmp_path, tag=tag, on_event=on_event)
        assert tagged(runtime, f"{tag}:latest") is None

    def test_a_build_ends_when_its_time_is_up(self, runtime: Runtime, image: str, tag: str, tmp_path: Path) -> None:
        """A build that takes longer than it may is cancelled."""
        write_tree(tmp_path, {"Dockerfile": f"FROM {image}\nRUN echo {unique()}; sleep 60\n"})
        begin = time.monotonic()
        with pytest.raises(DeadlineExceeded):
            runtime.build(tmp_path, tag=tag, timeout=2)
        assert time.monotonic() - begin < 15
        assert tagged(runtime, f"{tag}:latest") is None

    def test_a_tag_that_is_no_reference_is_refused(self, runtime: Runtime, tmp_path: Path) -> None:
        """A bad tag is an error of the caller's, before anything is sent."""
        write_tree(tmp_path, {"Dockerfile": "FROM scratch\n"})
        for bad in ("Upper", "two words", "ümlaut", "a:b:c", ""):
            with pytest.raises(InvalidArgument):
                runtime.build(tmp_path, tag=bad)

    def test_another_platform_is_never_a_silent_surprise(
        self, runtime: Runtime, image: str, tag: str, tmp_path: Path
    ) -> None:
        """A build for a platform that the base does not have fails, and leaves no image."""
        write_tree(tmp_path, {"Dockerfile": f"FROM {image}\nRUN true\n"})
        with pytest.raises((BuildFailed, Unsupported)):
            runtime.build(tmp_path, tag=tag, platform=other_platform(runtime))
        assert tagged(runtime, f"{tag}:latest") is None


def other_platform(runtime: Runtime) -> str:
    """Return a platform that is not the engine's."""
    return "linux/amd64" if runtime.version().arch == "arm64" else "linux/arm64"


class ImageContract(ContractFixtures):
    """`images`, `tag`, `rmi` and `pull`."""

    def test_images_are_listed_newest_first(self, runtime: Runtime, image: str, tag: str, tmp_path: Path) -> None:
        """The list has every image, with its size and its time in UTC."""
        write_tree(tmp_path, {"Dockerfile": f"FROM {image}\nRUN echo {unique()} > /word\n"})
        built = runtime.build(tmp_path, tag=tag)
        images = runtime.images()
        assert images.unreachable == ()
        times = [found.created for found in images if found.created]
        assert times == sorted(times, reverse=True)
        assert built.id in {found.id for found in images}
        base = tagged(runtime, f"{image}:latest")
        assert base is not None
        assert base.size > 100_000
        assert base.created is not None
        assert base.created.utcoffset() is not None

    def test_secrets_of_a_build_are_kept_or_refused(self, runtime: Runtime, image: str, tmp_path: Path) -> None:
        """A secret is never left out in silence."""
        write_tree(tmp_path, {"Dockerfile": f"FROM {image}\n"})
        if not runtime.capabilities.build_secrets:
            with pytest.raises(Unsupported) as refused:
                runtime.build(tmp_path, secrets={"key": b"value"})
            assert refused.value.capability == "build_secrets"

    def test_tags_are_listed_in_their_short_form(self, runtime: Runtime, image: str) -> None:
        """An image goes by the name that people give it, with a registry only where it has one."""
        short, long = f"{unique('contract')}:7", f"registry.example:5000/{unique('contract')}:7"
        runtime.tag(image, short)
        runtime.tag(image, long)
        found = tagged(runtime, f"{image}:latest")
        runtime.rmi(short)
        runtime.rmi(long)
        assert found is not None
        assert found.tags == tuple(sorted([f"{image}:latest", short, long]))

    def test_images_are_chosen_by_their_labels(self, runtime: Runtime, image: str, tag: str, tmp_path: Path) -> None:
        """Only images that have all of the labels are listed."""
        mark = unique()
        write_tree(tmp_path, {"Dockerfile": f"FROM {image}\n"})
        built = runtime.build(tmp_path, tag=tag, labels={"mark": mark, "colour": "blue"})
        for labels in ({"mark": mark}, {"mark": mark, "colour": "blue"}):
            assert [found.id for found in runtime.images(labels=labels)] == [built.id]
        assert runtime.images(labels={"mark": mark, "colour": "red"}) == ()

    def test_a_tag_is_taken_from_the_image_that_had_it(
        self, runtime: Runtime, image: str, tag: str, tmp_path: Path
    ) -> None:
        """A reference leads to one image: the one that was given it last."""
        write_tree(tmp_path, {"Dockerfile": f"FROM {image}\nLABEL a={unique()}\n"})
        first = runtime.build(tmp_path, tag=tag)
        runtime.tag(image, tag)
        now = tagged(runtime, f"{tag}:latest")
        runtime.rmi(first)
        assert now is not None
        assert now.id != first.id

    def test_an_image_is_tagged_by_its_id_too(self, runtime: Runtime, image: str, tag: str) -> None:
        """An `Image`, its id and the beginning of its id name it as well as a reference does."""
        base = tagged(runtime, f"{image}:latest")
        assert base is not None
        for named in (base, base.id, base.id.removeprefix("sha256:"), base.id.removeprefix("sha256:")[:12]):
            runtime.tag(named, tag)
            again = tagged(runtime, f"{tag}:latest")
            assert again is not None
            assert again.id == base.id
            runtime.rmi(tag)

    def test_a_missing_image_cannot_be_tagged_or_removed(self, runtime: Runtime, tag: str) -> None:
        """An image that does not exist is an `ImageNotFound`, which names it."""
        with pytest.raises(ImageNotFound, match=tag):
            runtime.tag(tag, "contract/any")
        with pytest.raises(ImageNotFound, match=tag):
            runtime.rmi(tag)
        with pytest.raises(ImageNotFound):
            runtime.rmi("sha256:" + 64 * "0")

    def test_a_bad_reference_is_refused(self, runtime: Runtime, image: str) -> None:
        """A reference that cannot be one is an error of the caller's."""
        for bad in ("Upper/case", "", "a b"):
            with pytest.raises(InvalidArgument):
                runtime.tag(image, bad)
            with pytest.raises(InvalidArgument):
                runtime.pull(bad)

    def test_removing_one_reference_of_several_keeps_the_image(self, runtime: Runtime, image: str, tag: str) -> None:
        """The image itself goes with its last reference only."""
        runtime.tag(image, tag)
        runtime.rmi(tag)
        assert tagged(runtime, f"{tag}:latest") is None
        assert tagged(runtime, f"{image}:latest") is not None

    def test_removing_the_last_reference_removes_the_image(
        self, runtime: Runtime, image: str, tag: str, tmp_path: Path
    ) -> None:
        """Then the image is not found any more, by no name."""
        write_tree(tmp_path, {"Dockerfile": f"FROM {image}\nLABEL a={unique()}\n"})
        built = runtime.build(tmp_path, tag=tag)
        runtime.rmi(tag)
        with pytest.raises(ImageNotFound):
            runtime.rmi(built)
        with pytest.raises(ImageNotFound):
            runtime.rmi(tag)

    def test_an_image_with_several_references_is_removed_by_force(
        self, runtime: Runtime, image: str, tag: str, tmp_path: Path
    ) -> None:
        """By its id, an image with two references is refused, and removed by force."""
        write_tree(tmp_path, {"Dockerfile": f"FROM {image}\nLABEL a={unique()}\n"})
        built = runtime.build(tmp_path, tag=tag)
        runtime.tag(built, f"{tag}:second")
        with pytest.raises(Conflict):
            runtime.rmi(built)
        runtime.rmi(built, force=True)
        assert tagged(runtime, f"{tag}:latest") is None
        assert tagged(runtime, f"{tag}:second") is None

    def test_an_image_in_use_is_not_removed(self, runtime: Runtime, image: str, tag: str, tmp_path: Path) -> None:
        """A container keeps its image, whether it runs or not, and also from force; no container is removed."""
        write_tree(tmp_path, {"Dockerfile": f"FROM {image}\nLABEL a={unique()}\n"})
        runtime.build(tmp_path, tag=tag)
        with runtime.create(tag, IDLE) as container:
            for state in ("created", "running"):
                for force in (False, True):
                    with pytest.raises(InUse):
                        runtime.rmi(tag, force=force)
                    assert tagged(runtime, f"{tag}:latest")
                assert container.inspect().state == state
                container.start()

    def test_a_reference_too_many_can_go_while_a_container_uses_the_image(
        self, runtime: Runtime, image: str, tag: str, tmp_path: Path
    ) -> None:
        """The container keeps the image; by its id it is refused also by force, and keeps its references then."""
        write_tree(tmp_path, {"Dockerfile": f"FROM {image}\nLABEL a={unique()}\n"})
        built = runtime.build(tmp_path, tag=tag)
        runtime.tag(built, f"{tag}:second")
        with runtime.create(tag, IDLE) as container:
            with pytest.raises(InUse):
                runtime.rmi(built, force=True)
            now = tagged(runtime, f"{tag}:latest")
            assert now is not None
            assert now.tags == (f"{tag}:latest", f"{tag}:second")
            runtime.rmi(f"{tag}:second")
            assert tagged(runtime, f"{tag}:second") is None
            assert container.inspect().state == "created"

    def test_a_pull_from_nowhere_fails_soon(self, runtime: Runtime) -> None:
        """A registry that does not answer is a `PullFailed` that names what was asked for."""
        begin = time.monotonic()
        with pytest.raises(PullFailed, match="localhost:1/nothing"):
            runtime.pull("localhost:1/nothing:7")
        assert time.monotonic() - begin < 30

    def test_a_local_image_can_be_used_in_every_form_of_its_name(self, runtime: Runtime, image: str) -> None:
        """A tag may be left out, and an id may be short."""
        base = tagged(runtime, f"{image}:latest")
        assert base is not None
        for named in (image, f"{image}:latest", base.id, base.id.removeprefix("sha256:")[:12]):
            assert runtime.run(named, sh("exit 3"), check=False).exit_code == 3

    def test_an_image_that_was_asked_for_by_an_id_is_shown_so(self, runtime: Runtime, image: str) -> None:
        """A container shows its image as it was asked for."""
        base = tagged(runtime, f"{image}:latest")
        assert base is not None
        with runtime.create(base.id) as container:
            assert container.image == base.id
        with runtime.create(image) as container:
            assert container.image == image
            assert runtime.ps(all=True, name=container.name)[0].image == image

    def test_every_error_of_an_image_is_an_error_of_ours(self, runtime: Runtime) -> None:
        """No other exception comes out of a pull, whatever the name is."""
        with pytest.raises(PolyrunError):
            runtime.pull("localhost:1/x@sha256:" + 64 * "a")
