"""A bare HTTP client over a unix socket, for the floor and for what is prepared and verified."""

from __future__ import annotations

import http.client
import json
import socket
from struct import Struct
from typing import IO, TYPE_CHECKING, Any
from urllib.parse import urlencode

from benchmarks._facts import WrongError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

BLOCK = 256 * 1024
_HEADER = Struct(">BxxxI")


class Connection(http.client.HTTPConnection):
    """One kept connection."""

    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=120)
        self._path = path

    def connect(self) -> None:
        """Connect to the socket."""
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)

    def open(
        self, method: str, target: str, *, body: object = None, headers: dict[str, str] | None = None
    ) -> http.client.HTTPResponse:
        """Send a request and return its answer, to be read; *body* is JSON, bytes or an iterable of bytes."""
        sent = {"Accept-Encoding": "identity", **(headers or {})}
        if isinstance(body, dict):
            body = json.dumps(body).encode()
            sent["Content-Type"] = "application/json"
        self.request(method, target, body=body, headers=sent)  # type: ignore[arg-type]  # an iterable, as its text says
        response = self.getresponse()
        if response.status >= 400:
            reason = response.read()[:300].decode("utf-8", "replace").strip()
            raise WrongError(f"{method} {target}: {response.status} {reason}")
        return response

    def ask(self, method: str, target: str, *, body: object = None, headers: dict[str, str] | None = None) -> Any:
        """Send a request and return what its answer is as JSON."""
        data = self.open(method, target, body=body, headers=headers).read()
        return json.loads(data) if data else None


def query(path: str, values: Mapping[str, object]) -> str:
    """Return a request's target."""
    return f"{path}?{urlencode({k: json.dumps(v) if isinstance(v, dict) else v for k, v in values.items()})}"


def blocks(stream: http.client.HTTPResponse | IO[bytes]) -> Iterator[bytes]:
    """Yield what arrives, as it arrives."""
    while data := stream.read1(BLOCK):  # type: ignore[union-attr]  # buffered files have it
        yield data


def frames(arriving: Iterable[bytes]) -> Iterator[tuple[int, bytes]]:
    """Yield number and bytes of each frame of output, split as it arrives."""
    rest = b""
    for block in arriving:
        data = rest + block if rest else block
        position, end = 0, len(data)
        while end - position >= _HEADER.size:
            number, length = _HEADER.unpack_from(data, position)
            start = position + _HEADER.size
            if end - start < length:
                break
            position = start + length
            yield number, data[start:position]
        rest = data[position:]
    if rest:
        raise WrongError("the output ends in the middle of a frame")
