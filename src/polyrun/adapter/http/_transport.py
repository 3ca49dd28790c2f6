"""HTTP to an engine: small requests over kept connections, streams over connections of their own.

Small requests go through a urllib3 pool, which keeps connections, is safe from threads, and
notices one that the engine has closed. The SDKs' own unix connections are not used: they leave
a socket open when a connect fails (a `ResourceWarning`), and keep ten at most.

A stream is read with a deadline for each read that leaves it readable afterwards, which the
buffered files below urllib3 cannot do: they refuse every read after one that timed out. A build
that is silent for a minute, or a log that is followed for a week, is not a dead engine.
"""

from __future__ import annotations

import http.client
import json
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
    from io import BufferedReader

# Blocks of 64 to 256 KiB are fastest; 1 MiB is slower again.
BLOCK = 256 * 1024

_FAILED = 400

# More threads than this on one object still work, over connections that are not kept.
_KEPT = 64


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
    """A urllib3 pool that also hands out connections which are not its own to keep."""

    def fresh(self) -> HTTPConnection:
        """Return a new connection, not yet open."""
        return cast("HTTPConnection", self._new_conn())


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

    def json(self) -> Any:
        """Return the body as JSON."""
        try:
            return json.loads(self.body)
        except ValueError as error:
            raise EngineError(f"the engine answered with what is not JSON: {self.body[:80]!r}") from error


class HttpClient:
    """Requests and streams to one engine.

    *engine* names it in messages. *broken* turns a failure to reach it into the right error, with
    the report of a check. An answer of 400 or above is raised as what the caller's *fail* makes
    of it: how one engine words its failures is its adapter's business.
    """

    def __init__(
        self,
        pool: Pool,
        *,
        engine: str,
        timeout: float,
        broken: Callable[[BaseException], PolyrunError],
    ) -> None:
        self._pool = pool
        self._engine = engine
        self.timeout = timeout
        self._broken = broken
        self._closed = False

    def close(self) -> None:
        """Close the kept connections. Streams that are open stay so until they are closed."""
        self._closed = True
        self._pool.close()

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
            )
            reply = Reply(response.status, {k.lower(): v for k, v in response.headers.items()}, response.data)
        except urllib3.exceptions.ReadTimeoutError as error:
            raise self._too_late(f"{method} {path}", limit) from error
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise self._broken(error) from error
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
        directions (`HttpStream.write`).
        """
        self._refuse_closed()
        data, sent = _encode(body, headers)
        sent |= {"Connection": "Upgrade", "Upgrade": "tcp"} if upgrade else {"Connection": "close"}
        limit = self.timeout if timeout is None else timeout
        connection = self._pool.fresh()
        stream: HttpStream | None = None
        try:
            connection.timeout = self.timeout
            connection.connect()
            sock = cast("socket.socket", connection.sock)
            # Sent with http.client's own methods, answered by a response of our own over the same socket.
            connection.putrequest(method, target(path, query), skip_accept_encoding=True)
            for name, value in sent.items():
                connection.putheader(name, value)
            _send(connection, data, chunks)
            stream = HttpStream(sock, method, limit, self._engine)
            reply = stream.begin(limit, upgraded=upgrade)
        except BaseException as error:
            if stream is not None:
                stream.close()
            connection.close()
            if isinstance(error, PolyrunError):  # of the chunks, or of the body
                raise
            if isinstance(error, TimeoutError):
                raise self._too_late(f"{method} {path}", limit) from error
            if isinstance(error, (http.client.HTTPException, OSError, urllib3.exceptions.HTTPError)):
                raise self._broken(error) from error
            raise
        if reply is not None:
            stream.close()
            raise fail(reply)
        return stream

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

    def __init__(self, sock: socket.socket, method: str, limit: float, engine: str) -> None:
        self._sock = sock
        self._limit = limit
        self._engine = engine
        self._closed = False
        sock.settimeout(limit)
        self._file = cast("BufferedReader", sock.makefile("rb", buffering=BLOCK))
        self._response = http.client.HTTPResponse(cast("socket.socket", _Opened(self._file)), method=method)
        self._upgraded = False
        self.headers: Mapping[str, str] = {}

    def begin(self, limit: float, *, upgraded: bool) -> Reply | None:
        """Read status and headers; return the whole answer if it is a failure."""
        self._await(limit)
        response = self._response
        response.begin()
        self.headers = {name.lower(): value for name, value in response.getheaders()}
        if response.status >= _FAILED:
            return Reply(response.status, self.headers, response.read())
        # Docker's answer to an upgrade is 101, or 200 where it does not know the header.
        self._upgraded = upgraded
        return None

    def read(self, timeout: float | None = None) -> bytes:
        """Return the next bytes, ``b""`` at the end; `TimeoutError` leaves the stream readable."""
        if self._closed or self._response.isclosed() or (self._response.length == 0 and not self._upgraded):
            return b""
        try:
            self._await(timeout)
            data = self._file.read1(BLOCK) if self._upgraded else self._response.read1(BLOCK)
        except TimeoutError:
            raise
        except ConnectionResetError as error:
            # How a process that ended without reading its input ends the connection; all that it
            # wrote was read before. The exit code tells how it ended.
            if self._upgraded or self._closed:
                return b""
            raise self._broken_off() from error
        except (OSError, ValueError, AttributeError, http.client.HTTPException) as error:
            # Closed by another thread while it was read: an end, not an error.
            if self._closed:
                return b""
            raise self._broken_off() from error
        return data

    def _broken_off(self) -> EngineError:
        return EngineError(
            "the engine broke off its answer", engine=self._engine, hint="Was it stopped? Look at its log."
        )

    def __iter__(self) -> Iterator[bytes]:
        while data := self.read(self._limit):
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
        self._response.close()
        self._file.close()
        self._sock.close()

    def _await(self, timeout: float | None) -> None:
        """Return once a read will not wait, or raise `TimeoutError`."""
        sock = self._sock
        sock.setblocking(False)
        try:
            # Fills an empty buffer with what is there, and shows what a full one holds.
            ready = bool(self._file.peek(1))
        finally:
            with suppress(OSError):
                sock.settimeout(self._limit)
        if not ready and not wait_for_read(sock, timeout):
            raise TimeoutError


class _Opened:
    """What `http.client.HTTPResponse` wants of a socket, over a file that is open already."""

    def __init__(self, file: BufferedReader) -> None:
        self._file = file

    def makefile(self, _mode: str) -> BufferedReader:
        return self._file


def target(path: str, query: Mapping[str, object] | None) -> str:
    """Return the request target; ``None`` values are left out, true and false are 1 and 0."""
    if not query:
        return path
    pairs = {
        name: int(value) if isinstance(value, bool) else json.dumps(value) if isinstance(value, (dict, list)) else value
        for name, value in query.items()
        if value is not None
    }
    return f"{path}?{urlencode(pairs)}" if pairs else path


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


def _send(connection: HTTPConnection, data: bytes | None, chunks: Iterable[bytes] | None) -> None:
    if chunks is None:
        connection.putheader("Content-Length", str(len(data or b"")))
        connection.endheaders(data)
        return
    connection.putheader("Transfer-Encoding", "chunked")
    connection.endheaders()
    # An engine that has seen enough closes its side; its answer says why.
    with suppress(BrokenPipeError, ConnectionResetError):
        for chunk in chunks:
            if chunk:
                connection.send(b"%x\r\n%b\r\n" % (len(chunk), chunk))
        connection.send(b"0\r\n\r\n")


def deadline(timeout: float | None) -> Callable[[], float | None]:
    """Return a function that says how many seconds are left, and ``None`` for ever."""
    if timeout is None:
        return lambda: None
    end = time.monotonic() + timeout
    return lambda: max(0.0, end - time.monotonic())
