"""Running a further command in a container."""

from __future__ import annotations

import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from polyrun import (
    CommandFailed,
    ContainerNotFound,
    DeadlineExceeded,
    ExecResult,
    InvalidArgument,
    NotRunning,
    PolyrunError,
)
from polyrun.testing._contract._base import (
    IDLE,
    MEGABYTE,
    ContractFixtures,
    ctrl_c,
    eventually,
    heartbeat,
    paused,
    sh,
    stopped_growing,
)

if TYPE_CHECKING:
    from polyrun import Container, Runtime

SECRET = "s3cr3t-of-the-exec"  # noqa: S105  # what no message may show

# With a deadline an engine's exec may be wrapped, to be killed in time: the result must not show it.
with_and_without_a_deadline = pytest.mark.parametrize("timeout", [None, 60.0], ids=["no-deadline", "deadline"])


class ExecContract(ContractFixtures):
    """`exec`."""

    @with_and_without_a_deadline
    def test_exec_returns_the_exit_code_of_the_command(
        self, runtime: Runtime, box: Container, timeout: float | None
    ) -> None:
        """Every exit code comes through, and counts as the command's own."""
        for code in (0, 1, 2, 42, 125, 126, 127, 128, 137, 200, 254, 255):
            result = runtime.exec(box, sh(f"exit {code}"), timeout=timeout)
            assert (result.exit_code, result.raw_exit_code) == (code, code)
            assert (result.stdout, result.stderr) == (b"", b"")

    @with_and_without_a_deadline
    def test_exec_keeps_the_two_outputs_apart_as_bytes(
        self, runtime: Runtime, box: Container, timeout: float | None
    ) -> None:
        """Standard output and error are separate, and no byte is changed."""
        script = r"printf 'out\377\000\r\n'; printf '\001err\376' >&2"
        result = runtime.exec(box, sh(script), timeout=timeout)
        assert result.stdout == b"out\xff\x00\r\n"
        assert result.stderr == b"\x01err\xfe"

    @with_and_without_a_deadline
    @pytest.mark.parametrize(
        ("command", "code"),
        [(["no-such-command"], 127), (["/no/such/command"], 127), (["/etc/passwd"], 126), (["/etc"], 126)],
        ids=["missing", "missing-path", "not-executable", "folder"],
    )
    def test_a_command_that_cannot_be_started_is_a_result(
        self, runtime: Runtime, box: Container, command: list[str], code: int, timeout: float | None
    ) -> None:
        """As in a shell it is 127 where it was not found and 126 where it cannot be executed; stderr says why."""
        result = runtime.exec(box, command, timeout=timeout)
        assert result.exit_code == code
        assert result.stdout == b""
        assert command[0].encode() in result.stderr

    @with_and_without_a_deadline
    def test_an_unknown_user_or_folder_is_a_result(
        self, runtime: Runtime, box: Container, timeout: float | None
    ) -> None:
        """Both are 126: the command was not executed, and stderr says why."""
        for user, workdir in (("nobody-i-know", None), (None, "/no/such/folder")):
            result = runtime.exec(box, ["true"], user=user, workdir=workdir, timeout=timeout)
            assert result.exit_code == 126
            assert result.stdout == b""
            assert result.stderr

    def test_output_that_looks_like_a_failure_of_the_engine_is_output(self, runtime: Runtime, box: Container) -> None:
        """A command may write what engines write when they cannot start one, and end as they do."""
        text = "OCI runtime exec failed: exec failed: unable to start container process"
        for code in (126, 127):
            result = runtime.exec(box, sh(f"echo '{text}'; exit {code}"))
            assert result.exit_code == code
            assert result.stdout.decode() == f"{text}\n"
            assert result.stderr == b""

    def test_exec_gives_input_and_ends_it(self, runtime: Runtime, box: Container) -> None:
        """A megabyte of any bytes goes in, and comes out of ``cat``, which then ends."""
        data = os.urandom(MEGABYTE)
        assert runtime.exec(box, ["cat"], input=data).stdout == data
        assert runtime.exec(box, ["cat"], input=data, timeout=60).stdout == data

    def test_exec_gives_no_input_unless_asked_to(self, runtime: Runtime, box: Container) -> None:
        """A command that reads gets the end at once, with no input as with an empty one."""
        assert runtime.exec(box, ["cat"], timeout=20).stdout == b""
        assert runtime.exec(box, ["cat"], input=b"", timeout=20).stdout == b""

    def test_exec_does_not_mind_input_that_is_not_read(self, runtime: Runtime, box: Container) -> None:
        """A command that ends without reading is no error, however much it was to be given."""
        for size in (1000, 4 * MEGABYTE):
            # Where output gets lost it does so now and then.
            results = [runtime.exec(box, sh("echo done; exit 4"), input=bytes(size)) for _ in range(6)]
            assert [result.exit_code for result in results] == [4] * 6
            whole = {b"done\n"} if runtime.capabilities.unread_input else {b"done\n", b""}
            assert {result.stdout for result in results} <= whole

    def test_ten_megabytes_of_each_output_are_complete(self, runtime: Runtime, box: Container, place: str) -> None:
        """Output is neither cut nor mixed up, however much there is."""
        data = os.urandom(10 * MEGABYTE)
        box.put(data, place)
        result = runtime.exec(box, sh(f"cat {place}; cat {place} >&2"))
        assert result.stdout == data
        assert result.stderr == data

    @with_and_without_a_deadline
    def test_environment_folder_and_user_are_the_commands_own(
        self, runtime: Runtime, box: Container, timeout: float | None
    ) -> None:
        """The command has the variables, the folder and the user that it was given."""
        result = runtime.exec(
            box,
            sh('echo "$GREETING"; pwd; id -u; id -g'),
            env={"GREETING": "grüße 世界 = 'x' $y"},
            workdir="/srv",
            user="1000:1000",
            timeout=timeout,
        )
        assert result.text.splitlines() == ["grüße 世界 = 'x' $y", "/srv", "1000", "1000"]
        assert runtime.exec(box, ["id", "-un"], user="guest", timeout=timeout).text == "guest\n"

    @with_and_without_a_deadline
    def test_exec_gives_arguments_as_they_are(self, runtime: Runtime, box: Container, timeout: float | None) -> None:
        """No shell reads a command: spaces, quotes, dollars, lines and empty words come through."""
        words = ["two words", "'", '"', "$HOME", "a\nb", "", "\\", "größe 世界 🐳", "*", "-n"]
        result = runtime.exec(box, ["sh", "-c", "printf '<%s>' \"$@\"", "sh", *words], timeout=timeout)
        assert result.stdout.decode() == "".join(f"<{word}>" for word in words)

    def test_exec_gives_a_value_of_64_kib(self, runtime: Runtime, box: Container) -> None:
        """An environment variable can be long."""
        value = "ä" * 32768
        assert runtime.exec(box, sh('printf %s "$LONG"'), env={"LONG": value}).text == value

    def test_a_command_that_fails_is_an_error_only_when_asked_for(self, runtime: Runtime, box: Container) -> None:
        """With ``check=True`` the error carries the result; the value of no variable is in it."""
        with pytest.raises(CommandFailed) as caught:
            runtime.exec(box, sh("echo famous last words >&2; exit 3"), env={"TOKEN": SECRET}, check=True)
        assert isinstance(caught.value.result, ExecResult)
        assert caught.value.result.exit_code == 3
        assert "famous last words" in str(caught.value)
        assert SECRET not in f"{caught.value} {caught.value!r}"
        with pytest.raises(CommandFailed):
            runtime.exec(box, ["no-such-command"], check=True)

    def test_a_deadline_ends_the_process_in_the_container(self, runtime: Runtime, box: Container, place: str) -> None:
        """The process is killed, and not only no longer waited for; the container goes on."""
        begin = time.monotonic()
        with pytest.raises(DeadlineExceeded):
            runtime.exec(box, sh(heartbeat(place)), timeout=1)
        assert time.monotonic() - begin < 8
        assert stopped_growing(box, place)
        assert box.inspect().running

    def test_a_deadline_ends_the_children_too(self, runtime: Runtime, box: Container, place: str) -> None:
        """What the process has started is killed with it."""
        with pytest.raises(DeadlineExceeded):
            runtime.exec(box, sh(f"sh -c '{heartbeat(place)}'; true"), timeout=1)
        assert stopped_growing(box, place)

    def test_a_deadline_ends_what_ignores_signals(self, runtime: Runtime, box: Container, place: str) -> None:
        """A process that ignores TERM is ended as well."""
        with pytest.raises(DeadlineExceeded):
            runtime.exec(box, sh(f"trap '' TERM INT; {heartbeat(place)}"), timeout=1)
        assert stopped_growing(box, place)

    def test_a_deadline_ends_what_never_stops_writing(self, runtime: Runtime, box: Container) -> None:
        """Output that keeps coming does not put the deadline off."""
        begin = time.monotonic()
        with pytest.raises(DeadlineExceeded):
            runtime.exec(box, sh("while true; do echo busy; done"), timeout=1)
        assert time.monotonic() - begin < 8

    def test_a_deadline_ends_what_another_user_runs(self, runtime: Runtime, box: Container, place: str) -> None:
        """It works for a user who may not write, and may not kill the processes of others."""
        box.exec(sh(f"touch {place}; chmod 666 {place}"), check=True)
        with pytest.raises(DeadlineExceeded):
            runtime.exec(box, sh(heartbeat(place)), user="guest", workdir="/etc", timeout=1)
        assert stopped_growing(box, place)

    def test_a_deadline_works_where_nothing_can_be_written(self, runtime: Runtime, image: str) -> None:
        """It takes no file in the container."""
        with runtime.spawn(image, IDLE, read_only=True, tmpfs=["/srv"]) as container:
            with pytest.raises(DeadlineExceeded):
                container.exec(sh(heartbeat("/srv/beats")), timeout=1)
            assert stopped_growing(container, "/srv/beats")

    def test_a_deadline_without_a_shell_says_what_still_runs(self, runtime: Runtime, shell_less: str) -> None:
        """Where the image has no shell to kill with, the wait ends, and the error says that the process goes on."""
        with runtime.spawn(shell_less, ["/busybox", "sleep", "600"]) as container:
            assert container.exec(["/busybox", "echo", "hi"]).text == "hi\n"
            assert container.exec(["/busybox", "echo", "hi"], timeout=60).text == "hi\n"
            assert container.exec(["/busybox", "false"], timeout=60).exit_code == 1
            begin = time.monotonic()
            with pytest.raises(DeadlineExceeded, match="/bin/sh"):
                container.exec(["/busybox", "sleep", "600"], timeout=1)
            assert time.monotonic() - begin < 8

    def test_ctrl_c_ends_the_process_in_the_container(self, runtime: Runtime, box: Container, place: str) -> None:
        """An interrupt kills the process, and is let through."""
        with ctrl_c(when=lambda: runtime.exec(box, ["test", "-s", place]).exit_code == 0):
            runtime.exec(box, sh(heartbeat(place)))
        assert stopped_growing(box, place)

    def test_exec_takes_a_sequence_of_strings(self, runtime: Runtime, box: Container) -> None:
        """One string is refused with the two ways to write it, and so is none at all."""
        with pytest.raises(InvalidArgument, match="echo"):
            runtime.exec(box, "echo hello")
        with pytest.raises(InvalidArgument, match="needs a command"):
            runtime.exec(box, [])

    def test_a_container_that_does_not_run_runs_no_command(self, runtime: Runtime, image: str) -> None:
        """Created, paused and exited containers are `NotRunning`."""
        with runtime.create(image, IDLE) as container:
            with pytest.raises(NotRunning):
                container.exec(["true"])
            container.start()
            if paused(container):
                for timeout in (None, 10):
                    with pytest.raises(NotRunning):
                        container.exec(["true"], timeout=timeout)
                container.unpause()
            assert container.exec(["true"]).exit_code == 0
            container.stop(timeout=0)
            with pytest.raises(NotRunning):
                container.exec(["true"])

    def test_exec_in_a_missing_container_is_not_found(self, runtime: Runtime, name: str) -> None:
        """The error names the container."""
        with pytest.raises(ContainerNotFound, match=name):
            runtime.exec(name, ["true"])

    def test_commands_at_the_same_time_do_not_mix(self, runtime: Runtime, box: Container) -> None:
        """Sixteen commands from eight threads have their own codes and outputs."""

        def one(number: int) -> tuple[int, bytes, bytes]:
            result = runtime.exec(box, sh(f"seq 1 {number}; echo {number} >&2; exit {number}"))
            return result.exit_code, result.stdout, result.stderr

        with ThreadPoolExecutor(8) as pool:
            results = list(pool.map(one, range(100, 116)))
        for number, result in zip(range(100, 116), results, strict=True):
            assert result == (number, b"".join(b"%d\n" % n for n in range(1, number + 1)), b"%d\n" % number)

    def test_exec_with_a_terminal_has_one_stream(self, runtime: Runtime, box: Container) -> None:
        """With a terminal all output is standard output, with the line ends of a terminal."""
        result = runtime.exec(box, sh("test -t 1 && echo terminal; echo error >&2; exit 3"), tty=True)
        assert (result.exit_code, result.stdout, result.stderr) == (3, b"terminal\r\nerror\r\n", b"")

    def test_the_input_of_a_terminal_ends(self, runtime: Runtime, box: Container) -> None:
        """Input goes through a terminal, and its end is the end of the command's."""
        result = runtime.exec(box, ["cat"], tty=True, input=b"hello\n", timeout=20)
        assert result.exit_code == 0
        assert b"hello\r\n" in result.stdout

    def test_a_command_ends_with_its_container(self, runtime: Runtime, image: str, name: str) -> None:
        """Nothing waits for ever on a command whose container is removed."""
        ends: list[ExecResult | PolyrunError] = []

        def command() -> None:
            try:
                ends.append(runtime.exec(name, sh("touch /srv/begun; sleep 600")))
            except PolyrunError as error:
                ends.append(error)

        with runtime.spawn(image, IDLE, name=name) as container:
            thread = threading.Thread(target=command)
            thread.start()
            eventually(lambda: container.exec(["test", "-e", "/srv/begun"]).exit_code == 0)
            container.rm(force=True)
            thread.join(20)
        assert not thread.is_alive()
        (end,) = ends
        assert isinstance(end, PolyrunError) or end.exit_code != 0
