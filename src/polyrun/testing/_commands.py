"""The commands that containers in memory can execute, after those of BusyBox, each as much as scripts use."""

from __future__ import annotations

import errno
import hashlib
import os
import platform
import posixpath
import re
import signal as signals
import time
from datetime import datetime, timezone
from typing import TYPE_CHECKING

from polyrun.testing._builtins import sh
from polyrun.testing._filesystem import Device, File, Folder, Link, Node, failure, walk
from polyrun.testing._processes import (
    COMMANDS,
    DEFAULT_PATH,
    PIPE_SIZE,
    CannotExecute,
    Process,
    command,
    decode,
    encode,
    find_program,
    signal_number,
    user_name,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


ARCH = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
"""The architecture that images are built for: the machine's own, as the engines call it."""


def _options(args: Sequence[str], valued: str = "") -> tuple[dict[str, str], list[str]]:
    """Return the options of *args* and what is left; those in *valued* have a value."""
    options: dict[str, str] = {}
    rest = list(args)
    while rest and rest[0].startswith("-") and rest[0] != "-":
        word = rest.pop(0)
        if word == "--":
            break
        if word.startswith("--"):
            name, _, value = word[2:].partition("=")
            options[name] = value
            continue
        for index, letter in enumerate(word[1:], 1):
            if letter in valued:
                options[letter] = word[index + 1 :] or (rest.pop(0) if rest else "")
                break
            options[letter] = ""
    return options, rest


def _chunks(process: Process, paths: Sequence[str]) -> Iterator[bytes]:
    """Yield the content of the files, or of standard input."""
    for path in paths or ["-"]:
        if path in ("-", "/dev/stdin"):
            while data := process.read():
                yield data
            continue
        file = process.tree.read(process.path(path), process.who)
        offset = 0
        while data := file.read(offset, PIPE_SIZE):
            process.check()
            offset += len(data)
            yield data


def _lines(process: Process, paths: Sequence[str]) -> Iterator[bytes]:
    """Yield the lines of the files, or of standard input, each with its end."""
    rest = b""
    for data in _chunks(process, paths):
        lines = (rest + data).splitlines(keepends=True) if b"\r" not in data else _split(rest + data)
        rest = b"" if lines[-1].endswith(b"\n") else lines.pop()
        yield from lines
    if rest:
        yield rest


def _split(data: bytes) -> list[bytes]:
    return [line + b"\n" for line in data.split(b"\n")[:-1]] + [data.split(b"\n")[-1]]


def _each(process: Process, paths: Sequence[str]) -> Iterator[tuple[str, str]]:
    for path in paths:
        yield path, process.path(path)


def _size(text: str) -> int:
    found = re.fullmatch(r"(\d+)([kKmMgGc]?)B?", text)
    if not found:
        raise failure(errno.EINVAL, text)
    return int(found[1]) * {"k": 1024, "m": 1024**2, "g": 1024**3}.get(found[2].lower(), 1)


# Output


@command("true")
def _true(process: Process, args: list[str]) -> int:
    del process, args
    return 0


@command("false")
def _false(process: Process, args: list[str]) -> int:
    del process, args
    return 1


@command("echo")
def _echo(process: Process, args: list[str]) -> int:
    words = list(args)
    newline, escapes = "\n", False
    while words and re.fullmatch(r"-[neE]+", words[0]):
        flags = words.pop(0)
        newline = "" if "n" in flags else newline
        escapes = "e" in flags or (escapes and "E" not in flags)
    text = " ".join(words)
    process.write(unescape(text, octal="0") + newline if escapes else text + newline)
    return 0


_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "a": "\a", "b": "\b", "f": "\f", "v": "\v", "e": "\x1b", "\\": "\\"}


def unescape(text: str, *, octal: str = "") -> str:
    r"""Return *text* with ``\n``, ``\x41``, ``\101`` (or ``\0101``) and the like replaced."""

    def replace(found: re.Match[str]) -> str:
        if found["hex"]:
            return decode(bytes([int(found["hex"], 16)]))
        if found["octal"] is not None:
            return decode(bytes([int(found["octal"] or "0", 8) & 0xFF]))
        return _ESCAPES.get(found["char"], found[0])

    number = rf"{octal}(?P<octal>[0-7]{{0,3}})" if octal else r"(?P<octal>[0-7]{1,3})"
    text = re.sub(rf"\\(?:x(?P<hex>[0-9a-fA-F]{{1,2}})|{number}|(?P<char>.))", replace, text, flags=re.DOTALL)
    # Bytes that came one by one may be a character together.
    return decode(encode(text))


@command("printf")
def _printf(process: Process, args: list[str]) -> int:
    if not args:
        return process.fail("usage: printf FORMAT [ARG...]", 2)
    template, values = unescape(args[0].replace("\\%", "%%")), list(args[1:])
    while True:
        before = len(values)

        def fill(found: re.Match[str]) -> str:
            kind = found[2]
            if kind == "%":
                return "%"
            value = values.pop(0) if values else ""
            if kind == "b":
                return unescape(value, octal="0")
            if kind == "c":
                return value[:1]
            if kind == "s":
                return f"%{found[1]}s" % value
            number = int(value, 0) if re.fullmatch(r"[+-]?(0x[0-9a-fA-F]+|\d+)", value) and value else 0
            return f"%{found[1]}{'d' if kind == 'u' else kind}" % number

        process.write(re.sub(r"%([-+ 0#]*\d*(?:\.\d+)?)([sbcdiuxXo%])", fill, template))
        if not values or len(values) == before:
            return 0


@command("yes")
def _yes(process: Process, args: list[str]) -> int:
    line = encode(" ".join(args or ["y"]) + "\n")
    block = line * max(1, PIPE_SIZE // len(line))
    while True:
        process.write(block)


@command("seq")
def _seq(process: Process, args: list[str]) -> int:
    numbers = [int(word) for word in args]
    first, step, last = (1, 1, *numbers)[-3:] if len(numbers) != 2 else (numbers[0], 1, numbers[1])
    if len(numbers) == 3:
        first, step, last = numbers
    values = [str(number) for number in range(first, last + (1 if step > 0 else -1), step)]
    process.write("".join(value + "\n" for value in values))
    return 0


# Text


@command("cat")
def _cat(process: Process, args: list[str]) -> int:
    _, paths = _options(args)
    status = 0
    for path in paths or ["-"]:
        try:
            for data in _chunks(process, [path]):
                process.write(data)
        except OSError as exc:
            status = process.fail(f"can't open '{path}': {exc.strerror}")
    return status


@command("tee")
def _tee(process: Process, args: list[str]) -> int:
    options, paths = _options(args)
    files = [process.tree.write(process.path(path), process.who) for path in paths]
    for file in files:
        if "a" not in options:
            file.truncate()
    for data in _chunks(process, []):
        process.write(data)
        for file in files:
            file.write(file.size, data)
    return 0


@command("head")
def _head(process: Process, args: list[str]) -> int:
    if args and re.fullmatch(r"-\d+", args[0]):
        args = ["-n", args[0][1:], *args[1:]]
    options, paths = _options(args, "nc")
    if "c" in options:
        left = _size(options["c"])
        while left and (data := _some(process, paths, left)):
            process.write(data)
            left -= len(data)
            if paths:
                break
        return 0
    left = int(options.get("n", "10"))
    for line in _lines(process, paths):
        if left <= 0:
            break
        process.write(line)
        left -= 1
        if not left:
            break
    return 0


def _some(process: Process, paths: Sequence[str], count: int) -> bytes:
    if paths:
        return process.tree.read(process.path(paths[0]), process.who).read(0, count)
    return process.read(min(count, PIPE_SIZE))


@command("tail")
def _tail(process: Process, args: list[str]) -> int:
    if args and re.fullmatch(r"-\d+", args[0]):
        args = ["-n", args[0][1:], *args[1:]]
    options, paths = _options(args, "nc")
    if "c" in options:
        process.write(b"".join(_chunks(process, paths))[-_size(options["c"]) :])
        return 0
    wanted = options.get("n", "10")
    lines = list(_lines(process, paths))
    if wanted.startswith("+"):
        process.write(b"".join(lines[max(0, int(wanted) - 1) :]))
    elif int(wanted):
        process.write(b"".join(lines[-int(wanted) :]))
    if "f" in options or "F" in options:
        # Followed by its size: a file in memory tells nobody that it grew.
        files = [process.tree.read(process.path(path), process.who) for path in paths]
        sizes = [file.size for file in files]
        while True:
            process.block(lambda: False, 0.05)
            for index, file in enumerate(files):
                process.write(file.read(sizes[index]))
                sizes[index] = file.size
    return 0


@command("wc")
def _wc(process: Process, args: list[str]) -> int:
    options, paths = _options(args)
    size = lines = words = 0
    for data in _chunks(process, paths):
        size += len(data)
        lines += data.count(b"\n")
        words += len(data.split()) if "w" in options or not options else 0
    counts = {"l": lines, "w": words, "c": size}
    wanted = [counts[letter] for letter in "lwc" if letter in options or not options]
    process.write(" ".join([*map(str, wanted), *paths]) + "\n")
    return 0


@command("grep")
def _grep(process: Process, args: list[str]) -> int:
    options, words = _options(args, "em")
    pattern = options["e"] if "e" in options else words.pop(0)
    if "F" in options:
        pattern = re.escape(pattern)
    elif "E" not in options:
        # In a basic expression these are plain unless a backslash stands before them.
        pattern = re.sub(
            r"\\?[+?|(){}]", lambda found: found[0][1:] if found[0][0] == "\\" else "\\" + found[0], pattern
        )
    expression = re.compile(encode(pattern), re.IGNORECASE if "i" in options else 0)
    count = 0
    for line in _lines(process, words):
        text = line.rstrip(b"\n")
        found = expression.fullmatch(text) if "x" in options else expression.search(text)
        if bool(found) == ("v" in options):
            continue
        count += 1
        if "q" in options:
            return 0
        if "c" not in options:
            shown = found[0] if found and "o" in options else text
            process.write((b"%d:" % count if "n" in options else b"") + shown + b"\n")
    if "c" in options:
        process.write(f"{count}\n")
    return int(not count)


@command("sort")
def _sort(process: Process, args: list[str]) -> int:
    options, paths = _options(args, "kt")
    lines = [line.rstrip(b"\n") for line in _lines(process, paths)]
    if "n" in options:
        lines.sort(key=lambda line: int(found[0]) if (found := re.match(rb"\s*-?\d+", line)) else 0)
    else:
        lines.sort()
    if "u" in options:
        lines = list(dict.fromkeys(lines))
    if "r" in options:
        lines.reverse()
    process.write(b"".join(line + b"\n" for line in lines))
    return 0


@command("tr")
def _tr(process: Process, args: list[str]) -> int:
    options, words = _options(args)
    sets = [_characters(word) for word in words]
    for data in _chunks(process, []):
        if "d" in options:
            process.write(data.translate(None, sets[0]))
        elif len(sets) > 1 and sets[1]:
            target = sets[1].ljust(len(sets[0]), sets[1][-1:])[: len(sets[0])]
            process.write(data.translate(bytes.maketrans(sets[0], target)))
    return 0


def _characters(text: str) -> bytes:
    classes = {"[:lower:]": "a-z", "[:upper:]": "A-Z", "[:digit:]": "0-9"}
    for name, letters in classes.items():
        text = text.replace(name, letters)
    text = unescape(text)
    spelled = re.sub(r"(.)-(.)", lambda found: "".join(map(chr, range(ord(found[1]), ord(found[2]) + 1))), text)
    return encode(spelled)


@command("cut")
def _cut(process: Process, args: list[str]) -> int:
    options, paths = _options(args, "dfc")
    separator = encode(options.get("d", "\t"))
    for line in _lines(process, paths):
        text = line.rstrip(b"\n")
        if "c" in options:
            process.write(b"".join(text[index : index + 1] for index in _ranges(options["c"], len(text))) + b"\n")
            continue
        fields = text.split(separator)
        process.write(separator.join(fields[index] for index in _ranges(options.get("f", "1"), len(fields))) + b"\n")
    return 0


def _ranges(text: str, length: int) -> Iterator[int]:
    for part in text.split(","):
        first, dash, last = part.partition("-")
        start = int(first or 1)
        end = (int(last) if last else length) if dash else start
        yield from range(start - 1, min(end, length))


@command("od", "hexdump")
def _od(process: Process, args: list[str]) -> int:
    _, paths = _options(args, "AtNjx")
    data = b"".join(_chunks(process, paths))
    for start in range(0, len(data), 16):
        process.write(" " + " ".join(f"{byte:02x}" for byte in data[start : start + 16]) + "\n")
    return 0


@command("xargs")
def _xargs(process: Process, args: list[str]) -> int:
    options, words = _options(args, "n")
    items = decode(b"".join(_chunks(process, []))).split()
    group = int(options.get("n") or max(1, len(items)))
    status = 0
    for start in range(0, max(1, len(items)), group):
        status = run(process, [*(words or ["echo"]), *items[start : start + group]]) or status
    return status


@command("md5sum", "sha1sum", "sha256sum", "sha512sum")
def _checksum(process: Process, args: list[str]) -> int:
    _, paths = _options(args)
    for path in paths or ["-"]:
        found = hashlib.new(process.name.removesuffix("sum"))
        for data in _chunks(process, [path]):
            found.update(data)
        process.write(f"{found.hexdigest()}  {path}\n")
    return 0


@command("dd")
def _dd(process: Process, args: list[str]) -> int:
    words = {name: value for name, _, value in (word.partition("=") for word in args)}
    block, count = _size(words.get("bs", "512")), int(words["count"]) if "count" in words else None
    source = process.tree.read(process.path(words["if"]), process.who) if "if" in words else None
    target = process.tree.write(process.path(words["of"]), process.who) if "of" in words else None
    if target and words.get("conv") != "notrunc":
        target.truncate()
    offset = blocks = 0
    while count is None or blocks < count:
        process.check()
        data = source.read(offset, block) if source else process.read(block)
        if not data:
            break
        if target:
            target.write(offset, data)
        else:
            process.write(data)
        offset += len(data)
        blocks += 1
    if words.get("status") != "none":
        process.write(f"{blocks}+0 records in\n{blocks}+0 records out\n{offset} bytes copied\n", 2)
    return 0


# Files


@command("ls")
def _ls(process: Process, args: list[str]) -> int:
    options, paths = _options(args)
    status = 0
    for path, full in _each(process, paths or ["."]):
        try:
            node = process.tree.node(full, process.who, follow="l" not in options and "d" not in options)
        except OSError as exc:
            status = process.fail(f"{path}: {exc.strerror}")
            continue
        if isinstance(node, Folder) and "d" not in options:
            if len(paths) > 1:
                process.write(f"{path}:\n")
            names = [name for name in node.names() if not name.startswith(".") or options.keys() & {"a", "A"}]
            if "a" in options:
                names = [".", "..", *names]
            for name in names:
                _show(process, name, process.tree.node(posixpath.join(full, name), follow=False), "l" in options)
        else:
            _show(process, path, node, "l" in options)
    return status


def _show(process: Process, name: str, node: Node, long: bool) -> None:
    if not long:
        process.write(f"{name}\n")
        return
    size = node.size if isinstance(node, File) else 4096
    when = datetime.fromtimestamp(node.mtime, timezone.utc).strftime("%b %e %H:%M")
    arrow = f" -> {node.target}" if isinstance(node, Link) else ""
    process.write(f"{_mode(node)}    1 {node.uid:<8} {node.gid:<8} {size:>9} {when} {name}{arrow}\n")


_KINDS = ((Folder, "d"), (Link, "l"), (Device, "c"))


def _mode(node: Node) -> str:
    kind = next((letter for kind, letter in _KINDS if isinstance(node, kind)), "-")
    return kind + "".join(
        letter if node.mode >> shift & 1 else "-" for shift, letter in zip(range(8, -1, -1), "rwxrwxrwx", strict=True)
    )


@command("stat")
def _stat(process: Process, args: list[str]) -> int:
    options, paths = _options(args, "c")
    for _, full in _each(process, paths):
        node = process.tree.node(full, process.who, follow="L" in options)
        size = node.size if isinstance(node, File) else 4096
        kind = (
            "directory" if isinstance(node, Folder) else "symbolic link" if isinstance(node, Link) else "regular file"
        )
        values = {
            "a": f"{node.mode & 0o7777:o}",
            "A": _mode(node),
            "s": str(size),
            "n": full,
            "u": str(node.uid),
            "g": str(node.gid),
            "U": user_name(process.tree, node.uid) or "UNKNOWN",
            "F": kind,
            "Y": str(int(node.mtime)),
        }
        template = options.get("c", "%n %s %a")
        process.write(re.sub(r"%(\w)", lambda found: values.get(found[1], "?"), template) + "\n")  # noqa: B023
    return 0


@command("mkdir")
def _mkdir(process: Process, args: list[str]) -> int:
    options, paths = _options(args, "m")
    mode = int(options.get("m") or "755", 8)
    for path, full in _each(process, paths):
        if "p" in options:
            process.tree.mkdirs(full, process.who, mode)
            continue
        if process.tree.find(full, process.who).node is not None:
            return process.fail(f"can't create directory '{path}': File exists")
        process.tree.add(full, Folder(mode, process.who.uid, process.who.gid), process.who)
    return 0


@command("rmdir")
def _rmdir(process: Process, args: list[str]) -> int:
    for path, full in _each(process, _options(args)[1]):
        if process.tree.folder(full, process.who).names():
            return process.fail(f"'{path}': Directory not empty")
        process.tree.remove(full, process.who)
    return 0


@command("rm", "unlink")
def _rm(process: Process, args: list[str]) -> int:
    options, paths = _options(args)
    status = 0
    for path, full in _each(process, paths):
        try:
            node = process.tree.node(full, process.who, follow=False)
            if isinstance(node, Folder) and not options.keys() & {"r", "R"}:
                status = process.fail(f"'{path}' is a directory")
                continue
            process.tree.remove(full, process.who)
        except FileNotFoundError as exc:
            if "f" not in options:
                status = process.fail(f"can't remove '{path}': {exc.strerror}")
        except OSError as exc:
            status = process.fail(f"can't remove '{path}': {exc.strerror}")
    return status


@command("touch")
def _touch(process: Process, args: list[str]) -> int:
    status = 0
    for path, full in _each(process, _options(args, "dt")[1]):
        try:
            node = process.tree.find(full, process.who).node
            (node if isinstance(node, Folder) else process.tree.write(full, process.who)).touch()
        except OSError as exc:
            status = process.fail(f"{path}: {exc.strerror}")
    return status


@command("cp")
def _cp(process: Process, args: list[str]) -> int:
    options, paths = _options(args)
    recursive = bool(options.keys() & {"r", "R", "a"})
    for source in paths[:-1]:
        node = process.tree.node(process.path(source), process.who, follow="d" not in options and "a" not in options)
        if isinstance(node, Folder) and not recursive:
            return process.fail(f"omitting directory '{source}'")
        target = _target(process, source, paths[-1])
        if isinstance(node, File) and isinstance(process.tree.find(target, process.who).node, File):
            file = process.tree.write(target, process.who)
            file.truncate()
            file.write(0, node.read())
        else:
            process.tree.replace(target, node.copy(), process.who)
    return 0


@command("mv")
def _mv(process: Process, args: list[str]) -> int:
    _, paths = _options(args)
    for source in paths[:-1]:
        full = process.path(source)
        node = process.tree.node(full, process.who, follow=False)
        process.tree.replace(_target(process, source, paths[-1]), node, process.who)
        process.tree.remove(full, process.who)
    return 0


def _target(process: Process, source: str, target: str) -> str:
    """Return where a copy of *source* goes: below *target* if that is a folder."""
    full = process.path(target)
    if isinstance(process.tree.find(full, process.who).node, Folder):
        return posixpath.join(full, posixpath.basename(source.rstrip("/")))
    return full


@command("ln")
def _ln(process: Process, args: list[str]) -> int:
    options, paths = _options(args)
    source = paths[0]
    target = _target(process, source, paths[1] if len(paths) > 1 else ".")
    node = Link(source) if "s" in options else process.tree.node(process.path(source), process.who)
    if "f" in options:
        process.tree.replace(target, node, process.who)
    else:
        process.tree.add(target, node, process.who)
    return 0


@command("readlink", "realpath")
def _readlink(process: Process, args: list[str]) -> int:
    options, paths = _options(args)
    for _, full in _each(process, paths):
        if "f" in options or process.name == "realpath":
            process.write(process.tree.find(full, process.who).path + "\n")
            continue
        node = process.tree.node(full, process.who, follow=False)
        if not isinstance(node, Link):
            return 1
        process.write(node.target + "\n")
    return 0


@command("chmod")
def _chmod(process: Process, args: list[str]) -> int:
    options, words = _options(args) if not re.match(r"-[rwx]", args[0]) else ({}, list(args))
    for _, full in _each(process, words[1:]):
        below = walk(process.tree.node(full, process.who), full) if "R" in options else [(full, None)]
        for path, _ in list(below):
            mode = process.tree.node(path, process.who).mode
            process.tree.chmod(path, _changed(mode, words[0]), process.who)
    return 0


def _changed(mode: int, change: str) -> int:
    if change.isdigit():
        return int(change, 8)
    for part in change.split(","):
        found = re.fullmatch(r"([ugoa]*)([-+=])([rwxst]*)", part)
        if not found:
            raise failure(errno.EINVAL, change)
        who, how, what = found.groups()
        bits = sum({"r": 4, "w": 2, "x": 1}.get(letter, 0) for letter in what)
        mask = sum(
            bits << shift for name, shift in (("u", 6), ("g", 3), ("o", 0)) if not who or name in who or "a" in who
        )
        whole = sum(
            7 << shift for name, shift in (("u", 6), ("g", 3), ("o", 0)) if not who or name in who or "a" in who
        )
        mode = mode | mask if how == "+" else mode & ~mask if how == "-" else mode & ~whole | mask
    return mode


@command("chown", "chgrp")
def _chown(process: Process, args: list[str]) -> int:
    options, words = _options(args)
    user, _, group = words[0].partition(":")
    if process.name == "chgrp":
        user, group = "", user
    for _, full in _each(process, words[1:]):
        if process.who.uid:
            raise failure(errno.EPERM, full)
        node = process.tree.node(full)
        for _, item in walk(node, "") if "R" in options else [("", node)]:
            item.chown(int(user) if user.isdigit() else item.uid, int(group) if group.isdigit() else item.gid)
    return 0


@command("find")
def _find(process: Process, args: list[str]) -> int:
    words = list(args)
    paths: list[str] = []
    while words and not words[0].startswith("-"):
        paths.append(words.pop(0))
    tests = dict(zip(words[::2], words[1::2], strict=False))
    for path, full in _each(process, paths or ["."]):
        start = process.tree.find(full, process.who, follow=False).path
        for below, node in process.tree.walk(full):
            name = path + below[len(start) :]
            kind = "d" if isinstance(node, Folder) else "l" if isinstance(node, Link) else "f"
            pattern = re.escape(tests.get("-name", "*")).replace(r"\*", ".*").replace(r"\?", ".")
            if tests.get("-type", kind) == kind and re.fullmatch(pattern, posixpath.basename(name)):
                process.write(f"{name}\n")
    return 0


@command("basename")
def _basename(process: Process, args: list[str]) -> int:
    process.write(posixpath.basename(args[0].rstrip("/")).removesuffix(args[1] if len(args) > 1 else "") + "\n")
    return 0


@command("dirname")
def _dirname(process: Process, args: list[str]) -> int:
    process.write((posixpath.dirname(args[0].rstrip("/")) or ".") + "\n")
    return 0


# Tests and numbers


@command("test", "[", "[[")
def _test(process: Process, args: list[str]) -> int:
    words = list(args)
    if process.name != "test" and (not words or words.pop() not in ("]", "]]")):
        return process.fail("missing ]", 2)
    try:
        return int(not _either(process, words))
    except (ValueError, IndexError):
        return process.fail("bad expression", 2)


def _either(process: Process, words: list[str]) -> bool:
    if "-o" in words[1:]:
        at = words.index("-o", 1)
        return _either(process, words[:at]) or _either(process, words[at + 1 :])
    if "-a" in words[1:]:
        at = words.index("-a", 1)
        return _either(process, words[:at]) and _either(process, words[at + 1 :])
    return _condition(process, words)


def _condition(process: Process, words: list[str]) -> bool:
    if len(words) == 3:
        left, how, right = words
        if how in ("=", "==", "!="):
            return (left == right) == (how != "!=")
        numbers = {"-eq": "__eq__", "-ne": "__ne__", "-lt": "__lt__", "-le": "__le__", "-gt": "__gt__", "-ge": "__ge__"}
        if how in numbers:
            return bool(getattr(int(left), numbers[how])(int(right)))
        if how in ("<", ">"):
            return left < right if how == "<" else left > right
    if words and words[0] == "!":
        return not _condition(process, words[1:])
    if len(words) == 1:
        return bool(words[0])
    if len(words) == 2:
        return _unary(process, *words)
    if words:
        raise ValueError
    return False


def _unary(process: Process, how: str, word: str) -> bool:
    if how in ("-n", "-z"):
        return bool(word) == (how == "-n")
    if how == "-t":
        return int(word) in process.fds and process.fds[int(word)].tty
    try:
        node = process.tree.find(process.path(word), process.who, follow=how not in ("-L", "-h")).node
    except OSError:
        return False
    if node is None:
        return False
    checks = {
        "-e": True,
        "-f": isinstance(node, File) and not isinstance(node, Device),
        "-c": isinstance(node, Device),
        "-d": isinstance(node, Folder),
        "-L": isinstance(node, Link),
        "-h": isinstance(node, Link),
        "-s": isinstance(node, Folder) or (isinstance(node, File) and node.size > 0),
        "-r": node.allows(process.who, 4),
        "-w": node.allows(process.who, 2),
        "-x": node.allows(process.who, 1),
    }
    if how not in checks:
        raise ValueError(how)
    return checks[how]


@command("expr")
def _expr(process: Process, args: list[str]) -> int:
    if len(args) == 3:
        left, how, right = args
        results = {"=": left == right, "!=": left != right}
        if how in results:
            value = int(results[how])
        else:
            a, b = int(left), int(right)
            operations = {"+": a + b, "-": a - b, "*": a * b, "<": int(a < b), ">": int(a > b)}
            value = a // b if how == "/" else a % b if how == "%" else operations[how]
        process.write(f"{value}\n")
        return int(not value)
    process.write(f"{args[0]}\n")
    return int(args[0] in ("", "0"))


# Processes and the system


@command("sleep")
def _sleep(process: Process, args: list[str]) -> int:
    total = 0.0
    for word in args:
        found = re.fullmatch(r"(\d*\.?\d+)([smhd]?)", word)
        if not found and word not in ("inf", "infinity"):
            return process.fail(f"invalid number '{word}'")
        unit = {"m": 60, "h": 3600, "d": 86400}
        total += float(found[1]) * unit.get(found[2], 1) if found else float("inf")
    process.block(lambda: False, total if total < 1e9 else None)
    return 0


@command("httpd")
def _wait_for_ever(process: Process, args: list[str]) -> int:
    """Stand for a server: it runs, and serves nothing."""
    del args
    process.block(lambda: False)
    return 0


@command("kill")
def _kill(process: Process, args: list[str]) -> int:
    words = list(args)
    number = int(signals.SIGTERM)
    if words[:1] == ["-l"]:
        process.write(" ".join(signal.name.removeprefix("SIG") for signal in signals.Signals) + "\n")
        return 0
    if words and words[0].startswith("-"):
        name = words.pop(0)[1:]
        if name == "s":
            name = words.pop(0)
        try:
            number = 0 if name == "0" else signal_number(name)
        except ValueError:
            return process.fail(f"bad signal name '{name}'")
    status = 0
    for word in words:
        if word == "-1":
            for other in list(process.kernel.processes.values()):
                if other.pid not in (1, process.pid):
                    process.kernel.send(other, number)
        elif not word.lstrip("-").isdigit() or not process.kernel.kill(abs(int(word)), number):
            status = process.fail(f"can't kill pid {word}: No such process")
    process.check()
    return status


@command("ps")
def _ps(process: Process, args: list[str]) -> int:
    del args
    process.write("PID   USER     COMMAND\n")
    for pid, other in sorted(process.kernel.processes.items()):
        user = user_name(process.tree, other.who.uid) or str(other.who.uid)
        process.write(f"{pid:>5} {user:<8} {' '.join(other.argv)}\n")
    return 0


@command("pgrep", "pidof", "pkill", "killall")
def _pgrep(process: Process, args: list[str]) -> int:
    options, words = _options([word for word in args if not re.fullmatch(r"-(9|KILL|TERM)", word)])
    hard = any(word in ("-9", "-KILL") for word in args)
    found = [
        other
        for other in process.kernel.processes.values()
        if other is not process
        and re.search(words[0], " ".join(other.argv) if "f" in options else posixpath.basename(other.argv[0]))
    ]
    for other in found:
        if process.name in ("pkill", "killall"):
            process.kernel.send(other, signals.SIGKILL if hard else signals.SIGTERM)
        else:
            process.write(f"{other.pid}\n")
    return int(not found)


def run(process: Process, words: Sequence[str], env: dict[str, str] | None = None) -> int:
    """Run a further program and wait for it."""
    child = process.child(words, inline=True, env=process.env if env is None else env)
    path = child.env.get("PATH", DEFAULT_PATH)

    def body(process: Process) -> int:
        try:
            program = find_program(process.tree, words, path=path, cwd=process.cwd, who=process.who)
        except CannotExecute as exc:
            return process.fail(exc.message, exc.code)
        return program(process)

    return process.kernel.run(child, body)


@command("env", "printenv")
def _env(process: Process, args: list[str]) -> int:
    if process.name == "printenv" and args:
        value = process.env.get(args[0])
        process.write("" if value is None else value + "\n")
        return int(value is None)
    options, words = _options(args, "u")
    env = {} if "i" in options else dict(process.env)
    env.pop(options.get("u", ""), None)
    while words and "=" in words[0]:
        name, _, value = words.pop(0).partition("=")
        env[name] = value
    if words:
        return run(process, words, env)
    process.write("".join(f"{name}={value}\n" for name, value in env.items()))
    return 0


@command("timeout")
def _timeout(process: Process, args: list[str]) -> int:
    _, words = _options(args, "sk")
    child = process.child(words[1:], inline=False)
    program = find_program(
        child.tree, words[1:], path=child.env.get("PATH", DEFAULT_PATH), cwd=child.cwd, who=child.who
    )
    process.kernel.launch(child, program)
    if process.block(lambda: child.exit_code is not None, float(words[0].rstrip("s"))):
        return child.exit_code or 0
    process.kernel.send(child, signals.SIGTERM)
    process.block(lambda: child.exit_code is not None)
    return 124


@command("id", "whoami")
def _id(process: Process, args: list[str]) -> int:
    options, _ = _options(args)
    who = process.who
    name = user_name(process.tree, who.uid)
    if process.name == "whoami" or ("u" in options and "n" in options):
        if name is None:
            return process.fail(f"unknown uid {who.uid}")
        process.write(f"{name}\n")
    elif "u" in options:
        process.write(f"{who.uid}\n")
    elif "g" in options:
        process.write(f"{who.gid}\n")
    else:
        process.write(f"uid={who.uid}{f'({name})' if name else ''} gid={who.gid}\n")
    return 0


@command("pwd")
def _pwd(process: Process, args: list[str]) -> int:
    del args
    process.write(f"{process.cwd}\n")
    return 0


@command("hostname")
def _hostname(process: Process, args: list[str]) -> int:
    del args
    process.write(f"{process.env.get('HOSTNAME', '')}\n" if not _hostname_file(process) else _hostname_file(process))
    return 0


def _hostname_file(process: Process) -> str:
    try:
        return decode(process.tree.read("/etc/hostname").read())
    except OSError:
        return ""


@command("uname")
def _uname(process: Process, args: list[str]) -> int:
    options, _ = _options(args)
    found = {"s": "Linux", "n": _hostname_file(process).strip(), "r": os.uname().release, "m": os.uname().machine}
    wanted = "snrm" if "a" in options else [letter for letter in "snrm" if letter in options] or ["s"]
    process.write(" ".join(found[letter] for letter in wanted) + "\n")
    return 0


@command("date")
def _date(process: Process, args: list[str]) -> int:
    template = next((word[1:] for word in args if word.startswith("+")), "%a %b %e %H:%M:%S UTC %Y")
    now = datetime.now(timezone.utc)
    text = template.replace("%s", str(int(time.time()))).replace("%N", f"{now.microsecond * 1000:09}")
    process.write(now.strftime(text) + "\n")
    return 0


@command("tty")
def _tty(process: Process, args: list[str]) -> int:
    del args
    is_terminal = 0 in process.fds and process.fds[0].tty
    process.write("/dev/pts/0\n" if is_terminal else "not a tty\n")
    return int(not is_terminal)


@command("sync")
def _nothing(process: Process, args: list[str]) -> int:
    """Do nothing, for there is nothing to do in memory."""
    del process, args
    return 0


@command("which")
def _which(process: Process, args: list[str]) -> int:
    status = 0
    for name in args:
        for folder in process.env.get("PATH", DEFAULT_PATH).split(":"):
            full = posixpath.join(folder, name)
            try:
                found = process.tree.find(full, process.who).node
            except OSError:
                continue
            if isinstance(found, File) and found.allows(process.who, 1):
                process.write(f"{full}\n")
                break
        else:
            status = 1
    return status


@command("busybox")
def _busybox(process: Process, args: list[str]) -> int:
    """Play one of its commands, or with ``--install -s FOLDER`` make a link for each."""
    if args[:1] == ["--install"]:
        folder = args[-1] if len(args) > 1 and not args[-1].startswith("-") else "/bin"
        me = posixpath.join("/", process.cwd, process.argv[0]) if "/" in process.argv[0] else "/bin/busybox"
        install(process, process.path(folder), me)
        return 0
    if args[:1] == ["--list"]:
        process.write("".join(f"{name}\n" for name in sorted(COMMANDS)))
        return 0
    if not args or args[0] not in COMMANDS:
        return process.fail(f"{args[0] if args else ''}: applet not found", 127)
    process.argv = list(args)
    return COMMANDS[args[0]](process, list(args[1:]))


def install(process: Process, folder: str, target: str) -> None:
    """Make a link to *target* in *folder* for each command."""
    found = process.tree.folder(folder, process.who)
    for name in COMMANDS:
        if name != "busybox" and found.get(name) is None:
            process.tree.add(posixpath.join(folder, name), Link(target), process.who)


command("sh", "ash")(sh)
