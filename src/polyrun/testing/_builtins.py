"""The commands of the small shell that run in its own process, and ``sh`` itself."""

from __future__ import annotations

import posixpath
import re
import signal as signals
from functools import partial
from typing import TYPE_CHECKING

from polyrun.testing._filesystem import Folder
from polyrun.testing._grammar import BadSyntax, parse
from polyrun.testing._processes import COMMANDS, DEFAULT_PATH, Exited, decode, signal_number
from polyrun.testing._shell import BLANKS, BUILTINS, Jump, Return, Shell

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from polyrun.testing._processes import Process

# Run in the shell's process, for they change it or need nothing of their own.
_PLAIN_BUILTINS = ("echo", "printf", "true", "false", "test", "[", "kill", "pwd")


def _colon(shell: Shell, args: list[str]) -> int:
    del shell, args
    return 0


def _cd(shell: Shell, args: list[str]) -> int:
    process = shell.process
    path = args[0] if args else shell.variables.get("HOME", "/")
    try:
        place = process.tree.find(process.path(path), process.who)
    except OSError as exc:
        shell.complain(f"cd: can't cd to {path}: {exc.strerror}")
        return 1
    if not isinstance(place.node, Folder):
        shell.complain(f"cd: can't cd to {path}: No such file or directory")
        return 1
    process.cwd = shell.variables["PWD"] = place.path
    return 0


def _code(shell: Shell, args: list[str]) -> int:
    return int(args[0]) if args and args[0].lstrip("-").isdigit() else shell.status


def _exit(shell: Shell, args: list[str]) -> int:
    raise Exited(_code(shell, args))


def _return(shell: Shell, args: list[str]) -> int:
    raise Return(_code(shell, args))


def _break(shell: Shell, args: list[str]) -> int:
    del shell
    raise Jump(int(args[0]) if args else 1, again=False)


def _continue(shell: Shell, args: list[str]) -> int:
    del shell
    raise Jump(int(args[0]) if args else 1, again=True)


def _export(shell: Shell, args: list[str]) -> int:
    for word in args:
        name, equals, value = word.partition("=")
        if equals:
            shell.variables[name] = value
        shell.exported.add(name)
    return 0


def _local(shell: Shell, args: list[str]) -> int:
    for word in args:
        name, equals, value = word.partition("=")
        if equals:
            shell.variables[name] = value
    return 0


def _unset(shell: Shell, args: list[str]) -> int:
    for name in args:
        shell.variables.pop(name, None)
        shell.functions.pop(name, None)
    return 0


_OPTIONS = {"e": "errexit", "u": "nounset", "x": "xtrace", "f": "noglob"}


def _set(shell: Shell, args: list[str]) -> int:
    words = list(args)
    while words and words[0][:1] in ("-", "+") and len(words[0]) > 1:
        word = words.pop(0)
        if word == "--":
            shell.arguments = words
            return 0
        flags = set(word[1:])
        if "o" in flags:
            long = words.pop(0) if words else ""
            flags = {letter for letter, name in _OPTIONS.items() if name == long}
        shell.options = shell.options | flags if word[0] == "-" else shell.options - flags
    if words:
        shell.arguments = words
    return 0


def _shift(shell: Shell, args: list[str]) -> int:
    del shell.arguments[: int(args[0]) if args else 1]
    return 0


def _eval(shell: Shell, args: list[str]) -> int:
    return shell.source(" ".join(args))


def _source(shell: Shell, args: list[str]) -> int:
    process = shell.process
    return shell.source(decode(process.tree.read(process.path(args[0]), process.who).read()))


def _exec(shell: Shell, args: list[str]) -> int:
    if not args:
        return 0
    raise Exited(shell.replace(args, shell.environment()))


def _trap(shell: Shell, args: list[str]) -> int:
    words = args[1:] if args[:1] == ["--"] else args
    if not words:
        for number, action in shell.traps.items():
            name = signals.Signals(number).name.removeprefix("SIG") if number else "EXIT"
            shell.process.write(f"trap -- '{action}' {name}\n")
        return 0
    # "trap - TERM", and "trap TERM" alone, take the trap away.
    command, names = (None, words[-1:]) if len(words) == 1 else (words[0], words[1:])
    for name in names:
        try:
            number = 0 if name.upper() in ("EXIT", "0") else signal_number(name)
        except ValueError:
            shell.complain(f"trap: {name}: invalid signal specification")
            return 1
        if command in (None, "-"):
            shell.traps.pop(number, None)
            shell.process.handled.pop(number, None)
        else:
            shell.traps[number] = command
            if number:
                shell.process.handled[number] = bool(command)
    return 0


def _read(shell: Shell, args: list[str]) -> int:
    raw = False
    names = list(args)
    while names and names[0].startswith("-"):
        option = names.pop(0)
        raw = raw or "r" in option
        if option in ("-t", "-n", "-p", "-d"):
            names.pop(0)
    line = bytearray()
    ended = False
    while True:
        byte = shell.process.read(1)
        if not byte:
            ended = True
            break
        if byte == b"\n":
            if not raw and line.endswith(b"\\"):
                del line[-1:]
                continue
            break
        line += byte
    text = decode(bytes(line).replace(b"\0", b""))
    if not raw:
        text = re.sub(r"\\(.)", r"\1", text)
    _assign_fields(shell, names or ["REPLY"], text)
    return int(ended)


def _assign_fields(shell: Shell, names: Sequence[str], text: str) -> None:
    separators = shell.variables.get("IFS", BLANKS)
    blanks = "".join(char for char in separators if char in BLANKS)
    text = text.strip(blanks) if blanks else text
    for name in names[:-1]:
        found = re.search(f"[{re.escape(separators)}]+", text) if separators else None
        shell.variables[name] = text[: found.start()] if found else text
        text = text[found.end() :] if found else ""
    shell.variables[names[-1]] = text


def _seen(process: Process, job: Process) -> bool:
    return job.exit_code is not None or bool(process.pending)


def _wait(shell: Shell, args: list[str]) -> int:
    jobs = [shell.jobs[int(word)] for word in args if word.isdigit() and int(word) in shell.jobs]
    if args and not jobs:
        return 127
    process = shell.process
    for job in jobs or list(shell.jobs.values()):
        process.block(partial(_seen, process, job))
        if job.exit_code is None:
            # A trap ends the wait, and runs before what comes next.
            status = 128 + process.pending[0]
            shell.poll()
            return status
    if not args:
        shell.jobs.clear()
        return 0
    return jobs[-1].exit_code or 0


def _ulimit(shell: Shell, args: list[str]) -> int:
    flags = "".join(word[1:] for word in args if word.startswith("-"))
    name = {"n": "nofile", "u": "nproc", "c": "core", "f": "fsize"}.get(flags.strip("SH") or "f", "")
    limits = shell.process.kernel.ulimits.get(name)
    shell.process.write(f"{limits[int('H' in flags)] if limits else 'unlimited'}\n")
    return 0


def _command(shell: Shell, args: list[str]) -> int:
    if args[:1] in (["-v"], ["-V"]):
        return _which(shell, args[1:])
    if not args:
        return 0
    builtin = BUILTINS.get(args[0])
    if builtin:
        return builtin(shell, list(args[1:]))
    child = shell.process.child(args, inline=True, env=shell.environment())
    return shell.process.kernel.run(child, lambda process: shell.execute(process, args))


def _which(shell: Shell, args: list[str]) -> int:
    status = 0
    for name in args:
        if name in BUILTINS or name in shell.functions:
            shell.process.write(f"{name}\n")
            continue
        path = next(
            (
                full
                for folder in shell.variables.get("PATH", DEFAULT_PATH).split(":")
                if shell.exists(full := posixpath.join(folder, name))
            ),
            None,
        )
        if path:
            shell.process.write(f"{path}\n")
        else:
            status = 127
    return status


def _plain(name: str) -> Callable[[Shell, list[str]], int]:
    """Return a builtin that is a command as well: it runs in the shell's own process."""

    def run(shell: Shell, args: list[str]) -> int:
        process = shell.process
        argv, process.argv = process.argv, [name, *args]
        try:
            return COMMANDS[name](process, args)
        finally:
            process.argv = argv

    return run


BUILTINS.update(
    {
        ":": _colon,
        ".": _source,
        "break": _break,
        "cd": _cd,
        "command": _command,
        "continue": _continue,
        "eval": _eval,
        "exec": _exec,
        "exit": _exit,
        "export": _export,
        "local": _local,
        "read": _read,
        "return": _return,
        "set": _set,
        "shift": _shift,
        "source": _source,
        "trap": _trap,
        "type": _which,
        "ulimit": _ulimit,
        "umask": _colon,
        "unset": _unset,
        "wait": _wait,
        **{name: _plain(name) for name in _PLAIN_BUILTINS},
    }
)


def sh(process: Process, args: list[str]) -> int:
    """Run ``sh [-eux] [-c SCRIPT [NAME [ARG…]] | FILE [ARG…]]``, or the script on standard input."""
    words = list(args)
    flags: set[str] = set()
    while words and words[0].startswith("-") and len(words[0]) > 1:
        word = words.pop(0)
        if word == "--":
            break
        flags |= set(word[1:])
    if "c" in flags:
        if not words:
            return process.fail("-c requires an argument", 2)
        script = words.pop(0)
        name = words.pop(0) if words else process.argv[0]
    elif words and "s" not in flags:
        name = words.pop(0)
        try:
            script = decode(process.tree.read(process.path(name), process.who).read())
        except OSError as exc:
            return process.fail(f"can't open '{name}': {exc.strerror}", 2)
    else:
        return _interactive(process, flags)
    shell = Shell(process, name, words)
    shell.options = flags & set("euxf")
    return shell.main(script)


def _interactive(process: Process, flags: set[str]) -> int:
    """Run what comes on standard input, a line at a time as far as the lines are complete."""
    shell = Shell(process, process.argv[0], [])
    shell.options = flags & set("euxf")
    pending = ""
    prompt = process.stream(0).tty
    while True:
        if prompt:
            process.write("> " if pending else "# ", 2)
        line = bytearray()
        while not line.endswith(b"\n") and (byte := process.read(1)):
            line += byte
        pending += decode(bytes(line))
        if not line:
            return shell.main(pending)
        try:
            tree = parse(pending)
        except BadSyntax:
            continue  # the command goes on in the next line
        pending = ""
        try:
            shell.script(tree)
        except Exited as exc:
            shell.status = exc.code
            return shell.main(f"exit {exc.code}")
        except (Return, Jump):
            pass
