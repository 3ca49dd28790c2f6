"""Builds in memory: reads a Dockerfile, and runs its instructions with the commands of containers."""

from __future__ import annotations

import fnmatch
import hashlib
import json
import posixpath
import re
import shlex
import signal
import threading
import time
from typing import TYPE_CHECKING, Any, NoReturn, cast

from attr import evolve, field, frozen

from polyrun import BuildFailed, HealthCheck, PolyrunError, Progress
from polyrun.testing._filesystem import ROOT, File, Folder, Link, Node, Tree, digest, put, walk
from polyrun.testing._processes import (
    DEFAULT_PATH,
    CannotExecute,
    Channel,
    Kernel,
    Nothing,
    Process,
    boot,
    decode,
    find_program,
    find_user,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from polyrun.adapter import BuildRequest

_SHELL = ("/bin/sh", "-c")
_OUTPUT_KEPT = 20


@frozen(kw_only=True)
class Config:
    """What an image says about the containers that are made from it."""

    env: Mapping[str, str] = field(factory=dict[str, str])
    command: tuple[str, ...] | None = None
    entrypoint: tuple[str, ...] | None = None
    workdir: str = "/"
    user: str = ""
    labels: Mapping[str, str] = field(factory=dict[str, str])
    stop_signal: str | None = None
    health: HealthCheck | None = None
    volumes: tuple[str, ...] = ()


@frozen
class Layer:
    """What a build has after an instruction; *root* is never changed, only copied."""

    root: Folder
    config: Config
    id: str
    """A digest of all that led here, and of when."""
    created: float
    arch: str


@frozen
class Instruction:
    """One instruction, as it was written."""

    keyword: str
    flags: Mapping[str, str]
    value: str
    text: str

    def words(self) -> list[str]:
        """Return the value as a list: JSON, or words."""
        return list(self.json() or shlex.split(self.value))

    def json(self) -> tuple[str, ...] | None:
        """Return the value if it is a JSON list of strings: the exec form."""
        if not self.value.startswith("["):
            return None
        try:
            found: object = json.loads(self.value)
        except ValueError:
            return None
        if isinstance(found, list):
            return tuple(str(word) for word in cast("list[object]", found))
        return None


class _Refused(Exception):  # becomes a BuildFailed, which knows the step
    """An instruction cannot be done."""


_KEYWORDS = {
    *("ADD", "ARG", "CMD", "COPY", "ENTRYPOINT", "ENV", "EXPOSE", "FROM", "HEALTHCHECK", "LABEL", "MAINTAINER"),
    *("RUN", "SHELL", "STOPSIGNAL", "USER", "VOLUME", "WORKDIR"),
}


def read_dockerfile(text: str) -> list[Instruction]:
    """Return the instructions of a Dockerfile."""
    found: list[Instruction] = []
    logical = ""
    for line in text.splitlines():
        if line.lstrip().startswith("#"):
            continue
        logical += line.strip() if not logical else line.rstrip()
        if logical.endswith("\\"):
            logical = logical[:-1]
            continue
        if logical.strip():
            found.append(_instruction(logical.strip()))
        logical = ""
    if logical.strip():
        found.append(_instruction(logical.strip()))
    if not found:
        raise _Refused("the Dockerfile is empty")
    return found


def _instruction(text: str) -> Instruction:
    keyword, _, value = text.partition(" ")
    flags: dict[str, str] = {}
    value = value.strip()
    while found := re.match(r"--([a-z-]+)(?:=(\S*))?\s+", value):
        flags[found[1]] = found[2] or ""
        value = value[found.end() :]
    if keyword.upper() not in _KEYWORDS:
        raise _Refused(f"unknown instruction: {keyword}")
    return Instruction(keyword.upper(), flags, value, text)


def _substituted(text: str, values: Mapping[str, str]) -> str:
    """Return *text* with ``$NAME``, ``${NAME}``, ``${NAME:-default}`` and ``${NAME:+other}`` replaced."""

    def replace(found: re.Match[str]) -> str:
        if found["escaped"]:
            return found["escaped"]
        value = values.get(found["name"] or found["braced"], "")
        if found["how"] == ":-":
            return value or _substituted(found["word"], values)
        if found["how"] == ":+":
            return _substituted(found["word"], values) if value else ""
        return value

    return re.sub(
        r"\\(?P<escaped>\$)|\$(?:(?P<name>[A-Za-z_]\w*)|\{(?P<braced>[A-Za-z_]\w*)(?:(?P<how>:[-+])(?P<word>[^}]*))?\})",
        replace,
        text,
    )


def _pairs(value: str) -> dict[str, str]:
    """Return what ``ENV`` and ``LABEL`` set: ``a=1 b="two words"``, or the old ``a all the rest``."""
    first = re.match(r'(?:[^\s="]|"[^"]*")+', value)
    if first and not value[first.end() :].startswith("="):
        return {first[0]: value[first.end() :].strip()}
    return {name: text for name, equals, text in (word.partition("=") for word in shlex.split(value)) if equals}


class Build:
    """One build."""

    def __init__(
        self,
        files: Folder,
        request: BuildRequest,
        *,
        arch: str,
        find_image: Callable[[str], Layer | None],
        cache: dict[str, Layer],
        on_event: Callable[[Progress], None],
        timeout: float | None,
        engine: str,
    ) -> None:
        self._files = files
        self._request = request
        # Nothing is run for another machine, but an image without RUN can be made for one.
        self._machine = arch
        self._arch = (request.platform or f"linux/{arch}").split("/")[1]
        self._find_image = find_image
        self._cache = cache
        self._on_event = on_event
        self._end = None if timeout is None else time.monotonic() + timeout
        self._engine = engine
        self._stages: dict[str, Layer] = {}
        self._globals: dict[str, str] = {}
        # Of the stage that is being built.
        self._arguments: dict[str, str] = {}
        self._shell: tuple[str, ...] = _SHELL
        self._step: str | None = None
        self._output: list[str] = []

    def __call__(self) -> Layer:
        """Build, and return the last layer."""
        try:
            return self._build()
        except PolyrunError:
            raise
        except TimeoutError:
            raise
        except (_Refused, CannotExecute, OSError, ValueError) as exc:
            message = f"{exc.filename}: {exc.strerror}" if isinstance(exc, OSError) else str(exc)
            raise self._failed(message) from None

    def _failed(self, message: str) -> BuildFailed:
        what = f"the build of {self._request.reference}" if self._request.reference else "the build"
        return BuildFailed(
            f"{what} failed: {self._shown(message)}",
            step=self._step,
            output=tuple(self._output),
            engine=self._engine,
        )

    def _shown(self, text: str) -> str:
        """Return *text* without the values of build arguments."""
        for value in self._request.args.values():
            text = text.replace(value, "…") if value else text
        return text

    def _build(self) -> Layer:
        try:
            text = decode(Tree(self._files).read("/" + self._request.dockerfile).read())
        except OSError:
            raise _Refused(f"there is no {self._request.dockerfile} in the context") from None
        self._hide()
        instructions = self._wanted(read_dockerfile(text))
        layer: Layer | None = None
        name = ""
        stages = 0
        for number, instruction in enumerate(instructions, 1):
            self._step = instruction.text
            self._output.clear()
            self._check_time()
            self._on_event(Progress(kind="step", text=instruction.text, step=number, steps=len(instructions)))
            if instruction.keyword == "FROM":
                layer, name = self._from(instruction)
                self._stages[str(stages)] = layer
                stages += 1
            elif layer is None:
                if instruction.keyword != "ARG":
                    raise _Refused(f"{instruction.keyword} before the first FROM")
                self._globals.update(self._argument(instruction.value, self._globals))
            else:
                layer = self._next(layer, instruction)
            if layer is not None:
                self._stages[str(stages - 1)] = layer
                if name:
                    self._stages[name] = layer
        if layer is None:
            raise _Refused("there is no FROM")
        if self._request.labels:
            labels = {**layer.config.labels, **self._request.labels}
            layer = self._layer(layer, f"LABEL {sorted(self._request.labels.items())}", labels=labels)
        return layer

    def _hide(self) -> None:
        """Take the Dockerfile and the ignore file out of the context if the ignore file says so, as Docker does."""
        ignored = self._files.get(".dockerignore")
        if not isinstance(ignored, File):
            return
        for line in decode(ignored.read()).splitlines():
            name = re.sub(r"\\(.)", r"\1", line.strip())
            if name in (".dockerignore", self._request.dockerfile):
                Tree(self._files).remove(f"/{name}")

    def _wanted(self, instructions: Sequence[Instruction]) -> Sequence[Instruction]:
        """Return the instructions up to the end of the target stage."""
        if self._request.target is None:
            return instructions
        inside = False
        stage = -1
        for index, instruction in enumerate(instructions):
            if instruction.keyword != "FROM":
                continue
            if inside:
                return instructions[:index]
            stage += 1
            name = re.search(r"\s+as\s+(\S+)$", instruction.value, re.IGNORECASE)
            inside = self._request.target in (str(stage), name[1].lower() if name else None)
        if not inside:
            raise _Refused(f"there is no stage {self._request.target!r}")
        return instructions

    def _check_time(self) -> None:
        if self._end is not None and time.monotonic() > self._end:
            raise TimeoutError

    # Instructions

    def _from(self, instruction: Instruction) -> tuple[Layer, str]:
        found = re.fullmatch(r"(\S+)(?:\s+as\s+(\S+))?", instruction.value, re.IGNORECASE)
        if not found:
            raise _Refused("FROM takes an image, and a name behind AS")
        self._arguments = {}
        self._shell = _SHELL
        image, name = _substituted(found[1], self._globals), (found[2] or "").lower()
        if image == "scratch":
            return empty_layer(self._arch), name
        layer = self._stages.get(image.lower()) or self._find_image(image)
        if layer is None:
            raise _Refused(f"{image} is no image here, and a runtime in memory has no registry to pull from")
        if layer.arch != self._arch:
            raise _Refused(f"{image} is there for linux/{layer.arch}, not for linux/{self._arch}")
        return layer, name

    def _next(self, layer: Layer, instruction: Instruction) -> Layer:
        """Return the layer after *instruction*."""
        keyword = instruction.keyword
        values = {**self._arguments, **layer.config.env}
        if keyword == "ARG":
            self._arguments.update(self._argument(instruction.value, values))
            return layer
        if keyword in ("COPY", "ADD"):
            return self._copy(layer, instruction, values)
        if keyword == "RUN":
            return self._run(layer, instruction)
        if keyword == "SHELL":
            self._shell = tuple(instruction.words())
            return layer
        text = instruction.value
        if keyword not in ("CMD", "ENTRYPOINT", "HEALTHCHECK"):
            text = _substituted(text, values)
        return self._configured(layer, instruction, text)

    def _configured(self, layer: Layer, instruction: Instruction, text: str) -> Layer:
        config, keyword = layer.config, instruction.keyword
        words = instruction.json() or tuple(text.split())
        step = f"{keyword} {sorted(instruction.flags.items())} {text}"
        if keyword == "ENV":
            return self._layer(layer, step, env={**config.env, **_pairs(text)})
        if keyword == "LABEL":
            return self._layer(layer, step, labels={**config.labels, **_pairs(text)})
        if keyword == "CMD":
            return self._layer(layer, step, command=instruction.json() or (*self._shell, text))
        if keyword == "ENTRYPOINT":
            # The command that the base image has belongs to another entrypoint.
            return self._layer(layer, step, entrypoint=instruction.json() or (*self._shell, text), command=None)
        if keyword == "WORKDIR":
            workdir = posixpath.normpath(posixpath.join(config.workdir, text))
            root = layer.root.copy()
            Tree(root).mkdirs(workdir)
            return self._layer(layer, step, root=root, workdir=workdir)
        if keyword == "USER":
            return self._layer(layer, step, user=text)
        if keyword == "VOLUME":
            return self._layer(layer, step, volumes=(*config.volumes, *words))
        if keyword == "STOPSIGNAL":
            return self._layer(layer, step, stop_signal=text)
        if keyword == "HEALTHCHECK":
            return self._layer(layer, step, health=_health_check(instruction))
        return self._layer(layer, step)  # EXPOSE and MAINTAINER change nothing here

    def _argument(self, text: str, values: Mapping[str, str]) -> dict[str, str]:
        found: dict[str, str] = {}
        for word in shlex.split(text):
            name, equals, default = word.partition("=")
            if name in self._request.args:
                found[name] = self._request.args[name]
            elif equals:
                found[name] = _substituted(default, values)
            elif name in self._globals:
                found[name] = self._globals[name]
        return found

    def _copy(self, layer: Layer, instruction: Instruction, values: Mapping[str, str]) -> Layer:
        *sources, target = [_substituted(word, values) for word in instruction.words()] or [""]
        if not sources:
            raise _Refused(f"{instruction.keyword} takes a source and a target")
        origin = self._files
        if "from" in instruction.flags:
            name = _substituted(instruction.flags["from"], values)
            found = self._stages.get(name.lower()) or self._find_image(name)
            if found is None:
                raise _Refused(f"there is no stage or image {name}")
            origin = found.root
        tree = Tree(origin)
        paths = [path for source in sources for path in _matching(tree, source)]
        contents = [(path, tree.node("/" + path, follow="from" in instruction.flags)) for path in paths]
        step = " ".join(
            [
                f"{instruction.keyword} {sorted(instruction.flags.items())} {target}",
                *(f"{posixpath.basename(path)}:{digest(node)}" for path, node in contents),
            ]
        )
        cached = self._cached(layer, step)
        if cached:
            return cached
        root = layer.root.copy()
        into = Tree(root)
        full = posixpath.join(layer.config.workdir, target)
        as_folder = (
            target.endswith(("/", "/."))
            or len(contents) > 1
            or (_exists(into, full) and isinstance(into.find(full).node, Folder))
        )
        for path, node in contents:
            copy = self._owned(into, node.copy(), instruction.flags)
            if isinstance(copy, Folder):
                _merge(into, full, copy)
            else:
                put(into, posixpath.join(full, posixpath.basename(path)) if as_folder else full, copy)
        return self._layer(layer, step, root=root)

    @staticmethod
    def _owned(tree: Tree, node: Node, flags: Mapping[str, str]) -> Node:
        who = find_user(tree, flags["chown"]) if flags.get("chown") else ROOT
        for _, item in walk(node, ""):
            item.chown(who.uid, who.gid)
            if flags.get("chmod") and not isinstance(item, Link):
                item.chmod(int(flags["chmod"], 8))
        return node

    def _run(self, layer: Layer, instruction: Instruction) -> Layer:
        argv = instruction.json() or (*self._shell, instruction.value)
        step = f"RUN {argv} {sorted(self._arguments.items())}"
        cached = self._cached(layer, step)
        if cached:
            return cached
        if layer.arch != self._machine:
            raise _Refused(f"exec {argv[0]}: exec format error: the image is for {layer.arch}")
        root = layer.root.copy()
        code = self._execute(root, layer.config, argv)
        if code:
            raise _Refused(f"the command ended with exit code {code}")
        return self._layer(layer, step, root=root)

    def _execute(self, root: Folder, config: Config, argv: Sequence[str]) -> int:
        """Run a command in *root*, tell its output, and return its exit code."""
        changed = threading.Condition()
        tree = Tree(root)
        kernel = Kernel(tree, changed)
        boot(tree, kernel)
        tree.mkdirs(config.workdir)
        who = find_user(tree, config.user)
        env = {"PATH": DEFAULT_PATH, "HOME": who.home, **self._arguments, **config.env}
        program = find_program(tree, argv, path=env["PATH"], cwd=config.workdir, who=who)
        output = Channel(changed)
        process = Process(
            kernel,
            argv,
            env=env,
            cwd=config.workdir,
            who=who,
            fds={0: Nothing(), 1: output.writer(), 2: output.writer()},
        )
        reader = output.reader()
        kernel.launch(process, program)
        try:
            for line in self._lines(output):
                self._output = [*self._output[1 - _OUTPUT_KEPT :], self._shown(line)]
                self._on_event(Progress(kind="output", text=line))
            with changed:
                changed.wait_for(lambda: process.exit_code is not None)
        finally:
            reader.close()
            kernel.end()
            kernel.join(5)
        # As in a shell, a step that a signal ended says so.
        return process.exit_code if process.exit_code is not None else 128 + signal.SIGKILL

    def _lines(self, output: Channel) -> Iterator[str]:
        rest = b""
        while True:
            self._check_time()
            with output.changed:
                left = None if self._end is None else max(0.0, self._end - time.monotonic())
                if not output.changed.wait_for(lambda: output.readable, left):
                    raise TimeoutError
                item = output.take()
            if item is None:
                break
            *lines, rest = (rest + item[1]).split(b"\n")
            yield from (line.decode("utf-8", "replace") for line in lines)
        if rest:
            yield rest.decode("utf-8", "replace")

    # Layers

    def _cached(self, layer: Layer, step: str) -> Layer | None:
        return self._cache.get(_key(layer.id, step)) if self._request.cache else None

    def _layer(self, layer: Layer, step: str, *, root: Folder | None = None, **changes: Any) -> Layer:
        """Return the layer after *step*: that of an earlier build, or a new one."""
        cached = self._cached(layer, step)
        if cached:
            return cached
        made = next_layer(layer, step, root or layer.root, evolve(layer.config, **changes))
        self._cache[_key(layer.id, step)] = made
        return made


def empty_layer(arch: str) -> Layer:
    """Return what ``FROM scratch`` begins with."""
    return Layer(Folder(), Config(), _key("scratch", arch), 0.0, arch)


def next_layer(layer: Layer, step: str, root: Folder, config: Config) -> Layer:
    """Return the layer that *step* makes out of *layer*, now."""
    now = time.time()
    return Layer(root, config, _key(_key(layer.id, step), repr(now)), now, layer.arch)


def _key(before: str, step: str) -> str:
    return hashlib.sha256(f"{before}\0{step}".encode("utf-8", "surrogateescape")).hexdigest()


def _exists(tree: Tree, path: str) -> bool:
    try:
        return tree.find(path).node is not None
    except OSError:
        return False


def _matching(tree: Tree, source: str) -> list[str]:
    """Return the paths that *source* names, relative to the root; `_Refused` if there is none."""
    clean = posixpath.normpath("/" + source).lstrip("/")
    if not re.search(r"[*?[]", clean):
        if not _exists(tree, "/" + clean):
            _missing(source)
        return [clean]
    found = [""]
    for part in clean.split("/"):
        deeper: list[str] = []
        for base in found:
            folder = tree.find("/" + base).node
            if isinstance(folder, Folder):
                deeper += [posixpath.join(base, name) for name in folder.names() if fnmatch.fnmatchcase(name, part)]
        found = deeper
    if not found:
        _missing(source)
    return found


def _missing(source: str) -> NoReturn:
    raise _Refused(f"{source}: no such file or directory in the build context")


def _merge(tree: Tree, path: str, folder: Folder) -> None:
    """Put all that is in *folder* below *path*."""
    if not _exists(tree, path):
        tree.mkdirs(path)
    for name in folder.names():
        node = folder.get(name)
        full = posixpath.join(path, name)
        if isinstance(node, Folder) and isinstance(tree.find(full, follow=False).node, Folder):
            _merge(tree, full, node)
        elif isinstance(node, (File, Link, Folder)):
            put(tree, full, node)


def _health_check(instruction: Instruction) -> HealthCheck | None:
    kind, _, command = instruction.value.partition(" ")
    if kind.upper() == "NONE":
        return None
    if kind.upper() != "CMD":
        raise _Refused("HEALTHCHECK takes CMD and a command, or NONE")
    flags = instruction.flags
    form = evolve(instruction, value=command.strip())
    return HealthCheck(
        command=form.json() or command.strip(),
        interval=flags.get("interval", "30s"),
        timeout=flags.get("timeout", "30s"),
        retries=int(flags.get("retries", "3")),
        start_period=flags.get("start-period", "0s"),
    )
