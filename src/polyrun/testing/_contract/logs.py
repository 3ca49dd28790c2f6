"""What a container has written."""

from __future__ import annotations

import threading
import time
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING

import pytest

from polyrun import ContainerNotFound, InvalidArgument, LogChunk
from polyrun.testing._contract._base import IDLE, ContractFixtures, everything, sh

if TYPE_CHECKING:
    from polyrun import Runtime


class LogContract(ContractFixtures):
    """`logs`."""

    def test_logs_keep_the_two_outputs_apart(self, runtime: Runtime, image: str) -> None:
        """Each chunk says which stream it is of, and within a stream the order is kept."""
        with runtime.spawn(image, sh("seq 1 2000; seq 1 2000 >&2")) as container:
            container.wait(timeout=20)
            lines = b"".join(b"%d\n" % number for number in range(1, 2001))
            assert everything(runtime, container) == (lines, lines)

    def test_a_running_container_is_read_up_to_now(self, runtime: Runtime, image: str) -> None:
        """Without *follow* the stream ends where the output does."""
        with runtime.spawn(image, sh("echo ready; sleep 600")) as container:
            with container.logs(follow=True) as stream:
                assert next(stream).data == b"ready\n"
            assert everything(runtime, container) == (b"ready\n", b"")

    def test_a_container_that_was_never_started_has_written_nothing(self, runtime: Runtime, image: str) -> None:
        """Its logs are empty, and that is no error."""
        with runtime.create(image, IDLE) as container:
            assert list(container.logs()) == []

    def test_following_ends_with_the_container(self, runtime: Runtime, image: str) -> None:
        """Output comes while it is written, and the end of the container is the end of the stream."""
        with runtime.spawn(image, sh("echo first; sleep 1; echo last")) as container:
            chunks = list(container.logs(follow=True))
            assert b"".join(chunk.data for chunk in chunks) == b"first\nlast\n"
            assert {chunk.stream for chunk in chunks} == {"stdout"}
            assert container.wait(timeout=10) == 0
            assert list(container.logs(follow=True))

    def test_following_loses_nothing(self, runtime: Runtime, image: str) -> None:
        """A container that writes much and ends at once is read to its last byte, also by a reader who is slow."""
        lines = b"".join(b"%d\n" % number for number in range(1, 200001))
        # Where output gets lost it does so now and then.
        for pause in (0.0, 0.0, 0.0, 0.5):
            with runtime.spawn(image, sh("seq 1 200000")) as container, container.logs(follow=True) as stream:
                data = [next(stream).data]
                time.sleep(pause)
                data += [chunk.data for chunk in stream]
                assert b"".join(data) == lines
                assert container.wait(timeout=20) == 0

    def test_following_can_be_ended_from_another_thread(self, runtime: Runtime, image: str) -> None:
        """A thread that waits for output which never comes sees the end as soon as the stream is closed."""
        with runtime.spawn(image, sh("echo ready; sleep 600")) as container:
            stream = container.logs(follow=True)
            chunks: list[LogChunk] = []
            begun = threading.Event()

            def read() -> None:
                for chunk in stream:
                    chunks.append(chunk)
                    begun.set()

            reader = threading.Thread(target=read)
            reader.start()
            assert begun.wait(20)
            begin = time.monotonic()
            stream.close()
            reader.join(10)
            assert not reader.is_alive()
            assert time.monotonic() - begin < 2
            assert b"".join(chunk.data for chunk in chunks) == b"ready\n"

    def test_a_closed_stream_is_at_its_end(self, runtime: Runtime, image: str) -> None:
        """A stream can be left early and closed twice; then there is no more in it."""
        with runtime.spawn(image, sh("seq 1 2000")) as container:
            container.wait(timeout=20)
            stream = container.logs()
            next(stream)
            stream.close()
            stream.close()
            assert list(stream) == []

    def test_the_last_lines_can_be_asked_for(self, runtime: Runtime, image: str) -> None:
        """*tail* counts lines; none, more than there are, and a last one without an end are fine."""
        with runtime.spawn(image, sh("seq 1 10; printf 11")) as container:
            container.wait(timeout=20)
            for tail, expected in ((0, b""), (1, b"11"), (3, b"9\n10\n11"), (99, None)):
                data = b"".join(chunk.data for chunk in container.logs(tail=tail))
                assert data == (everything(runtime, container)[0] if expected is None else expected)

    def test_a_negative_tail_is_refused(self, runtime: Runtime, image: str) -> None:
        """The number of lines cannot be less than none."""
        with runtime.create(image) as container, pytest.raises(InvalidArgument):
            list(container.logs(tail=-1))

    def test_output_is_chosen_by_its_time(self, runtime: Runtime, image: str) -> None:
        """*since* and *until* are aware times, or seconds since 1970, and mean the same on every engine."""
        with runtime.spawn(image, sh("echo one; sleep 2.5; echo two")) as container:
            container.wait(timeout=20)
            one, two = [chunk.time for chunk in container.logs(timestamps=True)]
            assert one is not None
            assert two is not None
            between = two - timedelta(seconds=1)
            elsewhere = between.astimezone(timezone(timedelta(hours=5, minutes=30)))
            for moment in (between, elsewhere, between.timestamp()):
                assert [chunk.data for chunk in container.logs(since=moment)] == [b"two\n"]
                assert [chunk.data for chunk in container.logs(until=moment)] == [b"one\n"]
            before, after = one - timedelta(seconds=2), two + timedelta(seconds=2)
            assert b"".join(chunk.data for chunk in container.logs(since=before, until=after)) == b"one\ntwo\n"
            assert list(container.logs(since=after)) == []

    def test_a_time_without_a_zone_is_refused(self, runtime: Runtime, image: str) -> None:
        """A naive datetime could mean any moment, so it is an error."""
        naive = datetime(2024, 1, 1)  # noqa: DTZ001  # on purpose
        with runtime.create(image) as container:
            for since, until in ((naive, None), (None, naive)):
                with pytest.raises(InvalidArgument, match=r"zone|aware|naive"):
                    list(container.logs(since=since, until=until))

    def test_every_line_can_have_its_time(self, runtime: Runtime, image: str) -> None:
        """With timestamps a chunk is one line with an aware time in UTC, and the times do not go back."""
        begin = datetime.now(timezone.utc) - timedelta(seconds=2)
        with runtime.spawn(image, sh("seq 1 50; echo; printf 'no end'")) as container:
            container.wait(timeout=20)
            chunks = list(container.logs(timestamps=True))
            assert [chunk.data for chunk in chunks] == [*(b"%d\n" % n for n in range(1, 51)), b"\n", b"no end"]
            times = [chunk.time for chunk in chunks if chunk.time is not None]
            assert len(times) == len(chunks)
            assert times == sorted(times)
            assert {moment.utcoffset() for moment in times} == {timedelta(0)}
            assert begin < times[0] < datetime.now(timezone.utc) + timedelta(seconds=2)
            assert {chunk.time for chunk in container.logs()} == {None}

    def test_a_long_line_is_complete(self, runtime: Runtime, image: str) -> None:
        """A line of 100 KB comes through as it is; with times engines may give it in pieces."""
        line = b"0123456789" * 10_000
        with runtime.create(image, ["cat", "/line"]) as container:
            container.put(line + b"\nend", "/line")
            container.start()
            container.wait(timeout=20)
            assert b"".join(chunk.data for chunk in container.logs()) == line + b"\nend"
            chunks = list(container.logs(timestamps=True))
            assert b"".join(chunk.data for chunk in chunks) == line + b"\nend"
            assert all(chunk.time for chunk in chunks)
            assert not any(b"\n" in chunk.data[:-1] for chunk in chunks)

    def test_output_in_any_script_is_kept(self, runtime: Runtime, image: str) -> None:
        """What is UTF-8 comes through byte by byte."""
        text = "grüße 世界 🐳\n"
        with runtime.spawn(image, ["printf", "%s", text]) as container:
            container.wait(timeout=20)
            assert everything(runtime, container)[0].decode() == text

    def test_logs_of_a_terminal_are_one_stream(self, runtime: Runtime, image: str) -> None:
        """The logs of a container with a terminal are standard output, with the line ends of a terminal."""
        with runtime.spawn(image, sh("echo out; echo err >&2"), tty=True) as container:
            container.wait(timeout=20)
            assert everything(runtime, container) == (b"out\r\nerr\r\n", b"")
            assert [chunk.data for chunk in container.logs(timestamps=True)] == [b"out\r\n", b"err\r\n"]

    def test_the_logs_of_a_removed_container_are_not_found(self, runtime: Runtime, image: str) -> None:
        """The error comes with the first chunk at the latest."""
        with runtime.create(image) as container:
            container.rm()
            with pytest.raises(ContainerNotFound):
                list(container.logs())
