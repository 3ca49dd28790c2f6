"""Running a container to its end: exit codes, output, input, deadlines, and what is left behind."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

import pytest

from polyrun import (
    CommandFailed,
    Conflict,
    ContainerNotFound,
    ContainerSpec,
    DeadlineExceeded,
    ImageNotFound,
    InvalidArgument,
    StartFailed,
    StartFailure,
)
from polyrun.testing._contract._base import IDLE, MEGABYTE, ContractFixtures, ctrl_c, everything, sh, unique, write_tree

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from polyrun import Runtime

SECRET = "s3cr3t-of-the-run"  # noqa: S105  # what no message may show


class RunContract(ContractFixtures):
    """`run` and `spawn`."""

    @pytest.fixture(scope="class")
    @classmethod
    def with_entrypoint(cls, runtime: Runtime, image: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
        """Build an image that has an entrypoint and a command."""
        reference = unique("contract/entrypoint")
        folder = tmp_path_factory.mktemp("entrypoint")
        write_tree(folder, {"Dockerfile": f'FROM {image}\nENTRYPOINT ["echo", "entry"]\nCMD ["command"]\n'})
        runtime.build(folder, tag=reference)
        yield reference
        runtime.rmi(reference, force=True)

    @pytest.mark.parametrize("code", [0, 1, 3, 125, 126, 127, 255])
    def test_run_returns_the_exit_code_of_the_command(self, runtime: Runtime, image: str, code: int) -> None:
        """Every exit code comes through, also those that shells use for failures of their own."""
        assert runtime.run(image, sh(f"exit {code}"), check=False).exit_code == code

    def test_run_keeps_the_two_outputs_apart_as_bytes(self, runtime: Runtime, image: str) -> None:
        """Standard output and error are separate, and no byte is changed."""
        result = runtime.run(image, sh(r"printf 'out\377\000\r\n'; printf '\001err\376' >&2"))
        assert result.stdout == b"out\xff\x00\r\n"
        assert result.stderr == b"\x01err\xfe"
        assert result.text == "out\ufffd\x00\r\n"

    def test_a_megabyte_of_each_output_is_complete(self, runtime: Runtime, image: str) -> None:
        """Output is neither cut nor mixed up, however much there is."""
        result = runtime.run(image, sh(f"head -c {MEGABYTE} /dev/zero; seq 1 100000 >&2"))
        assert result.stdout == bytes(MEGABYTE)
        assert result.stderr == b"".join(b"%d\n" % number for number in range(1, 100001))

    def test_a_command_that_fails_is_an_error_that_carries_the_result(self, runtime: Runtime, image: str) -> None:
        """The error has the exit code, the output and the last lines in its text."""
        with pytest.raises(CommandFailed) as caught:
            runtime.run(image, sh("echo fine; echo first >&2; echo famous last words >&2; exit 3"))
        error = caught.value
        assert error.result is not None
        assert error.result.exit_code == 3
        assert error.result.stdout == b"fine\n"
        assert error.result.stderr == b"first\nfamous last words\n"
        assert "famous last words" in str(error)
        assert "3" in str(error)

    def test_nothing_is_left_of_a_run(self, runtime: Runtime, image: str, name: str) -> None:
        """The container is gone when its run is over, whether its command failed or not."""
        for code in (0, 3):
            result = runtime.run(image, sh(f"exit {code}"), name=name, check=False)
            with pytest.raises(ContainerNotFound):
                runtime.inspect(result.container)
            assert runtime.ps(all=True, name=name) == ()

    def test_a_run_can_leave_its_container(self, runtime: Runtime, image: str, name: str) -> None:
        """With ``remove=False`` the container stays, with its exit code and its logs."""
        result = runtime.run(image, sh("echo hello; exit 3"), name=name, check=False, remove=False)
        with runtime.inspect(name) as container:
            assert container.id == result.container
            assert container.state == "exited"
            assert container.exit_code == 3
            assert everything(runtime, container) == (b"hello\n", b"")

    def test_run_gives_input_and_ends_it(self, runtime: Runtime, image: str) -> None:
        """A megabyte of any bytes goes in, and comes out of ``cat``, which then ends."""
        data = os.urandom(MEGABYTE)
        assert runtime.run(image, ["cat"], input=data).stdout == data

    def test_run_gives_no_input_unless_asked_to(self, runtime: Runtime, image: str) -> None:
        """A command that reads gets the end at once, with no input as with an empty one."""
        assert runtime.run(image, ["cat"], timeout=20).stdout == b""
        assert runtime.run(image, ["cat"], input=b"", timeout=20).stdout == b""

    def test_run_does_not_mind_input_that_is_not_read(self, runtime: Runtime, image: str) -> None:
        """A command that ends without reading is no error, however much it was to be given."""
        result = runtime.run(image, sh("echo done; exit 4"), input=bytes(4 * MEGABYTE), check=False)
        assert result.exit_code == 4
        assert result.stdout == b"done\n" or (result.stdout == b"" and not runtime.capabilities.unread_input)

    def test_a_run_is_killed_when_its_time_is_up(self, runtime: Runtime, image: str, name: str) -> None:
        """The deadline ends the work as well as the wait, and leaves nothing."""
        begin = time.monotonic()
        with pytest.raises(DeadlineExceeded):
            runtime.run(image, sh("while true; do echo busy; sleep 0.05; done"), name=name, timeout=1)
        assert time.monotonic() - begin < 10
        assert runtime.ps(all=True, name=name) == ()

    def test_a_run_that_is_kept_is_killed_as_well(self, runtime: Runtime, image: str, name: str) -> None:
        """With ``remove=False`` the killed container stays."""
        with pytest.raises(DeadlineExceeded):
            runtime.run(image, IDLE, name=name, timeout=0.5, remove=False)
        with runtime.inspect(name) as container:
            assert container.state == "exited"
            assert container.exit_code == 137

    def test_a_run_that_ends_in_time_is_not_touched_by_its_deadline(self, runtime: Runtime, image: str) -> None:
        """With a deadline that is not reached the result is the same as without."""
        result = runtime.run(image, sh("cat; echo err >&2; exit 5"), input=b"in", timeout=60, check=False)
        assert (result.exit_code, result.stdout, result.stderr) == (5, b"in", b"err\n")

    def test_ctrl_c_removes_what_a_run_made(self, runtime: Runtime, image: str, name: str) -> None:
        """An interrupted run kills and removes its container, and lets the interrupt through."""
        with ctrl_c(when=lambda: runtime.ps(name=name)):
            runtime.run(image, IDLE, name=name)
        assert runtime.ps(all=True, name=name) == ()

    @pytest.mark.parametrize(
        ("command", "user", "workdir", "reason", "code"),
        [
            (["no-such-command"], None, None, "command_not_found", 127),
            (["/no/such/command"], None, None, "command_not_found", 127),
            (["/etc/passwd"], None, None, "not_executable", 126),
            (["/etc"], None, None, "not_executable", 126),
            (["true"], "nobody-i-know", None, "bad_user", 126),
            (["true"], None, "/etc/passwd", "bad_workdir", 126),
        ],
        ids=["missing", "missing-path", "not-executable", "folder", "user", "workdir"],
    )
    def test_a_start_that_fails_says_why_and_leaves_nothing(
        self,
        runtime: Runtime,
        image: str,
        name: str,
        command: Sequence[str],
        user: str | None,
        workdir: str | None,
        reason: StartFailure,
        code: int,
    ) -> None:
        """The reason and the exit code are those of a shell; neither `run` nor `spawn` leaves the container."""
        for verb in (runtime.run, runtime.spawn):
            with pytest.raises(StartFailed) as caught:
                verb(image, command, name=name, user=user, workdir=workdir)
            assert (caught.value.reason, caught.value.exit_code) == (reason, code)
            assert runtime.ps(all=True, name=name) == ()

    def test_environment_values_are_in_no_error(self, runtime: Runtime, image: str, name: str) -> None:
        """Whatever goes wrong, no text and no repr tells the value of a variable."""
        env = {"TOKEN": SECRET}
        for command, error, timeout in (
            (["no-such-command"], StartFailed, None),
            (sh("exit 3"), CommandFailed, None),
            (IDLE, DeadlineExceeded, 0.3),
        ):
            with pytest.raises(error) as caught:
                runtime.run(image, command, env=env, timeout=timeout)
            assert SECRET not in f"{caught.value} {caught.value!r} {caught.value.__dict__}"
        with pytest.raises(ImageNotFound) as missing:
            runtime.run("contract/missing", env=env, name=name)
        assert SECRET not in f"{missing.value} {missing.value!r}"
        spec = ContainerSpec(image=image, env=env)
        assert SECRET not in f"{spec} {spec!r}"
        with runtime.create(spec) as container:
            assert SECRET not in f"{container} {container!r}"

    def test_run_with_a_terminal_has_one_stream(self, runtime: Runtime, image: str) -> None:
        """With a terminal all output is standard output, with the line ends of a terminal."""
        result = runtime.run(image, sh("test -t 1 && echo terminal; echo error >&2"), tty=True)
        assert result.stdout == b"terminal\r\nerror\r\n"
        assert result.stderr == b""

    def test_input_of_a_terminal_ends_within_a_line_too(self, runtime: Runtime, image: str) -> None:
        """The end of the input is the end of it, whether or not its last line has one."""
        for data in (b"whole\n", b"half"):
            result = runtime.run(image, ["cat"], input=data, tty=True, timeout=30)
            assert result.stdout.startswith(data.strip())

    def test_open_input_that_nobody_writes_to_has_ended(self, runtime: Runtime, image: str) -> None:
        """A run is over when its command is, also with ``stdin=True`` and nothing to give it."""
        assert runtime.run(image, ["cat"], stdin=True, timeout=30).stdout == b""

    def test_text_is_no_input(self, runtime: Runtime, image: str) -> None:
        """Only the caller knows how it is encoded."""
        with pytest.raises(InvalidArgument, match="encode"):
            runtime.run(image, ["cat"], input="text")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]

    def test_what_a_command_says_of_its_environment_is_not_repeated(self, runtime: Runtime, image: str) -> None:
        """The last lines in the error have no value of the environment, and are no longer than can be read."""
        script = "echo $TOKEN >&2; head -c 100000 /dev/zero | tr '\\0' x >&2; exit 1"
        with pytest.raises(CommandFailed) as caught:
            runtime.run(image, sh(script), env={"TOKEN": SECRET})
        assert SECRET not in str(caught.value)
        assert len(str(caught.value)) < 2000

    def test_without_a_command_the_image_decides(self, runtime: Runtime, image: str, with_entrypoint: str) -> None:
        """The image's entrypoint and command run, together."""
        assert runtime.run(image).text == "default\n"
        assert runtime.run(with_entrypoint).text == "entry command\n"

    def test_a_command_replaces_that_of_the_image(self, runtime: Runtime, with_entrypoint: str) -> None:
        """The command is given to the image's entrypoint."""
        assert runtime.run(with_entrypoint, ["mine"]).text == "entry mine\n"

    def test_an_entrypoint_replaces_that_of_the_image(self, runtime: Runtime, with_entrypoint: str) -> None:
        """The image's command goes with its entrypoint, since they belong together."""
        assert runtime.run(with_entrypoint, entrypoint=["echo", "mine"]).text == "mine\n"
        assert runtime.run(with_entrypoint, ["too"], entrypoint=["echo", "mine"]).text == "mine too\n"

    def test_an_empty_entrypoint_clears_that_of_the_image(self, runtime: Runtime, with_entrypoint: str) -> None:
        """Only the command runs then."""
        assert runtime.run(with_entrypoint, ["echo", "only"], entrypoint=()).text == "only\n"

    def test_an_image_needs_no_shell(self, runtime: Runtime, shell_less: str) -> None:
        """Nothing of the image is used but the command."""
        result = runtime.run(shell_less, ["/busybox", "cat"], input=b"hello", timeout=60)
        assert result.stdout == b"hello"

    def test_an_image_without_a_command_needs_one(self, runtime: Runtime, shell_less: str, name: str) -> None:
        """There is nothing to run then, which is told before anything is made."""
        for verb in (runtime.create, runtime.spawn, runtime.run):
            with pytest.raises(InvalidArgument):
                verb(shell_less, name=name)
            assert runtime.ps(all=True, name=name) == ()

    def test_a_specification_says_the_same_as_options(self, runtime: Runtime, image: str) -> None:
        """A `ContainerSpec` can be given in place of an image; options and command win over its own."""
        spec = ContainerSpec(image=image, command=sh('echo "$A $B"'), env={"A": "spec", "B": "spec"})
        assert runtime.run(spec).text == "spec spec\n"
        assert runtime.run(spec, env={"A": "option"}).text == "option \n"
        assert runtime.run(spec, ["echo", "other"]).text == "other\n"

    def test_run_takes_a_sequence_of_strings(self, runtime: Runtime, image: str) -> None:
        """One string is refused, with the two ways to write it."""
        with pytest.raises(InvalidArgument) as caught:
            runtime.run(image, "echo hello")
        assert "['echo', 'hello']" in str(caught.value)
        assert '["sh", "-c", \'echo hello\']' in str(caught.value)

    def test_an_empty_command_is_refused(self, runtime: Runtime, image: str) -> None:
        """An empty command is neither the image's own nor none."""
        for verb in (runtime.run, runtime.spawn, runtime.create):
            with pytest.raises(InvalidArgument, match="empty"):
                verb(image, [])

    def test_run_gives_arguments_as_they_are(self, runtime: Runtime, image: str) -> None:
        """No shell reads a command: spaces, quotes, dollars, lines and empty words come through."""
        words = ["two words", "'", '"', "$HOME", "a\nb", "", "\\", "größe 世界 🐳", "*", "-n"]
        command = ["sh", "-c", "printf '<%s>' \"$@\"", "sh", *words]
        assert runtime.run(image, command).stdout.decode() == "".join(f"<{word}>" for word in words)

    def test_a_taken_name_is_a_conflict_and_the_owner_stays(self, runtime: Runtime, image: str, name: str) -> None:
        """A run that cannot have its name touches nothing that has it."""
        with runtime.spawn(image, IDLE, name=name) as owner:
            for verb in (runtime.run, runtime.spawn, runtime.create):
                with pytest.raises(Conflict, match=name):
                    verb(image, ["true"], name=name)
            assert owner.inspect().running

    def test_an_unknown_image_is_not_found(self, runtime: Runtime, name: str) -> None:
        """Nothing is pulled unasked: the error names the image, and nothing is made."""
        for verb in (runtime.run, runtime.spawn, runtime.create):
            with pytest.raises(ImageNotFound, match="contract/missing"):
                verb("contract/missing:7", name=name)
        assert runtime.ps(all=True, name=name) == ()

    def test_a_run_comes_to_an_end(self, runtime: Runtime, image: str, name: str) -> None:
        """A restart policy has no meaning for a run, and is refused."""
        with pytest.raises(InvalidArgument, match="restart"):
            runtime.run(image, ["true"], restart="always", name=name)
        assert runtime.ps(all=True, name=name) == ()

    def test_spawn_leaves_a_running_container(self, runtime: Runtime, image: str, name: str) -> None:
        """A spawned container runs when the call returns."""
        with runtime.spawn(image, IDLE, name=name) as container:
            assert container.name == name
            assert container.state == "running"
            assert container.running
            assert container.exit_code is None
            assert runtime.ps(name=name)[0].id == container.id

    def test_spawn_does_not_mind_a_command_that_ends_at_once(self, runtime: Runtime, image: str) -> None:
        """A container that was started has been spawned, however short it lived."""
        with runtime.spawn(image, ["true"]) as container:
            assert container.wait(timeout=20) == 0

    def test_a_container_made_without_a_name_has_one(self, runtime: Runtime, image: str) -> None:
        """A name is made up, and no two are the same."""
        with runtime.create(image) as first, runtime.create(image) as second:
            assert first.name
            assert second.name
            assert first.name != second.name

    def test_what_polyrun_makes_is_labelled(self, runtime: Runtime, image: str) -> None:
        """Leftovers of a crash can be found by labels that begin with ``polyrun.``."""
        with runtime.create(image, labels={"mine": "yes"}) as container:
            assert container.labels["mine"] == "yes"
            assert [label for label in container.labels if label.startswith("polyrun.")]
