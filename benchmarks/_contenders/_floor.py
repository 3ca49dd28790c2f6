"""The floor: a bare HTTP client on one kept connection, that sends only the requests a job needs."""

from __future__ import annotations

import tarfile
from typing import TYPE_CHECKING

from benchmarks._bare import Bare
from benchmarks._contenders import Mixed, Said, from_threads, mixed
from benchmarks._facts import EXEC, FILE, LISTED, THREADS, WrongError
from benchmarks._http import BLOCK, blocks, frames

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from benchmarks._facts import Facts


class Floor:
    """Waits for a run's end and then reads its output, as is usual; on Docker nothing is faster."""

    def __init__(self, facts: Facts) -> None:
        self._facts = facts
        self._bare = Bare(facts.engine, facts.socket)
        self._threads: list[Floor] = []

    def connect(self) -> str:
        other = Floor(self._facts)
        try:
            return other.small()
        finally:
            other._bare.close()

    def small(self) -> str:
        name: str = self._bare.inspect(self._facts.box)["Name"]
        return name.lstrip("/")

    def ps(self) -> list[str]:
        rows = self._bare.containers(f"{LISTED}={self._facts.run}")
        return [row["Names"][0].lstrip("/") for row in rows]

    def run(self) -> bytes:
        code, output = self._bare.run(self._facts.image, ["echo", "hi"])
        if code:
            raise WrongError(f"exit code {code}")
        return output

    def spawn(self) -> str:
        identifier = self._bare.create(self._facts.image, ["sleep", "60"])
        self._bare.start(identifier)
        self._bare.remove(identifier, force=True)
        return identifier

    def exec(self) -> Said:
        return self._bare.exec(self._facts.box, EXEC)

    def logs(self) -> int:
        return sum(len(data) for _, data in frames(blocks(self._bare.logs(self._facts.loud))))

    def put(self) -> None:
        file = self._facts.file
        header = tarfile.TarInfo("in-floor")
        header.size = file.stat().st_size
        end = -header.size % tarfile.BLOCKSIZE + 2 * tarfile.BLOCKSIZE

        def stream() -> Iterator[bytes]:
            yield header.tobuf(tarfile.USTAR_FORMAT)
            with file.open("rb", buffering=0) as source:
                while block := source.read(BLOCK):
                    yield block
            yield bytes(end)

        self._bare.connection.ask(
            "PUT",
            self._bare.archive(self._facts.box, "/tmp"),
            body=stream(),
            headers={
                "Content-Type": "application/x-tar",
                "Content-Length": str(tarfile.BLOCKSIZE + header.size + end),
            },
        )

    def get(self) -> Path:
        response = self._bare.connection.open("GET", self._bare.archive(self._facts.box, f"/srv/{FILE}"))
        left = tarfile.TarInfo.frombuf(response.read(tarfile.BLOCKSIZE), "utf-8", "strict").size
        path = self._facts.own("floor") / FILE
        with path.open("wb", buffering=0) as target:
            while left and (block := response.read1(min(left, BLOCK))):
                left -= target.write(block)
        response.read()
        return path

    def build(self) -> str:
        """Send the wanted files, without looking for the others."""
        context = self._facts.own("floor") / "context"
        parts: list[bytes] = []
        for path in [context / "Dockerfile", *sorted((context / "src").iterdir())]:
            data = path.read_bytes()
            header = tarfile.TarInfo(path.relative_to(context).as_posix())
            header.size = len(data)
            parts += header.tobuf(tarfile.USTAR_FORMAT), data, bytes(-len(data) % tarfile.BLOCKSIZE)
        parts.append(bytes(2 * tarfile.BLOCKSIZE))
        return self._bare.build(b"".join(parts), f"{self._facts.image}-floor")

    def threads(self) -> list[Mixed]:
        """Keep one connection for each thread."""
        while len(self._threads) < THREADS:
            self._threads.append(Floor(self._facts))
        return from_threads(lambda number: mixed(self._threads[number].ps, self._threads[number].exec))
