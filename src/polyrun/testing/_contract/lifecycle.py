"""A container's life: which call moves it from which state to which."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING

import pytest

from polyrun import (
    Conflict,
    Container,
    ContainerNotFound,
    DeadlineExceeded,
    HealthCheck,
    InvalidArgument,
    LogProbe,
    NotRunning,
    PolyrunError,
    StartFailed,
    Unsupported,
)
from polyrun.testing._contract._base import IDLE, ContractFixtures, eventually, everything, obedient, paused, sh

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from polyrun import Runtime


class LifecycleContract(ContractFixtures):
    """`create`, `start`, `stop`, `kill`, `restart`, `pause`, `unpause`, `rm`."""

    def test_a_created_container_has_no_process_yet(self, runtime: Runtime, image: str, name: str) -> None:
        """It is created, now, and has neither started nor ended."""
        now = datetime.now(timezone.utc)
        with runtime.create(image, IDLE, name=name) as container:
            assert len(container.id) == 64
            assert (container.name, container.image, container.state) == (name, image, "created")
            assert container.created.utcoffset() == timedelta(0)
            assert abs(container.created - now) < timedelta(seconds=30)
            assert (container.started, container.finished, container.exit_code) == (None, None, None)
            assert (container.ports, container.health, container.host) == ((), None, None)
            assert not container.running

    def test_a_started_container_runs(self, runtime: Runtime, image: str) -> None:
        """It has a time of its start, and no exit code; starting it again changes nothing."""
        with runtime.create(image, IDLE) as container:
            runtime.start(container)
            running = runtime.inspect(container)
            assert running.state == "running"
            assert running.started is not None
            assert running.started.utcoffset() == timedelta(0)
            assert (running.finished, running.exit_code) == (None, None)
            runtime.start(container)
            assert runtime.inspect(container) == running

    def test_a_container_that_ended_has_an_exit_code(self, runtime: Runtime, image: str) -> None:
        """It is exited, with the times of its start and its end, and can be started again."""
        with runtime.spawn(image, sh("echo once more; exit 3")) as container:
            for times in (1, 2):
                assert container.wait(timeout=20) == 3
                ended = container.inspect()
                assert (ended.state, ended.exit_code) == ("exited", 3)
                assert ended.started is not None
                assert ended.finished is not None
                assert ended.started <= ended.finished
                assert everything(runtime, container)[0] == b"once more\n" * times
                if times == 1:
                    container.start()

    def test_a_start_that_fails_leaves_the_container_as_it_was(self, runtime: Runtime, image: str, name: str) -> None:
        """What somebody else created is not removed; it has no exit code, since nothing ran."""
        with runtime.create(image, ["no-such-command"], name=name) as container:
            with pytest.raises(StartFailed) as caught:
                container.start()
            assert (caught.value.reason, caught.value.exit_code) == ("command_not_found", 127)
            assert container.inspect().state in ("created", "exited")

    def test_stop_asks_first(self, runtime: Runtime, image: str) -> None:
        """The process gets its signal and the time to end by itself."""
        with obedient(runtime, image) as container:
            runtime.stop(container, timeout=20)
            stopped = container.inspect()
            assert (stopped.state, stopped.exit_code) == ("exited", 7)
            assert everything(runtime, container)[0] == b"ready\nbye\n"

    def test_stop_kills_what_does_not_end(self, runtime: Runtime, image: str) -> None:
        """When the time is up the process is killed, and no earlier."""
        with runtime.spawn(image, sh("trap '' TERM; echo ready; while true; do sleep 0.1; done")) as container:
            container.wait_ready(probe=LogProbe("ready"))
            begin = time.monotonic()
            container.stop(timeout=2)
            assert 1.5 < time.monotonic() - begin < 9
            assert container.inspect().exit_code == 137

    def test_stop_without_time_kills_at_once(self, runtime: Runtime, image: str) -> None:
        """A timeout of 0 leaves no time to end."""
        with runtime.spawn(image, IDLE) as container:
            begin = time.monotonic()
            container.stop(timeout=0)
            assert time.monotonic() - begin < 5
            assert container.inspect().exit_code == 137

    def test_a_negative_timeout_is_refused(self, runtime: Runtime, box: Container) -> None:
        """Engines read it as for ever, or not at all."""
        for verb in (runtime.stop, runtime.restart, runtime.wait, runtime.wait_ready):
            with pytest.raises(InvalidArgument):
                verb(box, timeout=-1)

    def test_stopping_what_does_not_run_is_no_error(self, runtime: Runtime, image: str) -> None:
        """A created and an exited container stay what they are."""
        with runtime.create(image, sh("exit 3")) as container:
            container.stop()
            assert container.inspect().state == "created"
            container.start()
            container.wait(timeout=20)
            container.stop()
            container.stop()
            assert (container.inspect().state, container.inspect().exit_code) == ("exited", 3)

    def test_a_paused_container_stops(self, runtime: Runtime, image: str) -> None:
        """It goes on in order to end by itself."""
        with obedient(runtime, image) as container:
            paused(container)
            container.stop(timeout=20)
            assert (container.inspect().state, container.inspect().exit_code) == ("exited", 7)

    def test_kill_ends_a_container(self, runtime: Runtime, image: str) -> None:
        """Without a signal the process is killed, paused or not."""
        for pause in (False, True):
            with runtime.spawn(image, IDLE) as container:
                if pause:
                    paused(container)
                runtime.kill(container)
                assert container.wait(timeout=20) == 137

    @pytest.mark.parametrize("signal", ["TERM", "SIGTERM", "term", 15])
    def test_a_signal_can_be_written_in_every_way(self, runtime: Runtime, image: str, signal: str | int) -> None:
        """A signal is its name, with ``SIG`` or without, or its number."""
        with obedient(runtime, image) as container:
            container.kill(signal)
            assert container.wait(timeout=20) == 7

    def test_a_signal_need_not_end_a_container(self, runtime: Runtime, image: str) -> None:
        """What the process does with its signal is its own affair."""
        script = "trap 'echo got it' USR1; echo ready; while true; do sleep 0.1; done"
        with runtime.spawn(image, sh(script)) as container:
            container.wait_ready(probe=LogProbe("ready"))
            container.kill("USR1")
            container.wait_ready(probe=LogProbe("got it"), timeout=20)
            assert container.inspect().running

    def test_what_does_not_run_cannot_be_killed(self, runtime: Runtime, image: str) -> None:
        """A created and an exited container have no process."""
        with runtime.create(image, ["true"]) as container:
            with pytest.raises(NotRunning):
                container.kill()
            container.start()
            container.wait(timeout=20)
            with pytest.raises(NotRunning):
                container.kill()

    def test_a_signal_that_is_none_is_refused(self, runtime: Runtime, box: Container) -> None:
        """Names and numbers that are no signal are errors of the caller's."""
        for signal in ("NOSUCH", "SIG", "", 0, -1, 999):
            with pytest.raises(InvalidArgument):
                runtime.kill(box, signal)
        assert box.inspect().running

    def test_restart_stops_and_starts(self, runtime: Runtime, image: str) -> None:
        """The process is asked to end before it is started anew."""
        with obedient(runtime, image) as container:
            before = container.inspect()
            runtime.restart(container, timeout=20)
            eventually(lambda: everything(runtime, container)[0] == b"ready\nbye\nready\n")
            after = container.inspect()
            assert after.state == "running"
            assert before.started is not None
            assert after.started is not None
            assert after.started > before.started
            assert after.id == before.id

    def test_restart_starts_what_does_not_run(self, runtime: Runtime, image: str) -> None:
        """A created, a stopped and a paused container run afterwards."""
        with runtime.create(image, IDLE) as container:
            container.restart(timeout=0)
            assert container.inspect().state == "running"
            container.stop(timeout=0)
            container.restart(timeout=0)
            assert container.inspect().state == "running"
            paused(container)
            container.restart(timeout=0)
            assert container.inspect().state == "running"

    def test_a_paused_container_goes_on(self, runtime: Runtime, image: str) -> None:
        """Pausing and unpausing are each possible once."""
        with runtime.spawn(image, IDLE) as container:
            if not paused(container):
                return
            assert container.inspect().state == "paused"
            assert container.inspect().exit_code is None
            with pytest.raises(Conflict):
                container.pause()
            assert container.inspect().state == "paused"
            runtime.unpause(container)
            assert container.inspect().state == "running"
            with pytest.raises(Conflict):
                container.unpause()
            assert container.inspect().state == "running"

    def test_only_what_runs_can_be_paused(self, runtime: Runtime, image: str) -> None:
        """A created and an exited container have nothing to freeze, and nothing that is frozen."""
        refusal = NotRunning if runtime.capabilities.pause else (NotRunning, Unsupported)
        conflict = Conflict if runtime.capabilities.pause else (Conflict, Unsupported)
        with runtime.create(image, ["true"]) as container:
            for _ in range(2):
                with pytest.raises(refusal):
                    container.pause()
                with pytest.raises(conflict):
                    container.unpause()
                container.start()
                container.wait(timeout=20)

    def test_a_container_is_removed_in_every_state_but_running(self, runtime: Runtime, image: str) -> None:
        """A created and an exited container can be removed; then they are not found."""
        for command in (None, ["true"]):
            container = runtime.create(image, command)
            if command:
                container.start()
                container.wait(timeout=20)
            runtime.rm(container)
            with pytest.raises(ContainerNotFound):
                runtime.rm(container)

    def test_a_running_container_is_removed_by_force_only(self, runtime: Runtime, image: str) -> None:
        """Without *force* nothing happens to it, with it the container is killed at once, paused or not."""
        for pause in (False, True):
            with runtime.spawn(image, IDLE) as container:
                state = "paused" if pause and paused(container) else "running"
                with pytest.raises(Conflict):
                    container.rm()
                assert container.inspect().state == state
                begin = time.monotonic()
                container.rm(force=True)
                assert time.monotonic() - begin < 6
                with pytest.raises(ContainerNotFound):
                    container.inspect()

    def test_force_does_not_make_a_missing_container_right(self, runtime: Runtime, name: str) -> None:
        """Removing what is not there is an error, by force as well."""
        with pytest.raises(ContainerNotFound, match=name):
            runtime.rm(name, force=True)

    def test_a_container_is_removed_at_the_end_of_its_block(self, runtime: Runtime, image: str, name: str) -> None:
        """As a context manager a container is removed, also after an error, and though it is gone already."""
        with runtime.spawn(image, IDLE, name=name):
            assert runtime.ps(name=name)
        assert runtime.ps(all=True, name=name) == ()
        with pytest.raises(LookupError), runtime.spawn(image, IDLE, name=name):
            raise LookupError
        assert runtime.ps(all=True, name=name) == ()
        with runtime.create(image, name=name) as container:
            container.rm()

    def test_every_verb_knows_when_a_container_is_gone(
        self, runtime: Runtime, image: str, name: str, tmp_path: Path
    ) -> None:
        """A container that was removed between two calls is a `ContainerNotFound` that names it."""
        runtime.create(image, name=name).rm()
        verbs: list[Callable[[], object]] = [
            lambda: runtime.inspect(name),
            lambda: runtime.start(name),
            lambda: runtime.stop(name),
            lambda: runtime.kill(name),
            lambda: runtime.restart(name),
            lambda: runtime.pause(name),
            lambda: runtime.unpause(name),
            lambda: runtime.wait(name),
            lambda: runtime.wait_ready(name),
            lambda: runtime.rm(name),
            lambda: runtime.exec(name, ["true"]),
            lambda: list(runtime.logs(name)),
            lambda: list(runtime.logs(name, follow=True)),
            lambda: runtime.put(name, b"", "/file"),
            lambda: runtime.get(name, "/file", tmp_path),
            lambda: runtime.address(name, 80),
        ]
        for verb in verbs:
            with pytest.raises(ContainerNotFound, match=name):
                verb()

    def test_a_container_has_every_name(self, runtime: Runtime, image: str, name: str) -> None:
        """It goes by its name, its id, the first twelve digits of that, and its snapshot."""
        with runtime.create(image, name=name) as container:
            for named in (name, container.id, container.id[:12], container):
                assert runtime.inspect(named) == container

    def test_a_name_is_never_a_path(self, runtime: Runtime) -> None:
        """Text that is no name finds no container, and nothing else."""
        for named in ("", "/", ".", "..", "../version", "a/b", "json", "any?all=1", "any#", "a b", "ü", "%2e"):
            with pytest.raises((ContainerNotFound, InvalidArgument)):
                runtime.inspect(named)
            with pytest.raises((ContainerNotFound, InvalidArgument)):
                runtime.rm(named, force=True)

    def test_a_snapshot_does_not_change(self, runtime: Runtime, image: str) -> None:
        """What was known of a container stays as it was; to know more is to ask again."""
        with runtime.create(image, IDLE) as container:
            container.start()
            assert container.state == "created"
            assert container.inspect().state == "running"
            assert container.inspect() != container

    def test_a_container_has_the_verbs(self, runtime: Runtime, image: str, tmp_path: Path) -> None:
        """Each verb that takes a container is also a method of one, and does the same."""
        with obedient(runtime, image) as container:
            assert container.runtime is runtime
            assert container.exec(["true"]).exit_code == 0
            assert next(container.logs()).data == b"ready\n"
            container.put(b"data", "/srv/file")
            assert container.get("/srv/file", tmp_path / "file").read_bytes() == b"data"
            if paused(container):
                container.unpause()
            container.restart(timeout=20)
            container.wait_ready()
            container.kill("KILL")
            assert container.wait(timeout=20) == 137
            container.start()
            container.stop(timeout=0)
            container.rm()
            assert runtime.ps(all=True, name=container.name) == ()


class WaitContract(ContractFixtures):
    """`wait` and `wait_ready`."""

    def test_wait_returns_the_exit_code(self, runtime: Runtime, image: str) -> None:
        """It waits for the end, and returns at once where that has been."""
        with runtime.spawn(image, sh("sleep 0.5; exit 3")) as container:
            assert runtime.wait(container) == 3
            assert runtime.wait(container) == 3
            assert runtime.wait(container, timeout=10) == 3
            assert runtime.wait(container, timeout=0) == 3

    def test_what_was_never_started_cannot_be_waited_for(self, runtime: Runtime, image: str) -> None:
        """A created container might never end, and has no exit code to return."""
        with runtime.create(image) as container, pytest.raises(NotRunning):
            container.wait(timeout=10)

    def test_a_deadline_ends_the_wait_only(self, runtime: Runtime, box: Container) -> None:
        """The container goes on when the time is up."""
        for timeout in (0.5, 0):
            begin = time.monotonic()
            with pytest.raises(DeadlineExceeded):
                runtime.wait(box, timeout=timeout)
            assert time.monotonic() - begin < timeout + 3
        assert box.inspect().running

    def test_many_can_wait(self, runtime: Runtime, image: str) -> None:
        """Everybody who waits gets the exit code."""
        with runtime.spawn(image, sh("sleep 1; exit 3")) as container, ThreadPoolExecutor(6) as pool:
            waits = [pool.submit(runtime.wait, container, timeout=30) for _ in range(6)]
            assert [wait.result() for wait in waits] == [3] * 6

    def test_a_wait_ends_with_the_container(self, runtime: Runtime, image: str) -> None:
        """Nothing waits for ever on a container that is removed."""
        ends: list[int | PolyrunError] = []

        def wait() -> None:
            try:
                ends.append(runtime.wait(container))
            except PolyrunError as error:
                ends.append(error)

        with runtime.spawn(image, IDLE) as container:
            thread = threading.Thread(target=wait)
            thread.start()
            time.sleep(0.3)  # that the other thread waits by now cannot be seen
            container.rm(force=True)
            thread.join(20)
        assert not thread.is_alive()
        assert isinstance(ends[0], PolyrunError) or ends[0] == 137

    def test_ready_means_running(self, runtime: Runtime, image: str) -> None:
        """Without a probe and without a health check a running container is ready."""
        with runtime.spawn(image, IDLE) as container:
            assert runtime.wait_ready(container) == container.inspect()

    def test_ready_means_what_the_probe_says(self, runtime: Runtime, image: str) -> None:
        """The probe is asked, with the container as it is then, until it says yes."""
        asked: list[Container] = []

        def probe(container: Container) -> bool:
            asked.append(container)
            return len(asked) == 3

        with runtime.spawn(image, IDLE) as container:
            assert container.wait_ready(probe=probe).id == container.id
            assert len(asked) == 3
            assert {found.id for found in asked} == {container.id}
            assert asked[0].runtime is runtime

    def test_an_error_of_the_probe_is_the_callers(self, runtime: Runtime, box: Container) -> None:
        """What a probe raises is let through."""

        def probe(container: Container) -> bool:
            raise LookupError(container.name)

        with pytest.raises(LookupError, match=box.name):
            runtime.wait_ready(box, probe=probe)

    def test_ready_can_mean_that_something_was_written(self, runtime: Runtime, image: str) -> None:
        """A `LogProbe` waits for a text in either output."""
        with runtime.spawn(image, sh("sleep 0.5; echo now it is up >&2; sleep 600")) as container:
            container.wait_ready(probe=LogProbe("it is up"), timeout=20)
            assert b"it is up" in everything(runtime, container)[1]

    def test_what_is_not_ready_in_time_goes_on(self, runtime: Runtime, image: str) -> None:
        """The deadline ends the wait, and the container is left alone."""
        with runtime.spawn(image, IDLE) as container:
            begin = time.monotonic()
            with pytest.raises(DeadlineExceeded):
                container.wait_ready(probe=lambda _: False, timeout=0.5)
            assert time.monotonic() - begin < 5
            assert container.inspect().running

    def test_what_exits_is_never_ready(self, runtime: Runtime, image: str) -> None:
        """The wait ends with the container, and the text has what it wrote last."""
        with runtime.spawn(image, sh("sleep 0.5; echo famous last words >&2; exit 3")) as container:
            begin = time.monotonic()
            with pytest.raises(NotRunning, match="famous last words"):
                container.wait_ready(probe=lambda _: False)
            assert time.monotonic() - begin < 10

    def test_what_was_never_started_is_never_ready(self, runtime: Runtime, image: str) -> None:
        """A created container is not waited for."""
        with runtime.create(image) as container, pytest.raises(NotRunning):
            container.wait_ready(timeout=10)

    def test_ready_means_healthy(self, runtime: Runtime, image: str) -> None:
        """A container with a health check is ready when that succeeds, on every engine."""
        check = HealthCheck(command=["test", "-e", "/srv/well"], interval="500ms", timeout=5, retries=100)
        with runtime.spawn(image, sh("sleep 1; touch /srv/well; sleep 600"), health=check) as container:
            assert container.health == "starting"
            ready = container.wait_ready(timeout=30)
            assert ready.health == "healthy"
            assert container.exec(["test", "-e", "/srv/well"]).exit_code == 0

    def test_what_stays_unhealthy_is_never_ready(self, runtime: Runtime, image: str) -> None:
        """A health check that fails often enough makes a container unhealthy, and the wait goes on to its end."""
        check = HealthCheck(command="exit 1", interval="500ms", timeout=5, retries=2)
        with runtime.spawn(image, IDLE, health=check) as container:
            with pytest.raises(DeadlineExceeded, match="unhealthy"):
                container.wait_ready(timeout=5)
            assert container.inspect().health == "unhealthy"
            assert container.inspect().running
