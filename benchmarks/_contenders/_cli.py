"""The engine's command, started once for each job as a script would."""

from __future__ import annotations

import subprocess
from typing import IO, TYPE_CHECKING, cast

from benchmarks._facts import EXEC, FILE, LISTED, WrongError
from benchmarks._http import BLOCK
from benchmarks._tools import environment, tool

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks._contenders import Said
    from benchmarks._facts import Facts


class Cli:
    """There is nothing to keep, and nothing to use from threads."""

    def __init__(self, facts: Facts) -> None:
        environment(facts)
        self._facts = facts
        self._tool = tool(facts)

    def _ask(self, *words: str) -> str:
        done = subprocess.run([*self._tool, *words], capture_output=True, text=True, check=False)
        if done.returncode:
            raise WrongError(done.stderr.strip() or f"exit code {done.returncode}")
        return done.stdout

    def connect(self) -> str:
        return self.small()

    def small(self) -> str:
        return self._ask("inspect", "--format", "{{.Name}}", self._facts.box).strip().lstrip("/")

    def ps(self) -> list[str]:
        label = f"label={LISTED}={self._facts.run}"
        return self._ask("ps", "--all", "--filter", label, "--format", "{{.Names}}").split()

    def run(self) -> bytes:
        return self._ask("run", "--rm", self._facts.image, "echo", "hi").encode()

    def spawn(self) -> str:
        identifier = self._ask("run", "--detach", self._facts.image, "sleep", "60").strip()
        self._ask("rm", "--force", identifier)
        return identifier

    def exec(self) -> Said:
        done = subprocess.run([*self._tool, "exec", self._facts.box, *EXEC], capture_output=True, check=False)
        return done.returncode, done.stdout

    def logs(self) -> int:
        command = [*self._tool, "logs", self._facts.loud]
        with subprocess.Popen(command, stdout=subprocess.PIPE, bufsize=0) as process:
            output = cast("IO[bytes]", process.stdout)
            return sum(len(block) for block in iter(lambda: output.read(BLOCK), b""))

    def put(self) -> None:
        self._ask("cp", str(self._facts.file), f"{self._facts.box}:/tmp/in-CLI")

    def get(self) -> Path:
        path = self._facts.own("CLI") / FILE
        self._ask("cp", f"{self._facts.box}:/srv/{FILE}", str(path))
        return path

    def build(self) -> str:
        tag = f"{self._facts.image}-cli"
        found = self._ask("build", "--quiet", "--tag", tag, str(self._facts.own("CLI") / "context"))
        return found.strip()
