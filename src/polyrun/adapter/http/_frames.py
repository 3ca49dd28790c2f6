"""The engines' framing of two output streams in one: 8 bytes of header, then the payload."""

from __future__ import annotations

import re
from collections import deque
from datetime import datetime, timezone
from struct import Struct
from typing import TYPE_CHECKING, Protocol

from polyrun import EngineError, LogChunk

if TYPE_CHECKING:
    from polyrun.adapter._engine import ByteStream, StreamName
    from polyrun.adapter.http._transport import HttpStream

_HEADER = Struct(">BxxxI")
_NAMES: dict[int, StreamName] = {0: "stdout", 1: "stdout", 2: "stderr", 3: "stderr"}

# RFC 3339 with nanoseconds on Docker, with whole seconds and the host's offset on Podman.
_TIMESTAMP = re.compile(rb"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(\.\d{1,9})?(Z|[+-]\d\d:\d\d) ?")


class Frames:
    """Output split by stream as it comes, in constant memory.

    Frames of one stream that arrived together come out as one piece, unless *whole* asks for
    each frame by itself, complete.
    """

    def __init__(self, source: ByteStream, *, whole: bool = False) -> None:
        self._source = source
        self._whole = whole
        self._rest = b""
        self._ready: deque[tuple[StreamName, bytes]] = deque()
        # Of a frame that is handed out in pieces: its stream, and the bytes still to come.
        self._name: StreamName = "stdout"
        self._left = 0

    def read(self, timeout: float | None = None) -> tuple[StreamName, bytes] | None:
        """Return stream and bytes, or ``None`` at the end; see `ProcessStream.read`."""
        while not self._ready:
            data = self._source.read(timeout)
            if not data:
                if self._rest or self._left:
                    raise EngineError("the engine broke off in the middle of a frame of output")
                return None
            self._split(self._rest + data if self._rest else data)
        return self._ready.popleft()

    def close(self) -> None:
        """Give the stream up."""
        self._source.close()

    def _split(self, data: bytes) -> None:
        position, end = 0, len(data)
        name, left = self._name, self._left
        pieces: list[bytes] = []

        def hand_out(name: StreamName) -> None:
            if pieces:
                self._ready.append((name, b"".join(pieces)))
                pieces.clear()

        while True:
            if left:
                piece = data[position : position + left]
                pieces.append(piece)
                position += len(piece)
                left -= len(piece)
            if left or end - position < _HEADER.size:
                break
            number, length = _HEADER.unpack_from(data, position)
            if self._whole and end - position - _HEADER.size < length:
                break
            following = _NAMES.get(number)
            if following is None:
                raise EngineError("the engine sent output that is not framed as it should be")
            if following != name or self._whole:
                hand_out(name)
            name, left = following, length
            position += _HEADER.size
        hand_out(name)
        self._name, self._left = name, left
        self._rest = data[position:]


class RawOutput:
    """The output of a terminal, which has one stream and no frames."""

    def __init__(self, source: ByteStream) -> None:
        self._source = source

    def read(self, timeout: float | None = None) -> tuple[StreamName, bytes] | None:
        """Return ``"stdout"`` and bytes, or ``None`` at the end; see `ProcessStream.read`."""
        data = self._source.read(timeout)
        return ("stdout", data) if data else None

    def close(self) -> None:
        """Give the stream up."""
        self._source.close()


class Output(Protocol):
    """**Protocol** Output by stream."""

    def read(self, timeout: float | None = None) -> tuple[StreamName, bytes] | None:
        """Return stream and bytes, or ``None`` at the end; see `ProcessStream.read`."""
        ...

    def close(self) -> None:
        """Give the stream up."""
        ...


def open_output(source: ByteStream, *, tty: bool, whole: bool = False) -> Output:
    """Return the output in *source*: a terminal's is raw, any other is framed; see `Frames` for *whole*."""
    return RawOutput(source) if tty else Frames(source, whole=whole)


class HttpProcess:
    """A process's streams over an upgraded connection."""

    def __init__(self, stream: HttpStream, *, tty: bool) -> None:
        self._stream = stream
        self._tty = tty
        self._within_line = False
        self._output = open_output(stream, tty=tty)

    def read(self, timeout: float | None = None) -> tuple[StreamName, bytes] | None:
        """Return the next output; see `ProcessStream.read`."""
        return self._output.read(timeout)

    def write(self, data: bytes) -> None:
        """Write to standard input."""
        if data:
            self._within_line = not data.endswith(b"\n")
        self._stream.write(data)

    def end_input(self) -> None:
        """End standard input; a terminal is told by the character that means so.

        Half-closing the connection of a terminal loses its output on Docker and is not passed on
        by Podman.
        """
        if self._tty:
            # Within a line the first only hands over what there is of it.
            self._stream.write(b"\x04\x04" if self._within_line else b"\x04")
        else:
            self._stream.end_input()

    def close(self) -> None:
        """Give the streams up."""
        self._stream.close()


class HttpLogs:
    """A container's output over HTTP, with the time of each line if *timed*."""

    def __init__(self, output: Output, *, tty: bool, timed: bool) -> None:
        self._output = output
        self._timed = timed
        self._time: datetime | None = None
        self._ready: deque[LogChunk] = deque()
        # Of a terminal's output, which is not cut at its lines: what stands before the next end of line.
        self._line = b""
        self._lines = tty and timed

    def read(self, timeout: float | None = None) -> LogChunk | None:
        """Return the next chunk; see `LogLines.read`."""
        while not self._ready:
            found = self._output.read(timeout)
            if found is None:
                line, self._line = self._line, b""
                return self._timed_chunk("stdout", line) if line else None
            name, data = found
            if not self._timed:
                return LogChunk(name, data)
            for line in self._whole_lines(data) if self._lines else [data]:
                self._ready.append(self._timed_chunk(name, line))
        return self._ready.popleft()

    def close(self) -> None:
        """Give the stream up."""
        self._output.close()

    def _whole_lines(self, data: bytes) -> list[bytes]:
        *lines, self._line = (self._line + data).split(b"\n")
        return [line + b"\n" for line in lines]

    def _timed_chunk(self, name: StreamName, line: bytes) -> LogChunk:
        found = _TIMESTAMP.match(line)
        if found:
            self._time = _moment(*found.groups())
        # What has no time of its own goes on with a line that had one.
        return LogChunk(name, line[found.end() :] if found else line, self._time)


def _moment(seconds: bytes, fraction: bytes | None, zone: bytes) -> datetime:
    digits = (fraction or b".0")[1:7].ljust(6, b"0").decode()
    offset = "+00:00" if zone == b"Z" else zone.decode()
    return datetime.fromisoformat(f"{seconds.decode()}.{digits}{offset}").astimezone(timezone.utc)
