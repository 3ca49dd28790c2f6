"""Probes for `Runtime.wait_ready`: each asks once, and says whether the container is ready."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attr import frozen

if TYPE_CHECKING:
    from polyrun._models import Container


@frozen
class HttpProbe:
    """Ready when a GET of *path* on the published *port* answers with a status below 400.

    Without *port* the first published one is asked. *timeout* is for each attempt, in seconds.
    """

    path: str = "/"
    port: int | None = None
    timeout: float = 2.0

    def __call__(self, container: Container) -> bool:
        """Ask once."""
        import http.client  # noqa: PLC0415  # a probe is rare, and `import polyrun` is timed

        host, port = _address(container, self.port)
        connection = http.client.HTTPConnection(host, port, timeout=self.timeout)
        try:
            connection.request("GET", self.path)
            return connection.getresponse().status < 400
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()


@frozen
class TcpProbe:
    """Ready when the published *port* accepts a connection.

    Engines that forward ports in user space accept before the container listens (rootless
    Podman, Docker's proxy), so prefer a probe that gets an answer.
    """

    port: int | None = None
    timeout: float = 2.0

    def __call__(self, container: Container) -> bool:
        """Ask once."""
        import socket  # noqa: PLC0415  # a probe is rare, and `import polyrun` is timed

        try:
            socket.create_connection(_address(container, self.port), self.timeout).close()
        except OSError:
            return False
        return True


@frozen
class LogProbe:
    """Ready when the container has written *text* to its standard output or error."""

    text: str

    def __call__(self, container: Container) -> bool:
        """Ask once."""
        wanted = self.text.encode()
        tails = {"stdout": b"", "stderr": b""}
        with container.logs() as stream:
            for chunk in stream:
                seen = tails[chunk.stream] + chunk.data
                if wanted in seen:
                    return True
                tails[chunk.stream] = seen[-len(wanted) :]
        return False


def _address(container: Container, port: int | None) -> tuple[str, int]:
    if port is None:
        port = container.ports[0].container if container.ports else 0
    return container.address(port)
