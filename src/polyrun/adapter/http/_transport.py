"""HTTP to an engine: small requests over kept connections, streams over connections of their own.

Small requests go through a urllib3 pool, which keeps connections, is safe from threads, and
notices one that the engine has closed. The SDKs' own unix connections are not used: they leave
a socket open when a connect fails (a `ResourceWarning`), and keep ten at most.

A stream is read here from its socket. Each read has a deadline of its own and the stream stays
readable after it, which `http.client` cannot do: it reads ahead for the next chunk, and refuses
every read after one that timed out. A build that is silent for a minute, or a log that is followed
for a week, is not a dead engine.
"""

from __future__ import annotations

import json
import os
import re
import socket
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import quote, urlencode

import urllib3
from attr import field, frozen
from urllib3.connection import HTTPConnection
from urllib3.connectionpool import HTTPConnectionPool
from urllib3.util.wait import wait_for_read, wait_for_write

from polyrun import DeadlineExceeded, EngineError, PolyrunError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

# Blocks of 64 to 256 KiB are fastest; 1 MiB is slower again.
BLOCK = 256 * 1024

_FAILED = 400

# More threads than this on one object still work, over connections that are not kept.
_KEPT = 32


class _UnixConnection(HTTPConnection):
    def __init__(self, *args: Any, path: str, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._path = path

    def connect(self) -> None:
        self.sock = open_unix(self._path, self.timeout if isinstance(self.timeout, (int, float)) else None)


def open_unix(path: str, timeout: float | None) -> socket.socket:
    """Connect to the unix socket at *path*; no socket is left open when that fails."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.settimeout(timeout)
        sock.connect(path)
    except BaseException:
        sock.close()
        raise
    return sock


class Pool(HTTPConnectionPool):
    """A urllib3 pool that also opens connections which are not its own to keep."""

    def open(self, timeout: float) -> socket.socket:
        """Return a new connection."""
        connection = cast("HTTPConnection", self._new_conn())
        connection.timeout = timeout
        connection.connect()
        sock = cast("socket.socket", connection.sock)
        sock.settimeout(timeout)
        return sock


class _UnixPool(Pool):
    # urllib3's protocol asks for constructor parameters that a unix socket has no use for.
    ConnectionCls = _UnixConnection  # pyright: ignore[reportAssignmentType]


def unix_pool(path: str) -> Pool:
    """Return a pool of connections to the unix socket at *path*."""
    return _UnixPool("localhost", maxsize=_KEPT, path=path)


@frozen
class Reply:
    """A whole answer: *status*, *headers* with names in lower case, *body*."""

    status: int
    headers: Mapping[str, str]
    body: bytes = field(repr=False)
    engine: str = ""

    def json(self) -> Any:
        """Return the body as JSON."""
        try:
            return json.loads(self.body)
        except ValueError as error:
            raise EngineError(
                f"the engine answered with what is not JSON: {self.body[:80]!r}", engine=self.engine
            ) from error


class HttpClient:
    """Requests and streams to one engine.

    *engine* names it in messages. *broken* turns a failure to reach it into the right error, with
    the report of a check. An answer of 400 or above is raised as what the caller's *fail* makes
    of it: how one engine words its failures is its adapter's business.
    """

    def __init__(
        self,
        make_pool: Callable[[], Pool],
        *,
        engine: str,
        timeout: float,
        broken: Callable[[BaseException], PolyrunError],
    ) -> None:
        self._make_pool = make_pool
        self._pools = {os.getpid(): make_pool()}
        self._engine = engine
        self.timeout = timeout
        self.broken = broken
        self._closed = False

    def close(self) -> None:
        """Close the kept connections. Streams that are open stay so until they are closed."""
        self._closed = True
        for pool in self._pools.values():
            pool.close()

    def request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, object] | None = None,
        body: object = None,
        headers: Mapping[str, str] | None = None,
        timeout: float | None = None,
        fail: Callable[[Reply], PolyrunError],
    ) -> Reply:
        """Send a request and return the whole answer, or raise what *fail* makes of it.

        *body* is bytes, or a value to send as JSON. *timeout* replaces the client's for this request.
        """
        self._refuse_closed()
        data, sent = _encode(body, headers)
        limit = self.timeout if timeout is None else timeout
        try:
            response = self._pool.urlopen(
                method,
                target(path, query),
                body=data,
                headers=sent,
                timeout=urllib3.Timeout(total=None, connect=min(limit, self.timeout), read=limit),
                retries=False,
                redirect=False,
                preload_content=False,
            )
            body = _whole(response, limit)
            reply = Reply(response.status, {k.lower(): v for k, v in response.headers.items()}, body, self._engine)
        except (urllib3.exceptions.ReadTimeoutError, TimeoutError) as error:
            raise self._too_late(f"{method} {path}", limit) from error
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise self.broken(error) from error
        if reply.status >= _FAILED:
            raise fail(reply)
        return reply

    def stream(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, object] | None = None,
        body: object = None,
        chunks: Iterable[bytes] | None = None,
        headers: Mapping[str, str] | None = None,
        upgrade: bool = False,
        fail: Callable[[Reply], PolyrunError],
        timeout: float | None = None,
    ) -> HttpStream:
        """Send a request over a connection of its own and return its answer as a stream.

        *chunks* are sent as they come. With *upgrade* the connection becomes a pipe in both
        directions (`HttpStream.write`). *timeout* is for the beginning of the answer.
        """
        self._refuse_closed()
        data, sent = _encode(body, headers)
        if upgrade:
            sent |= {"Connection": "Upgrade", "Upgrade": "tcp"}
        limit = self.timeout if timeout is None else timeout
        stream: HttpStream | None = None
        try:
            stream = HttpStream(self._pool.open(self.timeout), self._engine, alive=self._ask_alive)
            stream.send(method, target(path, query), sent, data, chunks)
            reply = stream.begin(limit, upgraded=upgrade)
        except BaseException as error:
            if stream is not None:
                stream.close()
            if isinstance(error, PolyrunError):  # of the chunks, or of the body
                raise
            if isinstance(error, TimeoutError):
                raise self._too_late(f"{method} {path}", limit) from error
            if isinstance(error, (OSError, ValueError, urllib3.exceptions.HTTPError)):
                raise self.broken(error) from error
            raise
        if reply is not None:
            stream.close()
            raise fail(reply)
        return stream

    def _ask_alive(self) -> None:
        self.request(
            "GET",
            "/_ping",
            timeout=min(5.0, self.timeout),
            fail=lambda reply: EngineError("the engine is not well", status=reply.status, engine=self._engine),
        )

    @property
    def _pool(self) -> Pool:
        """The connections of this process: those of the process that it was forked from are not its own."""
        pid = os.getpid()
        if pid not in self._pools:
            self._pools[pid] = self._make_pool()
        return self._pools[pid]

    def _refuse_closed(self) -> None:
        if self._closed:
            raise EngineError("this runtime is closed", engine=self._engine, hint="Connect again.")

    def _too_late(self, what: str, limit: float) -> DeadlineExceeded:
        return DeadlineExceeded(
            f"no answer to {what} within {limit:g} seconds",
            engine=self._engine,
            hint="The engine accepts connections and does not answer: look at its log, or restart it.",
        )


class HttpStream:
    """The body of an answer, read as it comes; with an upgrade also written to."""

    def __init__(self, sock: socket.socket, engine: str, *, alive: Callable[[], None]) -> None:
        self._sock = sock
        self._engine = engine
        self._alive = alive
        self._closed = False
        self._method = ""
        self._upgraded = False
        self._received = b""
        # What is left of the body, or of the chunk, and whether it comes in chunks; None is all there is.
        self._left: int | None = None
        self._chunked = False
        self._ended = False
        self.headers: Mapping[str, str] = {}

    def send(
        self, method: str, path: str, headers: Mapping[str, str], data: bytes | None, chunks: Iterable[bytes] | None
    ) -> None:
        """Send a request, with *data* or *chunks* as its body."""
        self._method = method
        # An answer to HTTP/1.0 is not cut in chunks, which costs a fifth of the time for a large one.
        # A body in chunks takes 1.1.
        version = "1.0" if method == "GET" else "1.1"
        head = [f"{method} {path} HTTP/{version}", "Host: localhost"]
        head += [f"{name}: {value}" for name, value in {"Connection": "close", **headers}.items()]
        head.append("Transfer-Encoding: chunked" if chunks is not None else f"Content-Length: {len(data or b'')}")
        self._sock.sendall("\r\n".join([*head, "", ""]).encode() + (data or b""))
        if chunks is None:
            return
        # An engine that has seen enough closes its side; its answer says why.
        with suppress(BrokenPipeError, ConnectionResetError):
            # The end of one chunk goes with the length of the next, so that none is copied.
            tail = b""
            for chunk in chunks:
                if chunk:
                    self._sock.sendall(tail + b"%x\r\n" % len(chunk))
                    self._sock.sendall(chunk)
                    tail = b"\r\n"
            self._sock.sendall(tail + b"0\r\n\r\n")

    def begin(self, limit: float, *, upgraded: bool) -> Reply | None:
        """Read status and headers; return the whole answer if it is a failure."""
        while b"\r\n\r\n" not in self._received:
            self._receive(limit)
            if self._ended or len(self._received) > BLOCK:
                raise ConnectionError("what answers does not speak HTTP")
        head, _, self._received = self._received.partition(b"\r\n\r\n")
        status_line, *lines = head.decode("latin-1").split("\r\n")
        found = re.match(r"HTTP/1\.[01] (\d{3})", status_line)
        if not found:
            raise ConnectionError("what answers does not speak HTTP")
        status = int(found[1])
        self.headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        if status < _FAILED and upgraded:
            # Docker's answer to an upgrade is 101, or 200 where it does not know the header.
            self._upgraded = True
        elif self._method == "HEAD":
            self._ended = True
        elif self.headers.get("transfer-encoding", "").lower() == "chunked":
            self._chunked, self._left = True, 0
        elif "content-length" in self.headers:
            self._left = int(self.headers["content-length"])
        if status < _FAILED:
            return None
        return Reply(status, self.headers, b"".join(iter(lambda: self.read(limit), b"")), self._engine)

    def read(self, timeout: float | None = None) -> bytes:
        """Return the next bytes, ``b""`` at the end; `TimeoutError` leaves the stream readable."""
        end = None if timeout is None else time.monotonic() + timeout
        while not self._closed:
            try:
                data = self._decoded()
            except ValueError as error:  # no length of a chunk
                raise self._broken_off() from error
            if data:
                return data
            if self._ended or (self._left == 0 and not self._chunked):
                return b""
            try:
                self._receive(None if end is None else end - time.monotonic())
            except TimeoutError:
                raise
            except (OSError, ValueError) as error:
                # Closed by another thread while it was read: an end, not an error. So is how a
                # process that ended without reading its input ends the connection; all that it
                # wrote was read before, and the exit code tells how it ended.
                reset = self._upgraded and isinstance(error, ConnectionResetError)
                if reset or self._closed:
                    return b""
                raise self._broken_off() from error
            if self._ended and not self._upgraded:
                self._end()
        return b""

    def _end(self) -> None:
        """Take the end of the connection for the end of the answer only if it can be that."""
        if self._left is not None and not (self._left == 0 and not self._chunked):
            raise self._broken_off()
        if self._left is None and not self._closed:
            # The end of an answer that has no length looks like the end of the engine.
            self._alive()

    def _broken_off(self) -> EngineError:
        return EngineError(
            "the engine broke off its answer", engine=self._engine, hint="Was it stopped? Look at its log."
        )

    def _receive(self, timeout: float | None) -> None:
        """Wait for more, and take it."""
        if not wait_for_read(self._sock, None if timeout is None else max(0.0, timeout)):
            raise TimeoutError
        data = self._sock.recv(BLOCK)
        self._ended = not data
        self._received = self._received + data if self._received else data

    def _decoded(self) -> bytes:
        """Return what of the body was received, without the marks of its chunks."""
        data = self._received
        if not self._chunked:
            if self._left is not None:
                data = data[: self._left]
                self._left -= len(data)
            self._received = b""
            return data
        pieces: list[bytes] = []
        position = 0
        while True:
            if self._left:
                piece = data[position : position + self._left]
                pieces.append(piece)
                position += len(piece)
                self._left -= len(piece)
                if self._left:
                    break
            # The end of the line after a chunk, and then the line that begins the next.
            start = position + 2 if data.startswith(b"\r\n", position) else position
            end = data.find(b"\r\n", start)
            if end < 0:
                break
            self._left = int(data[start:end].partition(b";")[0], 16)
            position = end + 2
            if self._left == 0:
                self._chunked, self._ended = False, True
                break
        self._received = data[position:]
        return b"".join(pieces)

    def __iter__(self) -> Iterator[bytes]:
        while data := self.read():
            yield data

    def write(self, data: bytes) -> None:
        """Write to an upgraded connection; a peer that no longer reads, or a close meanwhile, is not an error."""
        # What is closed under the write is an OSError or a ValueError, by where it is noticed.
        with suppress(OSError, ValueError):
            view = memoryview(data)
            while view and not self._closed:
                # In blocks: a send of everything would be one wait, with one deadline, for all of it.
                if wait_for_write(self._sock, 1.0):
                    view = view[self._sock.send(view[:BLOCK], socket.MSG_DONTWAIT) :]

    def end_input(self) -> None:
        """Send the end of input; the other direction stays open."""
        with suppress(OSError):
            self._sock.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        """Close at any time, from any thread; a waiting `read` returns ``b""``."""
        if self._closed:
            return
        self._closed = True
        with suppress(OSError):
            self._sock.shutdown(socket.SHUT_RDWR)
        self._sock.close()


def _whole(response: urllib3.BaseHTTPResponse, limit: float) -> bytes:
    """Return the whole body, and give the connection back; within *limit* seconds, however it drips."""
    end = time.monotonic() + limit
    pieces: list[bytes] = []
    try:
        while piece := response.read1(BLOCK):
            pieces.append(piece)
            if time.monotonic() > end:
                response.close()
                raise TimeoutError
    finally:
        response.release_conn()
    return b"".join(pieces)


def target(path: str, query: Mapping[str, object] | None) -> str:
    """Return the request target; ``None`` values are left out, true and false are 1 and 0."""
    if not query:
        return path
    pairs = {
        name: int(value) if isinstance(value, bool) else json.dumps(value) if isinstance(value, (dict, list)) else value
        for name, value in query.items()
        if value is not None
    }
    return f"{path}?{urlencode(pairs, errors='surrogateescape')}" if pairs else path


def segment(name: str) -> str:
    """Return *name* as one segment of a path, with any slash in it quoted."""
    return quote(name, safe=":@")


def _encode(body: object, headers: Mapping[str, str] | None) -> tuple[bytes | None, dict[str, str]]:
    # A compressed answer would cost the engine eight times the time for an archive.
    sent = {"Accept-Encoding": "identity", **(headers or {})}
    if body is None or isinstance(body, bytes):
        return body, sent
    sent["Content-Type"] = "application/json"
    return json.dumps(body).encode(), sent


def deadline(timeout: float | None) -> Callable[[], float | None]:
    """Return a function that says how many seconds are left, and ``None`` for ever."""
    if timeout is None:
        return lambda: None
    end = time.monotonic() + timeout
    return lambda: max(0.0, end - time.monotonic())
