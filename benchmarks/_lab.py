"""What the jobs need on an engine: made under a name of its own, removed at the end whatever happens."""

from __future__ import annotations

import io
import os
import secrets
import shutil
import tarfile
import tempfile
from contextlib import suppress
from http.client import HTTPException
from pathlib import Path
from typing import TYPE_CHECKING

from attr import evolve

from benchmarks._bare import Bare
from benchmarks._contenders import contenders
from benchmarks._facts import (
    CONTEXT_FILES,
    FILE,
    FILE_BYTES,
    LABEL,
    LISTED,
    LOG_BYTES,
    MB,
    WANTED_FILES,
    Facts,
    WrongError,
)

if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import TracebackType

    from typing_extensions import Self

_COMMANDS = ("sh", "cat", "echo", "find", "head", "sleep", "wc", "yes")
_LINE = "x" * 255
"""With its end 256 bytes: a frame each on Docker."""


class Lab:
    """One engine, prepared; a context manager that removes all it made, and all the contenders left."""

    def __init__(self, engine: str, socket: str) -> None:
        run = secrets.token_hex(4)
        name = f"polyrun-bench-{run}"
        self._label = f"{LABEL}={run}"
        self._bare = Bare(engine, socket)
        self._folder = tempfile.mkdtemp(prefix=f"{name}-")
        self.facts = Facts(
            engine=engine,
            socket=socket,
            run=run,
            # What has no registry belongs to localhost on Podman.
            image=f"localhost/{name}" if engine == "podman" else name,
            box=name,
            loud=f"{name}-loud",
            folder=self._folder,
        )
        self._preparations = {
            "logs": self._write_logs,
            "put": self._write_file,
            "get": self._write_inside,
            "build": self._write_contexts,
        }

    def __enter__(self) -> Self:
        try:
            self._bare.build(_context(_system(), f"LABEL {LABEL}={self.facts.run}"), self.facts.image)
            self._bare.create(self.facts.image, ["sleep", "86400"], name=self.facts.box)
            self._bare.start(self.facts.box)
            for name in contenders(self.facts.engine):
                self.facts.own(name).mkdir()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Remove containers, images and files. The containers have their label from the image."""
        self._bare.close()
        try:
            # Twice: what a contender that was ended had asked for may come to be meanwhile.
            for _ in range(2):
                for row in self._bare.containers(self._label):
                    with suppress(WrongError):
                        self._bare.remove(row["Id"], force=True)
            for image in self._bare.images(self._label):
                with suppress(WrongError):
                    self._bare.remove_image(image)
        except (OSError, HTTPException, WrongError) as error:
            print(f"{self.facts.engine}: left behind what has the label {self._label}: {error}")
        finally:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._bare.close()

    def prepare(self, verb: str, listed: int) -> Facts:
        """Make what a job needs, once, and return the facts for it."""
        for number in range(self.facts.listed, listed):
            # The facts name the containers that are there, so they count only when they are.
            self.facts = evolve(self.facts, listed=number + 1)
            name = self.facts.listed_names[number]
            self._bare.create(self.facts.image, ["true"], name=name, labels={LISTED: self.facts.run})
        if verb in self._preparations:
            self._preparations.pop(verb)()
        return self.facts

    def _write_logs(self) -> None:
        command = ["sh", "-c", f"yes {_LINE} | head -c {LOG_BYTES}"]
        self._bare.create(self.facts.image, command, name=self.facts.loud)
        self._bare.start(self.facts.loud)
        self._bare.wait(self.facts.loud)

    def _write_file(self) -> None:
        block = os.urandom(MB)
        with self.facts.file.open("wb") as file:
            for _ in range(FILE_BYTES // MB):
                file.write(block)

    def _write_inside(self) -> None:
        code, _ = self._bare.exec(self.facts.box, ["sh", "-c", f"yes {_LINE} | head -c {FILE_BYTES} > /srv/{FILE}"])
        if code:
            raise WrongError(f"the file to copy out was not made: {code}")

    def _write_contexts(self) -> None:
        """Make a build context for each contender, as one SDK writes into its own."""
        model = Path(self._folder, "context")
        source, ignored = model / "src", model / "node_modules"
        source.mkdir(parents=True)
        (model / "Dockerfile").write_text(f"FROM {self.facts.image}\nCOPY src /app\n")
        (model / ".dockerignore").write_text("node_modules\n")
        for number in range(WANTED_FILES - 2):
            (source / f"module{number}.py").write_text(f"number = {number}\n" * 100)
        for number in range(CONTEXT_FILES - WANTED_FILES):
            folder = ignored / f"package{number // 50}"
            folder.mkdir(parents=True, exist_ok=True)
            (folder / f"file{number}.js").write_text(f"let number = {number};\n" * 100)
        for name in contenders(self.facts.engine):
            shutil.copytree(model, self.facts.own(name) / "context", copy_function=os.link)


def _system() -> Iterable[tuple[tarfile.TarInfo, bytes]]:
    """Yield the files of a system that is a static busybox."""
    busybox = shutil.which("busybox")
    if not busybox:
        raise WrongError("there is no busybox; on Debian it comes with busybox-static")
    program = tarfile.TarInfo("system/bin/busybox")
    data = Path(busybox).read_bytes()
    program.size, program.mode = len(data), 0o755
    yield program, data
    for command in _COMMANDS:
        link = tarfile.TarInfo(f"system/bin/{command}")
        link.type, link.linkname = tarfile.SYMTYPE, "busybox"
        yield link, b""
    for folder in ("srv", "tmp"):
        member = tarfile.TarInfo(f"system/{folder}")
        member.type, member.mode = tarfile.DIRTYPE, 0o755
        yield member, b""


def _context(files: Iterable[tuple[tarfile.TarInfo, bytes]], *lines: str) -> bytes:
    """Return a build context with *files* below ``system``, and *lines* of its Dockerfile."""
    dockerfile = "\n".join(["FROM scratch", "COPY system /", *lines, ""]).encode()
    member = tarfile.TarInfo("Dockerfile")
    member.size = len(dockerfile)
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for one, data in [(member, dockerfile), *files]:
            archive.addfile(one, io.BytesIO(data))
    return buffer.getvalue()
