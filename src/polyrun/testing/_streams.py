"""The streams of a container, seen from outside: its log, what is attached to it, and its executions."""

from __future__ import annotations

import time
from collections import deque
from datetime import datetime, timezone
from typing import TYPE_CHECKING

from polyrun import LogChunk
from polyrun.adapter import ExecOutcome
from polyrun.testing._processes import PIPE_SIZE, Channel, Stream

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable

    from polyrun.adapter import LogRequest, StreamName
    from polyrun.testing._container import MemoryContainer
    from polyrun.testing._processes import Process

_LOG_SIZE = 64 << 20
_UNREAD = 1 << 20
"""How far a container's output may be ahead of somebody who is attached."""


def utc(seconds: float) -> datetime:
    """Return seconds since 1970 as an aware time."""
    return datetime.fromtimestamp(seconds, timezone.utc)


class Log:
    """What a container has written, with its times; the oldest goes when it is too much."""

    def __init__(self, changed: threading.Condition) -> None:
        self.changed = changed
        self.first = 0
        self.written = 0
        """All bytes there have been."""
        self._chunks: deque[LogChunk] = deque()
        self._size = 0
        self.attached: set[Attachment] = set()

    @property
    def end(self) -> int:
        """The number of the chunk that comes next."""
        return self.first + len(self._chunks)

    def get(self, number: int) -> LogChunk:
        """Return a chunk by its number."""
        return self._chunks[number - self.first]

    def add(self, stream: StreamName, data: bytes) -> None:
        """Add a chunk."""
        with self.changed:
            self._chunks.append(LogChunk(stream, data, utc(time.time())))
            self.written += len(data)
            self._size += len(data)
            while self._size > _LOG_SIZE and len(self._chunks) > 1:
                self._size -= len(self._chunks.popleft().data)
                self.first += 1
            self.changed.notify_all()


class LogStream(Stream):
    """A standard stream of a container, which ends up in its log."""

    def __init__(self, log: Log, name: StreamName) -> None:
        super().__init__()
        self._log = log
        self._name: StreamName = name

    def write(self, process: Process, data: bytes) -> None:
        """Write, once those who are attached have read enough."""
        for start in range(0, len(data), PIPE_SIZE):
            with self._log.changed:
                process.block(lambda: all(reader.unread < _UNREAD for reader in self._log.attached))
                self._log.add(self._name, data[start : start + PIPE_SIZE])


class Stdin:
    """The standard input of a process, written from outside."""

    def __init__(self, changed: threading.Condition) -> None:
        self._channel = Channel(changed)
        self.reader = self._channel.reader()
        self._writer = self._channel.writer()
        self._open = True

    def write(self, data: bytes) -> None:
        """Write, as fast as the process reads; what nobody will read is dropped."""
        changed = self._channel.changed
        for start in range(0, len(data), PIPE_SIZE):
            with changed:
                changed.wait_for(lambda: self._channel.writable or not self._open)
                if not self._channel.readers or not self._open:
                    return
                self._channel.add("stdout", data[start : start + PIPE_SIZE])

    def end(self) -> None:
        """End it."""
        with self._channel.changed:
            if self._open:
                self._open = False
                self._writer.close()


def _type(stdin: Stdin, data: bytes, show: Callable[[bytes], None]) -> None:
    """Write what is typed on a terminal, which shows it; Ctrl-D ends the input."""
    typed, end, _ = data.replace(b"\r", b"\n").partition(b"\x04")
    if typed:
        show(typed.replace(b"\n", b"\r\n"))
        stdin.write(typed)
    if end:
        stdin.end()


class Attachment:
    """A `ProcessStream` of a container's own process."""

    def __init__(self, container: MemoryContainer, stdin: Stdin | None) -> None:
        self._container = container
        self._stdin = stdin
        self._next = container.log.end
        self._read = container.log.written
        self._ends = container.ends
        self._closed = False
        container.log.attached.add(self)

    @property
    def unread(self) -> int:
        """Bytes that have been written and not been read."""
        return self._container.log.written - self._read

    def read(self, timeout: float | None = None) -> tuple[StreamName, bytes] | None:
        """Return the next output."""
        log, changed = self._container.log, self._container.changed
        with changed:
            if not changed.wait_for(lambda: self._closed or self._next < log.end or self._over, timeout):
                raise TimeoutError
            if self._closed or self._next >= log.end:
                return None
            chunk = log.get(self._next)
            self._next += 1
            self._read += len(chunk.data)
            changed.notify_all()
            return chunk.stream, chunk.data

    @property
    def _over(self) -> bool:
        return self._container.ends > self._ends or self._container.removed

    def write(self, data: bytes) -> None:
        """Write to its standard input."""
        if self._stdin is None:
            return
        if self._container.spec.tty:
            _type(self._stdin, data, lambda shown: self._container.log.add("stdout", shown))
        else:
            self._stdin.write(data)

    def end_input(self) -> None:
        """End its standard input."""
        if self._stdin is not None:
            self._stdin.end()

    def close(self) -> None:
        """Give the stream up."""
        with self._container.changed:
            self._closed = True
            self._container.log.attached.discard(self)
            self._container.changed.notify_all()
        self.end_input()


class MemoryExecution:
    """An `Execution`."""

    def __init__(self, output: Channel, stdin: Stdin | None, *, tty: bool) -> None:
        self._output = output
        # Held for good: a process that writes when nobody listens any more is not ended by that.
        self._reader = output.reader()
        self._stdin = stdin
        self._tty = tty
        self._closed = False
        self.process: Process | None = None
        self.failure: ExecOutcome | None = None

    def read(self, timeout: float | None = None) -> tuple[StreamName, bytes] | None:
        """Return the next output."""
        changed = self._output.changed
        with changed:
            if not changed.wait_for(lambda: self._closed or self._output.readable, timeout):
                raise TimeoutError
            return None if self._closed else self._output.take()

    def write(self, data: bytes) -> None:
        """Write to its standard input."""
        if self._stdin is None:
            return
        if self._tty:
            _type(self._stdin, data, lambda shown: self._output.add("stdout", shown))
        else:
            self._stdin.write(data)

    def end_input(self) -> None:
        """End its standard input."""
        if self._stdin is not None:
            self._stdin.end()

    def close(self) -> None:
        """Give the stream up; the process goes on, and writes to nobody."""
        self._closed = True
        self._output.drop()
        self.end_input()

    def outcome(self) -> ExecOutcome | None:
        """Return how it ended."""
        if self.process is None:
            return self.failure
        code = self.process.exit_code
        return None if code is None else ExecOutcome(exit_code=code, raw_exit_code=code)


class LogReader:
    """A `LogLines`: the chunks of a log, or with times or a tail its lines."""

    def __init__(self, container: MemoryContainer, request: LogRequest) -> None:
        self._container = container
        self._request = request
        self._next = container.log.first
        self._stop = None if request.follow else container.log.end
        self._lines = request.timestamps or request.tail is not None
        self._ready: deque[LogChunk] = deque()
        # Of each stream, the beginning of a line that has no end yet.
        self._begun: dict[StreamName, LogChunk] = {}
        self._closed = False
        if request.tail is not None:
            while self._next < container.log.end:
                self._take()
            if not request.follow:
                self._flush()
            surplus = len(self._ready) + len(self._begun) - request.tail
            for _ in range(min(surplus, len(self._ready))):
                self._ready.popleft()
            if request.tail == 0:
                self._begun.clear()

    def read(self, timeout: float | None = None) -> LogChunk | None:
        """Return the next chunk."""
        end = None if timeout is None else time.monotonic() + timeout
        changed = self._container.changed
        with changed:
            while not self._closed:
                if self._ready:
                    chunk = self._ready.popleft()
                    return chunk if self._request.timestamps else LogChunk(chunk.stream, chunk.data)
                if self._next < (self._container.log.end if self._stop is None else self._stop):
                    self._take()
                elif self._over:
                    if not self._begun:
                        return None
                    self._flush()
                else:
                    left = None if end is None else end - time.monotonic()
                    if left is not None and left <= 0:
                        raise TimeoutError
                    until = self._request.until
                    pauses = [seconds for seconds in (left, until and until - time.time()) if seconds is not None]
                    changed.wait(max(0.0, min(pauses)) if pauses else None)
            return None

    def close(self) -> None:
        """Give the stream up."""
        with self._container.changed:
            self._closed = True
            self._container.changed.notify_all()

    @property
    def _over(self) -> bool:
        until = self._request.until
        return (
            self._stop is not None
            or not self._container.active
            or self._container.removed
            or (until is not None and time.time() >= until)
        )

    def _take(self) -> None:
        """Take the next chunk of the log."""
        number = max(self._next, self._container.log.first)
        if number >= self._container.log.end:
            self._next = number
            return
        chunk = self._container.log.get(number)
        self._next = number + 1
        assert chunk.time is not None
        when = chunk.time.timestamp()
        since, until = self._request.since, self._request.until
        if (since is not None and when < since) or (until is not None and when > until):
            return
        if not self._lines:
            self._ready.append(chunk)
            return
        begun = self._begun.pop(chunk.stream, None)
        data = (begun.data if begun else b"") + chunk.data
        *lines, rest = data.split(b"\n")
        first = begun.time if begun else chunk.time
        for line in lines:
            self._ready.append(LogChunk(chunk.stream, line + b"\n", first))
            first = chunk.time
        if rest:
            self._begun[chunk.stream] = LogChunk(chunk.stream, rest, first)

    def _flush(self) -> None:
        """Make lines of what has no end."""
        self._ready.extend(self._begun.values())
        self._begun.clear()
