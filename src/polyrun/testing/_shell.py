"""A small POSIX shell: runs what `polyrun.testing._grammar` reads.

A command that the shell waits for runs in the shell's own thread, as a process of its own; stages
of a pipeline and background commands have threads. Signals are seen between commands, so a trap
waits for the command that runs, as in a real shell.
"""

from __future__ import annotations

import errno
import fnmatch
import glob as globs
import posixpath
import re
import signal as signals
from contextlib import contextmanager
from typing import TYPE_CHECKING

from polyrun.testing._arithmetic import calculate
from polyrun.testing._filesystem import File, failure
from polyrun.testing._grammar import (
    AndOr,
    Arithmetic,
    BadSyntax,
    Case,
    For,
    Group,
    If,
    Loop,
    Parameter,
    Pipeline,
    Redirected,
    Script,
    Simple,
    Substitution,
    Text,
    parse,
)
from polyrun.testing._processes import (
    DEFAULT_PATH,
    CannotExecute,
    Channel,
    Collected,
    Exited,
    Nothing,
    OpenFile,
    Process,
    decode,
    encode,
    find_program,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping, Sequence

    from polyrun.testing._grammar import Command, Part, Redirection, Word
    from polyrun.testing._processes import Stream

BLANKS = " \t\n"


class Return(Exception):
    """``return``."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


class Jump(Exception):
    """``break`` and ``continue``."""

    def __init__(self, levels: int, *, again: bool) -> None:
        super().__init__(levels)
        self.levels = levels
        self.again = again


BUILTINS: dict[str, Callable[[Shell, list[str]], int]] = {}
"""The commands that run in the shell's own process; `polyrun.testing._builtins` defines them."""


class Shell:
    """A shell in a process: variables, functions, traps and the last exit code."""

    def __init__(self, process: Process, name: str, arguments: Sequence[str]) -> None:
        self.process = process
        self.name = name
        self.arguments = list(arguments)
        self.variables = dict(process.env)
        self.exported = set(process.env)
        self.functions: dict[str, Command] = {}
        self.traps: dict[int, str] = {}
        self.options: set[str] = set()
        self.status = 0
        self.id = process.pid
        self.jobs: dict[int, Process] = {}
        self.last_job = ""
        self.substituted = 0
        """The exit code of the last ``$(…)``, which is that of an assignment."""
        self.lone = False
        """Whether the next command is all that is left to do: it then takes the shell's own process."""
        self.tested = 0
        """How many conditions this runs in; ``set -e`` does not hold there."""

    def subshell(self, process: Process) -> Shell:
        """Return a shell that begins as this one is, and changes nothing in it."""
        shell = Shell(process, self.name, self.arguments)
        shell.variables = dict(self.variables)
        shell.exported = set(self.exported)
        shell.functions = dict(self.functions)
        shell.options = set(self.options)
        shell.status, shell.id, shell.last_job, shell.tested = self.status, self.id, self.last_job, self.tested
        return shell

    def main(self, script: str) -> int:
        """Run *script* to its end and return the exit code of the shell."""
        try:
            self.status = self.source(script, whole=True)
        except Exited as exc:
            self.status = exc.code
        except OSError as exc:
            self.complain(_explain(exc))
            self.status = 2
        except Return as exc:
            self.status = exc.code
        except Jump:
            pass
        code = self.status
        if 0 in self.traps:
            try:
                self.source(self.traps.pop(0))
            except Exited as exc:
                code = exc.code
        return code

    def source(self, script: str, *, whole: bool = False) -> int:
        """Run *script* in this shell; with *whole* nothing comes after it."""
        try:
            tree = parse(script)
        except BadSyntax as exc:
            self.complain(str(exc))
            raise Exited(2) from None
        if whole and len(tree.items) == 1 and not tree.items[0][1]:
            return self.run(tree.items[0][0])
        return self.script(tree)

    def complain(self, message: str) -> None:
        """Write *message* to standard error."""
        self.process.write(f"{posixpath.basename(self.name)}: {message}\n", 2)

    # Lists, pipelines and compound commands

    def script(self, script: Script) -> int:
        """Run commands one after another."""
        for item, background in script.items:
            if background:
                self.status = self.background(item)
            else:
                self.status = self.and_or(item)
        return self.status

    def background(self, item: AndOr) -> int:
        """Start *item* and go on; as in any shell without job control, it reads nothing."""
        child = self.process.child(self.process.argv, inline=False, env=self.environment())
        child.redirect(0, Nothing())
        child.handled.update({signals.SIGINT: False, signals.SIGQUIT: False})
        self.process.kernel.launch(child, lambda process: self.subshell(process).run(item))
        self.jobs[child.pid] = child
        self.last_job = str(child.pid)
        return 0

    def run(self, item: AndOr | Command) -> int:
        """Run *item* as all that a shell does."""
        try:
            if not isinstance(item, AndOr):
                self.lone = True
                return self.command(item)
            self.lone = not item.rest and not item.first.negated and len(item.first.commands) == 1
            return self.and_or(item)
        except Return as exc:
            return exc.code
        except Jump:
            return self.status

    def and_or(self, item: AndOr) -> int:
        """Run pipelines as ``&&`` and ``||`` say."""
        with self.testing(item.rest):
            self.status = self.pipeline(item.first)
        for index, (word, pipeline) in enumerate(item.rest):
            if (word == "&&") == (self.status == 0):
                with self.testing(index + 1 < len(item.rest)):
                    self.status = self.pipeline(pipeline)
        return self.status

    @contextmanager
    def testing(self, condition: object = True) -> Generator[None]:
        """Let commands fail without an end of the shell, if *condition*."""
        self.tested += bool(condition)
        try:
            yield
        finally:
            self.tested -= bool(condition)

    def pipeline(self, item: Pipeline) -> int:
        """Run commands that feed each other."""
        if item.negated:
            with self.testing():
                return int(self.pipeline(Pipeline(item.commands)) == 0)
        last = item.commands[-1]
        status = self.stages(item.commands) if len(item.commands) > 1 else self.command(last)
        self.status = status
        if status and "e" in self.options and not self.tested and not isinstance(last, (If, Loop, For, Case)):
            raise Exited(status)
        return status

    def stages(self, commands: Sequence[Command]) -> int:
        """Run *commands* side by side with pipes between them, and return the last one's exit code."""
        kernel = self.process.kernel
        started: list[Process] = []
        incoming: Stream = self.process.fds[0].share() if 0 in self.process.fds else Nothing()
        for index, item in enumerate(commands):
            child = self.process.child(self.process.argv, inline=False, env=self.environment())
            child.redirect(0, incoming)
            if index + 1 < len(commands):
                channel = Channel(kernel.changed)
                child.redirect(1, channel.writer())
                incoming = channel.reader()
            kernel.launch(child, self.stage(item))
            started.append(child)
        self.process.block(lambda: all(child.exit_code is not None for child in started))
        return started[-1].exit_code or 0

    def stage(self, item: Command) -> Callable[[Process], int]:
        """Return the body of a process that runs *item*."""
        return lambda process: self.subshell(process).run(item)

    def command(self, item: Command) -> int:
        """Run one command."""
        lone, self.lone = self.lone, False
        self.poll()
        if isinstance(item, Simple):
            return self.simple(item, lone=lone)
        if isinstance(item, Redirected):
            try:
                with self.redirected(self.process, item.redirections, keep=lone):
                    self.lone = lone
                    return self.command(item.command)
            except OSError as exc:
                self.complain(_explain(exc))
                return 1
        if isinstance(item, Group):
            return self.fork(item.body) if item.subshell and not lone else self.script(item.body)
        if isinstance(item, If):
            return self.conditional(item)
        if isinstance(item, Loop):
            return self.loop(item)
        if isinstance(item, For):
            return self.iterate(item)
        if isinstance(item, Case):
            return self.select(item)
        self.functions[item.name] = item.body
        return 0

    def poll(self) -> None:
        """Run the traps of signals that have come."""
        self.process.check()
        while self.process.pending:
            action = self.traps.get(self.process.pending.popleft())
            if action:
                status = self.status
                self.source(action)
                self.status = status

    def fork(self, body: Script, output: Stream | None = None) -> int:
        """Run *body* in a subshell and wait for it."""
        child = self.process.child(self.process.argv, inline=True, env=self.environment())
        if output is not None:
            child.redirect(1, output)
        shell = self.subshell(child)
        return self.process.kernel.run(child, lambda _: shell.run(AndOr(Pipeline((Group(body, subshell=False),)))))

    def conditional(self, item: If) -> int:
        """Run ``if``."""
        for condition, body in item.branches:
            with self.testing():
                met = self.script(condition) == 0
            if met:
                self.status = 0
                return self.script(body)
        self.status = 0
        return self.script(item.otherwise) if item.otherwise else 0

    def loop(self, item: Loop) -> int:
        """Run ``while`` or ``until``."""
        status = 0
        while True:
            self.poll()
            try:
                with self.testing():
                    met = self.script(item.condition) == 0
                if met == item.until:
                    return status
                status = self.script(item.body)
            except Jump as jump:
                if self.leaves(jump):
                    return 0

    def iterate(self, item: For) -> int:
        """Run ``for``."""
        words = self.arguments if item.words is None else [field for word in item.words for field in self.fields(word)]
        status = 0
        for word in list(words):
            self.poll()
            self.variables[item.name] = word
            try:
                status = self.script(item.body)
            except Jump as jump:
                if self.leaves(jump):
                    return 0
        return status

    @staticmethod
    def leaves(jump: Jump) -> bool:
        """Whether *jump* leaves the loop that it is in; one for a loop further out goes on there."""
        if jump.levels > 1:
            raise Jump(jump.levels - 1, again=jump.again)
        return not jump.again

    def select(self, item: Case) -> int:
        """Run ``case``."""
        word = self.text(item.word)
        for patterns, body in item.arms:
            if any(_matches(word, self.pattern(pattern)) for pattern in patterns):
                self.status = 0
                return self.script(body)
        return 0

    # Simple commands

    def simple(self, item: Simple, *, lone: bool) -> int:
        """Run a command with words, or assign variables."""
        self.substituted = 0
        words = [field for word in item.words for field in self.fields(word)]
        values = {name: self.text(word) for name, word in item.assignments}
        if "x" in self.options:
            self.process.write(
                "+ " + " ".join([*(f"{name}={value}" for name, value in values.items()), *words]) + "\n", 2
            )
        if not words:
            self.variables.update(values)
            return self.redirect_only(item) or self.substituted
        try:
            if words[0] in self.functions:
                with self.redirected(self.process, item.redirections):
                    return self.call(words, values)
            builtin = BUILTINS.get(words[0])
            if builtin:
                with (
                    self.redirected(self.process, item.redirections, keep=words[:1] == ["exec"]),
                    self.assigned(values),
                ):
                    return builtin(self, words[1:])
            return self.external(item, words, values, lone=lone)
        except OSError as exc:
            self.complain(_explain(exc))
            return 1

    def redirect_only(self, item: Simple) -> int:
        """Do the redirections of a command without words: they may make files."""
        try:
            with self.redirected(self.process, item.redirections):
                return 0
        except OSError as exc:
            self.complain(_explain(exc))
            return 1

    @contextmanager
    def assigned(self, values: Mapping[str, str]) -> Generator[None]:
        """Hold the variables of ``A=1 command``."""
        before = {name: self.variables.get(name) for name in values}
        self.variables.update(values)
        try:
            yield
        finally:
            for name, value in before.items():
                if value is None:
                    self.variables.pop(name, None)
                else:
                    self.variables[name] = value

    def call(self, words: Sequence[str], values: Mapping[str, str]) -> int:
        """Call a function."""
        before, self.arguments = self.arguments, list(words[1:])
        try:
            with self.assigned(values):
                return self.command(self.functions[words[0]])
        except Return as exc:
            return exc.code
        finally:
            self.arguments = before

    def external(self, item: Simple, words: Sequence[str], values: Mapping[str, str], *, lone: bool) -> int:
        """Run a program and wait for it."""
        env = {**self.environment(), **values}
        if lone and not self.traps:
            self.redirect(self.process, item.redirections)
            return self.replace(words, env)
        child = self.process.child(words, inline=True, env=env)
        try:
            self.redirect(child, item.redirections)
        except OSError:
            self.process.kernel.finish(child, 1)
            raise
        return self.process.kernel.run(child, lambda process: self.execute(process, words))

    def replace(self, words: Sequence[str], env: Mapping[str, str]) -> int:
        """Run a program in the place of the shell."""
        process = self.process
        process.argv, process.env = list(words), dict(env)
        # Handlers do not survive, what is ignored does.
        process.handled = {signal: kept for signal, kept in process.handled.items() if not kept}
        self.traps.clear()
        return self.execute(process, words)

    def execute(self, process: Process, words: Sequence[str]) -> int:
        """Run the program that *words* name in *process*."""
        path = self.variables.get("PATH", DEFAULT_PATH)
        try:
            program = find_program(process.tree, words, path=path, cwd=process.cwd, who=process.who)
        except CannotExecute as exc:
            text = self.plain_script(process, words) if exc.message.endswith("format error") else None
            if text is not None:
                return Shell(process, words[0], words[1:]).main(text)
            if exc.code == 126:
                reason = "Permission denied"
            else:
                reason = "No such file or directory" if "/" in words[0] and self.name.startswith("/") else "not found"
            process.write(f"{posixpath.basename(self.name)}: {words[0]}: {reason}\n", 2)
            return exc.code
        return program(process)

    @staticmethod
    def plain_script(process: Process, words: Sequence[str]) -> str | None:
        """Return the text of a script that has no ``#!``: shells run it themselves."""
        if "/" not in words[0]:
            return None
        data = process.tree.read(process.path(words[0]), process.who).read()
        return None if b"\0" in data[:256] else decode(data)

    def environment(self) -> dict[str, str]:
        """Return the exported variables."""
        return {name: self.variables[name] for name in self.exported if name in self.variables}

    # Redirections

    @contextmanager
    def redirected(
        self, process: Process, redirections: Sequence[Redirection], *, keep: bool = False
    ) -> Generator[None]:
        """Hold *redirections* for the block; with *keep* for good."""
        before = {fd: stream.share() for fd, stream in process.fds.items()} if redirections and not keep else None
        try:
            self.redirect(process, redirections)
            yield
        finally:
            if before is not None:
                for stream in process.fds.values():
                    stream.close()
                process.fds = before

    def redirect(self, process: Process, redirections: Sequence[Redirection]) -> None:
        """Change what the file descriptors of *process* point to."""
        for item in redirections:
            word = self.text(item.word)
            if item.operator in (">&", "<&"):
                process.redirect(item.fd, None if word == "-" else process.stream(int(word)).share())
            elif item.operator in ("<<", "<<-"):
                process.redirect(item.fd, OpenFile(File(encode(word))))
            else:
                process.redirect(item.fd, self.open(word, item.operator))

    def open(self, path: str, how: str) -> Stream:
        """Open a file for a redirection."""
        process = self.process
        full = process.path(path)
        device = re.fullmatch(r"/dev/(stdin|stdout|stderr)|/dev/fd/(\d+)|/proc/\d+/fd/(\d+)", full)
        if device:
            fd = {"stdin": 0, "stdout": 1, "stderr": 2}.get(device[1] or "")
            return process.stream(int(device[2] or device[3]) if fd is None else fd).share()
        if not path:
            raise failure(errno.ENOENT, path)
        if how == "<":
            return OpenFile(process.tree.read(full, process.who))
        file = process.tree.write(full, process.who)
        if how in (">", ">|"):
            file.truncate()
        return OpenFile(file, append=how == ">>")

    # Expansion

    def text(self, word: Word) -> str:
        """Return *word* expanded, as one string."""
        return "".join(self.value(part) for part in word)

    def pattern(self, word: Word) -> str:
        """Return *word* as a pattern: what is quoted in it stands for itself."""
        return "".join(_literal(self.value(part)) if part.quoted else self.value(part) for part in word)

    def fields(self, word: Word) -> list[str]:
        """Return the words that *word* becomes: expanded, split, and matched with files."""
        fields: list[list[tuple[str, bool]]] = []
        current: list[tuple[str, bool]] | None = None
        for part in word:
            if isinstance(part, Parameter) and part.name == "@" and part.quoted and not part.operator:
                for index, argument in enumerate(self.arguments):
                    if index and current is not None:
                        fields.append(current)
                        current = None
                    current = [*(current or []), (argument, True)]
                # "$@" without arguments is no word, unlike "".
                if not self.arguments and current == [("", True)]:
                    current = None
                continue
            value = self.value(part)
            if part.quoted or isinstance(part, Text):
                current = [*(current or []), (value, part.quoted)]
                continue
            for index, piece in enumerate(self.split(value)):
                if index and current is not None:
                    fields.append(current)
                    current = None
                if piece:
                    current = [*(current or []), (piece, False)]
        if current is not None:
            fields.append(current)
        return [path for field in fields for path in self.paths(field)]

    def split(self, value: str) -> list[str]:
        """Split *value* at the characters of ``$IFS``; an empty piece at an end says that a word ends there."""
        separators = self.variables.get("IFS", BLANKS)
        return re.split(f"[{re.escape(separators)}]+", value) if separators else [value]

    def paths(self, field: Sequence[tuple[str, bool]]) -> list[str]:
        """Return the files that a field matches, or the field itself."""
        plain = "".join(text for text, _ in field)
        if "f" in self.options or not any(not quoted and re.search(r"[*?[]", text) for text, quoted in field):
            return [plain]
        pattern = "".join(_literal(text) if quoted else text for text, quoted in field)
        return self.glob(pattern) or [plain]

    def glob(self, pattern: str) -> list[str]:
        """Return the paths that fit *pattern*, sorted."""
        found = ["/"] if pattern.startswith("/") else [""]
        for part in [part for part in pattern.split("/") if part]:
            deeper: list[str] = []
            for base in found:
                if not re.search(r"[*?[]", part):
                    deeper.append(posixpath.join(base, part))
                    continue
                try:
                    names = self.process.tree.folder(self.process.path(base), self.process.who).names()
                except OSError:
                    continue
                deeper += [
                    posixpath.join(base, name)
                    for name in names
                    if _matches(name, part) and (not name.startswith(".") or part.startswith("."))
                ]
            found = [path for path in deeper if self.exists(path)]
        return found

    def exists(self, path: str) -> bool:
        """Whether there is something at *path*."""
        try:
            return self.process.tree.find(self.process.path(path), self.process.who, follow=False).node is not None
        except OSError:
            return False

    def value(self, part: Part) -> str:
        """Return what one part of a word expands to."""
        if isinstance(part, Text):
            return part.text
        if isinstance(part, Substitution):
            output = Collected()
            self.substituted = self.fork(part.script, output)
            return decode(bytes(output.data).replace(b"\0", b"")).rstrip("\n")
        if isinstance(part, Arithmetic):
            return str(self.calculate(self.text(part.expression)))
        return self.parameter(part)

    def lookup(self, name: str) -> str | None:
        """Return the value of a parameter, or ``None`` if it is not set."""
        if name.isdigit():
            number = int(name)
            if number == 0:
                return self.name
            return self.arguments[number - 1] if number <= len(self.arguments) else None
        special = {"?": str(self.status), "$": str(self.id), "#": str(len(self.arguments)), "!": self.last_job}
        if name in special:
            return special[name]
        if name in ("@", "*"):
            return " ".join(self.arguments) if self.arguments else None
        if name == "-":
            return "".join(sorted(self.options))
        return self.variables.get(name)

    def parameter(self, part: Parameter) -> str:
        """Return the value of ``${…}``."""
        value = self.lookup(part.name)
        how = part.operator
        if how == "length":
            return str(len(value or ""))
        if how in ("#", "##", "%", "%%"):
            return _trimmed(value or "", self.pattern(part.word), how)
        unset = value is None or (how.startswith(":") and not value)
        if how[-1:] == "+":
            return "" if unset else self.text(part.word)
        if not unset or not how:
            if value is None and "u" in self.options and part.name not in ("@", "*"):
                self.complain(f"{part.name}: parameter not set")
                raise Exited(2)
            return value or ""
        default = self.text(part.word)
        if how[-1] == "=":
            self.variables[part.name] = default
        elif how[-1] == "?":
            self.complain(f"{part.name}: {default or 'parameter not set'}")
            raise Exited(2)
        return default

    def calculate(self, expression: str) -> int:
        """Return the value of an arithmetic expression."""
        try:
            return calculate(expression, self.variables)
        except (SyntaxError, ValueError, ArithmeticError):
            self.complain("arithmetic syntax error")
            raise Exited(2) from None


def _literal(text: str) -> str:
    return globs.escape(text)


def _matches(text: str, pattern: str) -> bool:
    return fnmatch.fnmatchcase(text, pattern)


def _trimmed(value: str, pattern: str, how: str) -> str:
    """Return *value* without the shortest or longest beginning or end that fits *pattern*."""
    lengths = range(len(value) + 1) if len(how) == 1 else range(len(value), -1, -1)
    for length in lengths:
        if how[0] == "#" and _matches(value[:length], pattern):
            return value[length:]
        if how[0] == "%" and _matches(value[len(value) - length :], pattern):
            return value[: len(value) - length]
    return value


def _explain(error: OSError) -> str:
    if error.errno == errno.EAGAIN:
        return f"can't fork: {error.strerror}"
    if error.errno == errno.ENOENT:
        return f"can't open {error.filename}: no such file"
    return f"can't create {error.filename}: {error.strerror}"
