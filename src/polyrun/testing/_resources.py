"""What the containers of one engine share: its volumes and the ports of the host."""

from __future__ import annotations

import errno
import socket
import threading
from typing import TYPE_CHECKING

from polyrun import Port
from polyrun.testing._filesystem import Folder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

_CHOSEN = range(32768, 61000)
"""Where a port is chosen from, as on Linux."""


class Volumes:
    """The volumes of an engine, by name."""

    def __init__(self) -> None:
        self._folders: dict[str, Folder] = {}

    def open(self, name: str, content: Callable[[], Folder | None]) -> Folder:
        """Return a volume; one that is new begins with what the image has at its place."""
        folder = self._folders.get(name)
        if folder is None:
            folder = self._folders[name] = content() or Folder()
        return folder

    def forget(self, names: Iterable[str]) -> None:
        """Remove volumes."""
        for name in names:
            self._folders.pop(name, None)


class Ports:
    """The ports of the host that running containers have."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._taken: list[Port] = []

    def take(self, wanted: Sequence[Port]) -> tuple[Port, ...]:
        """Return *wanted* with those of the host that were left open; `OSError` if one is taken."""
        with self._lock:
            before = len(self._taken)
            try:
                taken = [self._take(port) for port in wanted]
            except OSError:
                del self._taken[before:]
                raise
        return tuple(sorted(taken, key=lambda port: (port.container, port.protocol, port.host_ip, port.host or 0)))

    def _take(self, port: Port) -> Port:
        numbers = _CHOSEN if port.host is None else (port.host,)
        for number in numbers:
            chosen = Port(port.container, number, port.host_ip, port.protocol)
            if not any(_overlap(chosen, other) for other in self._taken) and _is_free(chosen):
                self._taken.append(chosen)
                return chosen
        raise OSError(errno.EADDRINUSE, f"port {port.host}: address already in use")

    def free(self, ports: Iterable[Port]) -> None:
        """Let others have *ports*."""
        with self._lock:
            for port in ports:
                self._taken.remove(port)


def _overlap(one: Port, other: Port) -> bool:
    same = (one.host, one.protocol) == (other.host, other.protocol)
    return same and (one.host_ip == other.host_ip or not one.host_ip or not other.host_ip)


def _is_free(port: Port) -> bool:
    """Whether nobody on this machine listens on a port: whoever does would be taken for the container."""
    kind = socket.SOCK_DGRAM if port.protocol == "udp" else socket.SOCK_STREAM
    with socket.socket(socket.AF_INET6 if ":" in port.host_ip else socket.AF_INET, kind) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((port.host_ip, port.host))
        except OSError as exc:
            return exc.errno != errno.EADDRINUSE
    return True
