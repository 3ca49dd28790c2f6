"""python-on-whales, which runs the engine's command for each call."""

from __future__ import annotations

from typing import TYPE_CHECKING

import python_on_whales

from benchmarks._facts import EXEC, FILE, LISTED
from benchmarks._tools import environment, tool

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks._contenders import Said
    from benchmarks._facts import Facts


class Whales:
    """Its objects are loaded when they are first looked at; each look is a process."""

    # For threads it has nothing, and three hundred names take it ten seconds.

    def __init__(self, facts: Facts) -> None:
        environment(facts)
        self._facts = facts
        self._client = self._new()

    def _new(self) -> python_on_whales.DockerClient:
        return python_on_whales.DockerClient(client_call=tool(self._facts))

    def connect(self) -> str:
        return self._new().container.inspect(self._facts.box).name

    def small(self) -> str:
        return self._client.container.inspect(self._facts.box).name

    def ps(self) -> list[str]:
        found = self._client.container.list(all=True, filters={"label": f"{LISTED}={self._facts.run}"})
        return [container.name for container in found]

    def run(self) -> bytes:
        said = self._client.container.run(self._facts.image, ["echo", "hi"], remove=True)
        # It takes the last line's end away.
        return f"{said}\n".encode()

    def spawn(self) -> str:
        container = self._client.container.run(self._facts.image, ["sleep", "60"], detach=True)
        identifier: str = container.id
        container.remove(force=True)
        return identifier

    def exec(self) -> Said:
        try:
            said = self._client.container.execute(self._facts.box, list(EXEC))
        except python_on_whales.DockerException as error:
            return error.return_code, (error.stdout or "").encode()
        return 0, f"{said}\n".encode()

    def logs(self) -> int:
        return len(str(self._client.container.logs(self._facts.loud)))

    def put(self) -> None:
        self._client.container.copy(self._facts.file, (self._facts.box, "/tmp/in-python-on-whales"))

    def get(self) -> Path:
        path = self._facts.own("python-on-whales") / FILE
        self._client.container.copy((self._facts.box, f"/srv/{FILE}"), path)
        return path

    def build(self) -> str:
        context = self._facts.own("python-on-whales") / "context"
        # Its build() needs buildx, which the engines' packages do not have.
        return self._client.legacy_build(context, tags=f"{self._facts.image}-whales").id
