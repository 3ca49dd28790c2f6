"""An engine over a bare HTTP client, with the fewest requests: what the floor is made of.

It speaks the Docker-compatible API of both engines, and Podman's own where that one is faster.
"""

from __future__ import annotations

import base64
import json
from http.client import HTTPException
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from benchmarks._facts import WrongError
from benchmarks._http import Connection, blocks, frames, query

if TYPE_CHECKING:
    from collections.abc import Sequence
    from http.client import HTTPResponse

API = "/v1.41"


class Bare:
    """One engine over one kept connection."""

    def __init__(self, engine: str, socket: str) -> None:
        self.socket = socket
        self.connection = Connection(socket)
        self.podman = engine == "podman"
        self.own = "/v4.0.0/libpod" if self.podman else API

    def close(self) -> None:
        """Close the connection."""
        self.connection.close()

    def answers(self) -> bool:
        """Tell if the engine answers."""
        try:
            return self.connection.open("GET", "/_ping").read() == b"OK"
        except (OSError, HTTPException, WrongError):
            return False

    def version(self) -> str:
        """Return the engine's version."""
        found: str = self.connection.ask("GET", f"{API}/version")["Version"]
        return found

    # Containers

    def create(
        self, image: str, command: Sequence[str], *, name: str | None = None, labels: dict[str, str] | None = None
    ) -> str:
        """Make a container and return its id."""
        path = f"{self.own}/containers/create"
        body: dict[str, Any]
        if self.podman:
            body = {"image": image, "command": command, "labels": labels or {}, **({"name": name} if name else {})}
        else:
            body = {"Image": image, "Cmd": command, "Labels": labels or {}}
            path = query(path, {"name": name}) if name else path
        identifier: str = self.connection.ask("POST", path, body=body)["Id"]
        return identifier

    def start(self, container: str) -> None:
        """Start a container."""
        self.connection.ask("POST", f"{self.own}/containers/{container}/start")

    def wait(self, container: str) -> int:
        """Return a container's exit code when it has one."""
        # Podman's own default looks four times a second.
        path = f"{self.own}/containers/{container}/wait" + ("?interval=5ms" if self.podman else "")
        found = self.connection.ask("POST", path)
        code: int = found if self.podman else found["StatusCode"]
        return code

    def logs(self, container: str) -> HTTPResponse:
        """Open a container's output."""
        return self.connection.open("GET", f"{API}/containers/{container}/logs?stdout=true&stderr=true")

    def remove(self, container: str, *, force: bool = False) -> None:
        """Remove a container; *force* one that runs as well."""
        # Podman waits ten seconds for the stop signal if it is not told how long.
        how = ("?force=true&timeout=0" if self.podman else "?force=true") if force else ""
        self.connection.ask("DELETE", f"{self.own}/containers/{container}{how}")

    def run(self, image: str, command: Sequence[str]) -> tuple[int, bytes]:
        """Run a container to its end, remove it, and return exit code and output."""
        identifier = self.create(image, command)
        self.start(identifier)
        code = self.wait(identifier)
        output = b"".join(data for _, data in frames(blocks(self.logs(identifier))))
        self.remove(identifier)
        return code, output

    def exec(self, container: str, command: Sequence[str]) -> tuple[int, bytes]:
        """Run a further command and return exit code and output."""
        body = {"Cmd": command, "AttachStdout": True, "AttachStderr": True}
        made = self.connection.ask("POST", f"{API}/containers/{container}/exec", body=body)["Id"]
        # Nothing else can be asked over a connection on which this was.
        upgraded = Connection(self.socket)
        response = upgraded.open(
            "POST",
            f"{API}/exec/{made}/start",
            body={"Detach": False},
            headers={"Connection": "Upgrade", "Upgrade": "tcp"},
        )
        output = b"".join(data for _, data in frames(blocks(response.fp)))
        response.close()
        upgraded.close()
        while True:
            found = self.connection.ask("GET", f"{API}/exec/{made}/json")
            if not found["Running"] and found["ExitCode"] is not None:
                return found["ExitCode"], output

    def inspect(self, container: str) -> Any:
        """Return what the engine says of a container."""
        return self.connection.ask("GET", f"{self.own}/containers/{container}/json")

    def containers(self, label: str) -> list[Any]:
        """Return the rows of all containers with a label."""
        target = query(f"{self.own}/containers/json", {"all": "true", "filters": {"label": [label]}})
        rows: list[Any] = self.connection.ask("GET", target)
        return rows

    def exists(self, container: str) -> bool:
        """Tell if there is such a container."""
        try:
            self.inspect(container)
        except WrongError:
            return False
        return True

    def archive(self, container: str, path: str) -> str:
        """Return the target of requests about *path*."""
        return query(f"{API}/containers/{container}/archive", {"path": path})

    def size(self, container: str, path: str) -> int:
        """Return the size of a file in a container."""
        response = self.connection.open("HEAD", self.archive(container, path))
        response.read()
        return int(json.loads(base64.b64decode(response.headers["X-Docker-Container-Path-Stat"]))["size"])

    # Images

    def build(self, context: bytes, tag: str) -> str:
        """Build from a tar stream and return the image's id."""
        response = self.connection.open(
            "POST", query(f"{API}/build", {"t": tag}), body=context, headers={"Content-Type": "application/x-tar"}
        )
        identifier = ""
        for line in response:
            event = json.loads(line)
            if "error" in event:
                raise WrongError(event["error"])
            identifier = event.get("aux", {}).get("ID", identifier)
        return identifier

    def images(self, label: str) -> list[str]:
        """Return the ids of all images with a label, the newest first."""
        rows = self.connection.ask("GET", query(f"{self.own}/images/json", {"filters": {"label": [label]}}))
        return [row["Id"] for row in sorted(rows, key=lambda row: row["Created"], reverse=True)]

    def remove_image(self, image: str) -> None:
        """Remove an image with all its tags."""
        self.connection.ask("DELETE", f"{self.own}/images/{quote(image)}?force=true")
