"""A container's output to its very end, which neither engine's own follow gives for sure.

Docker 20.10 now and then ends the stream of a container that has died before all is read. Podman 4.3
drops lines at random for a quarter of a second after the death, and then ends it (its tail selects
between a line and "dying"). A reading that does not follow is exact on both. So the output is
followed until the container dies, and then read once more from where that got to.
"""

from __future__ import annotations

import time
from collections import deque
from typing import TYPE_CHECKING, TypeVar

from polyrun import ContainerNotFound

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from polyrun.adapter._engine import ByteStream, StreamName
    from polyrun.adapter.http._frames import Output

    Piece = tuple[StreamName, bytes]

_LOOK = 0.05
"""Seconds between two looks for the death; on Podman lines are lost from 0.25 after it."""


_Stream = TypeVar("_Stream", bound="Output | ByteStream")


class WholeOutput:
    """All output of a container, from its *tail* last lines on, and with *follow* until it ends.

    *open_output* opens what there is from the beginning, and follows it if told to; *runs* asks whether
    the container runs. Where a follow cannot be trusted after a death, *open_deaths* opens a stream in
    which something stands once the container has died.
    """

    def __init__(
        self,
        open_output: Callable[[bool], Output],
        runs: Callable[[], bool],
        *,
        open_deaths: Callable[[], ByteStream] | None = None,
        tail: int | None,
        follow: bool,
    ) -> None:
        self._open_output = open_output
        self._open_deaths = open_deaths
        self._runs = runs
        self._follow = follow
        # Bytes by stream that need not be read again.
        self._seen: dict[StreamName, int] = {"stdout": 0, "stderr": 0}
        self._open: list[Output | ByteStream] = []
        self._closed = False
        self._pieces = self._read_all(tail)

    def read(self, timeout: float | None = None) -> tuple[StreamName, bytes] | None:
        """Return stream and bytes, or ``None`` at the end; `TimeoutError` leaves it readable."""
        end = None if timeout is None else time.monotonic() + timeout
        for piece in self._pieces:
            if piece is not None:
                return piece
            if end is not None and time.monotonic() >= end:
                raise TimeoutError
        return None

    def close(self) -> None:
        """Give the streams up, from any thread."""
        self._closed = True
        for stream in self._open:
            stream.close()

    def _read_all(self, tail: int | None) -> Iterator[Piece | None]:
        """Yield the output; ``None`` says that there was none for a while."""
        if tail is not None:
            yield from self._last_lines(tail)
            if not self._follow:
                return
        while not self._closed:
            following = self._follow and self._runs()
            deaths = self._opened(self._open_deaths()) if following and self._open_deaths else None
            try:
                # Asked again, since it may have died before its death could be heard of.
                following = following and (deaths is None or self._runs())
                yield from self._read_on(following, deaths)
            finally:
                if deaths is not None:
                    self._put_away(deaths)
            # A container that runs again, as by its restart policy, is followed again.
            if not following and not (self._follow and self._runs()):
                return

    def _read_on(self, following: bool, deaths: ByteStream | None) -> Iterator[Piece | None]:
        """Yield what is behind that which was seen, to the end or until the container has died."""
        skip = dict(self._seen)
        try:
            output = self._opened(self._open_output(following))
        except ContainerNotFound:
            return  # removed meanwhile, which ends its output
        try:
            while not (following and deaths is not None and _is_ready(deaths)):
                try:
                    found = output.read(_LOOK)
                except TimeoutError:
                    yield None
                    continue
                if found is None:
                    return
                name, data = found
                known = min(skip[name], len(data))
                skip[name] -= known
                self._seen[name] += len(data) - known
                if known < len(data):
                    yield name, data[known:]
        finally:
            self._put_away(output)

    def _last_lines(self, count: int) -> Iterator[Piece | None]:
        """Read what there is, and yield the last *count* lines of both streams together."""
        lines: deque[tuple[StreamName, list[bytes]]] = deque()
        for piece in self._read_on(following=False, deaths=None):
            if piece is None:
                yield None
                continue
            name, data = piece
            for part in data.splitlines(keepends=True):
                if lines and lines[-1][0] == name and not lines[-1][1][-1].endswith(b"\n"):
                    lines[-1][1].append(part)  # the rest of a line
                    continue
                lines.append((name, [part]))
                if len(lines) > count:
                    lines.popleft()
        for name, parts in lines:
            yield name, b"".join(parts)

    def _opened(self, stream: _Stream) -> _Stream:
        self._open.append(stream)
        if self._closed:
            stream.close()
        return stream

    def _put_away(self, stream: Output | ByteStream) -> None:
        stream.close()
        self._open.remove(stream)


def _is_ready(stream: ByteStream) -> bool:
    try:
        stream.read(0)
    except TimeoutError:
        return False
    return True
