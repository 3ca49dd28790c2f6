"""podman-py, with its high-level client, as its documentation shows."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

import podman  # noqa: TID251  # a contender

from benchmarks._archives import extract, tar_of
from benchmarks._contenders import Mixed, Said, from_threads, mixed
from benchmarks._facts import EXEC, FILE, LISTED

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks._facts import Facts


class PodmanPy:
    """Users keep the client, and the container they work with."""

    def __init__(self, facts: Facts) -> None:
        self._facts = facts
        self._client: Any = podman.PodmanClient(base_url=facts.url)

    @cached_property
    def _box(self) -> Any:
        return self._client.containers.get(self._facts.box)

    def connect(self) -> str:
        with podman.PodmanClient(base_url=self._facts.url) as client:
            return str(client.containers.get(self._facts.box).name)

    def small(self) -> str:
        return str(self._client.containers.get(self._facts.box).name)

    def ps(self) -> list[str]:
        found = self._client.containers.list(all=True, filters={"label": f"{LISTED}={self._facts.run}"})
        return [str(container.name) for container in found]

    def run(self) -> Any:
        return self._client.containers.run(self._facts.image, ["echo", "hi"], remove=True)

    def spawn(self) -> str:
        container = self._client.containers.run(self._facts.image, ["sleep", "60"], detach=True)
        container.remove(force=True)
        return str(container.id)

    def exec(self) -> Said:
        code, output = self._box.exec_run(list(EXEC))
        return code, output

    def logs(self) -> int:
        return sum(map(len, self._client.containers.get(self._facts.loud).logs()))

    def put(self) -> None:
        self._box.put_archive("/tmp", tar_of(self._facts.file, "in-podman-py"))

    def get(self) -> Path:
        stream, _ = self._box.get_archive(f"/srv/{FILE}")
        return extract(stream, self._facts.own("podman-py"))

    def build(self) -> str:
        image, _ = self._client.images.build(
            path=str(self._facts.own("podman-py") / "context"),
            # Its own default is a name that no file has.
            dockerfile="Dockerfile",
            tag=f"{self._facts.image}-podman-py",
        )
        return str(image.id)

    def threads(self) -> list[Mixed]:
        return from_threads(lambda _: mixed(self.ps, self.exec))
