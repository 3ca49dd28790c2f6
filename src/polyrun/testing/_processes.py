"""Processes in memory: a thread each, with pipes, signals, pause and a ``/proc`` of their own.

Everything of one container that can be waited for (a pipe, a signal, an end, a pause) is guarded
by one condition, so a process that waits for anything is woken by everything that concerns it.
"""

from __future__ import annotations

import errno
import posixpath
import re
import signal as signals
import threading
import time
from collections import deque
from typing import TYPE_CHECKING

from attr import frozen

from polyrun.testing._filesystem import Device, File, Folder, Link, Node, Tree, Who, failure

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from typing_extensions import Self

    from polyrun.adapter import StreamName

PIPE_SIZE = 65536
DEVICES = {"null": "null", "zero": "zero", "full": "zero", "random": "urandom", "urandom": "urandom", "tty": "null"}
DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

# What Linux does with a signal that a process does not handle: these are ignored, others end it.
_IGNORED = {signals.SIGCHLD, signals.SIGCONT, signals.SIGURG, signals.SIGWINCH, signals.SIGSTOP, signals.SIGTSTP}

_references = threading.Lock()


class Killed(Exception):  # not an error: how a process leaves what it is doing
    """A signal has ended *process*."""

    def __init__(self, process: Process, signal: int) -> None:
        super().__init__(process, signal)
        self.process = process
        self.signal = signal


class Exited(Exception):  # likewise
    """The process ends itself with this exit code."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code & 0xFF


class CannotExecute(Exception):  # its text is an engine's, as `start_failed` reads it
    """A command cannot be started; *code* is the exit code that says so."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.message = message
        self.code = code


def signal_number(signal: str) -> int:
    """Return the number of a signal given by number or name, with or without ``SIG``."""
    if signal.isdigit():
        number = int(signal)
        if number in {int(known) for known in signals.Signals}:
            return number
        raise ValueError(signal)
    name = signal.upper().removeprefix("SIG")
    try:
        return int(signals.Signals[f"SIG{name}"])
    except KeyError:
        raise ValueError(signal) from None


# Streams: what the file descriptors of processes point to


class Stream:
    """An open file, pipe or terminal, shared by those who hold it and closed by the last of them."""

    tty = False

    def __init__(self) -> None:
        self._holders = 1

    def share(self) -> Self:
        """Return it for one more holder."""
        with _references:
            self._holders += 1
        return self

    def close(self) -> None:
        """Let it go."""
        with _references:
            self._holders -= 1
            last = self._holders == 0
        if last:
            self.closed()

    def closed(self) -> None:
        """Do what the last holder's close asks for."""

    def read(self, process: Process, count: int) -> bytes:
        """Return up to *count* bytes, or none at the end."""
        del process, count
        raise failure(errno.EBADF, "")

    def write(self, process: Process, data: bytes) -> None:
        """Write all of *data*."""
        del process, data
        raise failure(errno.EBADF, "")


class Nothing(Stream):
    """Like ``/dev/null``."""

    def read(self, process: Process, count: int) -> bytes:
        """Return the end."""
        del process, count
        return b""

    def write(self, process: Process, data: bytes) -> None:
        """Drop it."""


class OpenFile(Stream):
    """A file, with a position that its holders share."""

    def __init__(self, file: File, *, append: bool = False) -> None:
        super().__init__()
        self._file = file
        self._append = append
        self._position = 0

    def read(self, process: Process, count: int) -> bytes:
        """Read on."""
        process.check()
        data = self._file.read(self._position, count)
        self._position += len(data)
        return data

    def write(self, process: Process, data: bytes) -> None:
        """Write on."""
        process.check()
        if self._append:
            self._position = self._file.size
        self._file.write(self._position, data)
        self._position += len(data)


class Collected(Stream):
    """What was written, all of it: for ``$(…)`` and health checks."""

    def __init__(self) -> None:
        super().__init__()
        self.data = bytearray()

    def write(self, process: Process, data: bytes) -> None:
        """Keep it."""
        process.check()
        self.data += data


class Channel:
    """A bounded pipe whose bytes know which stream they came from."""

    def __init__(self, changed: threading.Condition) -> None:
        self.changed = changed
        self.readers = 0
        self.writers = 0
        self._items: deque[tuple[StreamName, bytes]] = deque()
        self._size = 0
        self._dropped = False

    def reader(self) -> ChannelReader:
        """Return an end to read from."""
        return ChannelReader(self)

    def writer(self, name: StreamName = "stdout") -> ChannelWriter:
        """Return an end to write to."""
        return ChannelWriter(self, name)

    @property
    def readable(self) -> bool:
        """Whether a read would not wait."""
        return bool(self._items) or not self.writers

    @property
    def writable(self) -> bool:
        """Whether a write would not wait."""
        return self._size < PIPE_SIZE or not self.readers or self._dropped

    def take(self, count: int = PIPE_SIZE) -> tuple[StreamName, bytes] | None:
        """Return up to *count* bytes of one stream, or ``None`` if there are none."""
        with self.changed:
            if not self._items:
                return None
            name, data = self._items.popleft()
            if len(data) > count:
                self._items.appendleft((name, data[count:]))
                data = data[:count]
            self._size -= len(data)
            self.changed.notify_all()
            return name, data

    def add(self, name: StreamName, data: bytes) -> None:
        """Add *data*."""
        with self.changed:
            if not self._dropped:
                self._items.append((name, data))
                self._size += len(data)
                self.changed.notify_all()

    def drop(self) -> None:
        """Forget what was written, and what will be: nobody reads it, and nobody is to know."""
        with self.changed:
            self._dropped = True
            self._items.clear()
            self.changed.notify_all()


class ChannelReader(Stream):
    """The end of a channel that is read."""

    def __init__(self, channel: Channel) -> None:
        super().__init__()
        self._channel = channel
        with channel.changed:
            channel.readers += 1

    def read(self, process: Process, count: int) -> bytes:
        """Wait for bytes, or the end."""
        with self._channel.changed:
            process.block(lambda: self._channel.readable)
            item = self._channel.take(count)
        return item[1] if item else b""

    def closed(self) -> None:
        """Tell the writers."""
        with self._channel.changed:
            self._channel.readers -= 1
            self._channel.changed.notify_all()


class ChannelWriter(Stream):
    """The end of a channel that is written."""

    def __init__(self, channel: Channel, name: StreamName) -> None:
        super().__init__()
        self._channel = channel
        self._name: StreamName = name
        with channel.changed:
            channel.writers += 1

    def write(self, process: Process, data: bytes) -> None:
        """Wait for room; without a reader the process ends of ``SIGPIPE``."""
        for start in range(0, len(data), PIPE_SIZE):
            with self._channel.changed:
                process.block(lambda: self._channel.writable)
                if not self._channel.readers:
                    raise Killed(process, signals.SIGPIPE)
                self._channel.add(self._name, data[start : start + PIPE_SIZE])

    def closed(self) -> None:
        """Tell the readers."""
        with self._channel.changed:
            self._channel.writers -= 1
            self._channel.changed.notify_all()


class Terminal(Stream):
    """A terminal over another stream: a newline becomes a carriage return and a newline."""

    tty = True

    def __init__(self, below: Stream) -> None:
        super().__init__()
        self._below = below

    def read(self, process: Process, count: int) -> bytes:
        """Read what was typed."""
        return self._below.read(process, count)

    def write(self, process: Process, data: bytes) -> None:
        """Show *data*."""
        self._below.write(process, data.replace(b"\n", b"\r\n"))

    def closed(self) -> None:
        """Close the stream below."""
        self._below.close()


# Processes


class Process:
    """A process: what it was started with, its streams, and the signals that reached it.

    A command that its shell waits for runs in the shell's thread: *host* is that shell, and a
    signal that ends the host ends the command too.
    """

    def __init__(
        self,
        kernel: Kernel,
        argv: Sequence[str],
        *,
        env: Mapping[str, str],
        cwd: str,
        who: Who,
        fds: Mapping[int, Stream],
        parent: Process | None = None,
        host: Process | None = None,
    ) -> None:
        self.kernel = kernel
        self.argv = list(argv)
        self.env = dict(env)
        self.cwd = cwd
        self.who = who
        self.fds = dict(fds)
        self.parent = parent
        self.host = host
        self.exit_code: int | None = None
        self.killed_by: int | None = None
        # Signals that do not end it: with True they are kept for the shell's traps, else ignored.
        self.handled: dict[int, bool] = {}
        self.pending: deque[int] = deque()
        self.pid = kernel.register(self)

    def child(
        self,
        argv: Sequence[str],
        *,
        inline: bool,
        fds: Mapping[int, Stream] | None = None,
        env: Mapping[str, str] | None = None,
    ) -> Process:
        """Return a new process that inherits from this one; *inline*, it runs in the same thread."""
        child = Process(
            self.kernel,
            argv,
            env=self.env if env is None else env,
            cwd=self.cwd,
            who=self.who,
            fds={fd: stream.share() for fd, stream in (self.fds if fds is None else fds).items()},
            parent=self,
            host=self if inline else None,
        )
        child.handled = {signal: kept for signal, kept in self.handled.items() if not kept}
        return child

    @property
    def tree(self) -> Tree:
        """The file system it sees."""
        return self.kernel.tree

    @property
    def name(self) -> str:
        """What its messages begin with."""
        return posixpath.basename(self.argv[0])

    def path(self, path: str) -> str:
        """Return *path* as an absolute one."""
        full = posixpath.join(self.cwd, path)
        return re.sub(r"^/proc/self(?=/|$)", f"/proc/{self.pid}", full)

    def check(self) -> None:
        """Raise `Killed` if a signal has ended it; wait while its container is paused."""
        if self.kernel.paused:
            self.block(lambda: True)
        self._check_killed()

    def _check_killed(self) -> None:
        process: Process | None = self
        while process:
            if process.killed_by is not None:
                raise Killed(process, process.killed_by)
            process = process.host

    def block(self, ready: Callable[[], object], timeout: float | None = None) -> bool:
        """Wait until *ready*, for *timeout* seconds at most; return whether it was."""
        end = None if timeout is None else time.monotonic() + timeout
        changed = self.kernel.changed
        with changed:
            while True:
                self._check_killed()
                if self.kernel.paused:
                    changed.wait()
                    continue
                if ready():
                    return True
                left = None if end is None else end - time.monotonic()
                if left is not None and left <= 0:
                    return False
                changed.wait(left)

    def stream(self, fd: int) -> Stream:
        """Return what a file descriptor points to."""
        try:
            return self.fds[fd]
        except KeyError:
            raise failure(errno.EBADF, str(fd)) from None

    def read(self, count: int = PIPE_SIZE) -> bytes:
        """Read from standard input."""
        return self.stream(0).read(self, count)

    def write(self, data: bytes | str, fd: int = 1) -> None:
        """Write to standard output."""
        if data:
            self.stream(fd).write(self, data if isinstance(data, bytes) else encode(data))

    def fail(self, message: str, code: int = 1) -> int:
        """Write *message* to standard error and return *code*."""
        self.write(f"{self.name}: {message}\n", 2)
        return code

    def redirect(self, fd: int, stream: Stream | None) -> None:
        """Point *fd* to *stream*, or to nothing."""
        old = self.fds.pop(fd, None)
        if stream is not None:
            self.fds[fd] = stream
        if old is not None:
            old.close()


class Kernel:
    """The processes of one run of a container; they end with the first of them."""

    def __init__(
        self,
        tree: Tree,
        changed: threading.Condition,
        *,
        pids: int | None = None,
        init: bool = False,
        ulimits: Mapping[str, tuple[int, int]] | None = None,
    ) -> None:
        self.tree = tree
        self.ulimits = ulimits or {}
        self.changed = changed
        self.paused = False
        self.processes: dict[int, Process] = {}
        self._pids = pids
        self.init = init
        self._next = 2 if init else 1
        self._main: Process | None = None
        self._ended = False
        self._threads: set[threading.Thread] = set()

    def register(self, process: Process) -> int:
        """Give *process* its id."""
        with self.changed:
            if self._pids is not None and len(self.processes) >= self._pids:
                raise failure(errno.EAGAIN, "fork")
            pid = self._next
            self._next += 1
            self.processes[pid] = process
            if self._main is None:
                self._main = process
            if self._ended:
                process.killed_by = signals.SIGKILL
            return pid

    def run(self, process: Process, body: Callable[[Process], int]) -> int:
        """Run *process* to its end in this thread and return its exit code."""
        code = 128 + signals.SIGKILL
        try:
            process.check()
            code = body(process) & 0xFF
        except Exited as exc:
            code = exc.code
        except Killed as exc:
            code = 128 + exc.signal
            if exc.process is not process:
                raise  # the shell that it ran for has ended
        finally:
            self.finish(process, code)
        return code

    def finish(self, process: Process, code: int) -> None:
        """Record the end of *process*."""
        for stream in process.fds.values():
            stream.close()
        process.fds.clear()
        with self.changed:
            process.exit_code = code
            self.processes.pop(process.pid, None)
            if process is self._main:
                self.end()
            self.changed.notify_all()

    def launch(
        self, process: Process, body: Callable[[Process], int], then: Callable[[int], None] | None = None
    ) -> None:
        """Run *process* in a thread of its own; *then* gets its exit code."""

        def work() -> None:
            code = self.run(process, body)
            if then:
                then(code)

        thread = threading.Thread(target=work, name=f"polyrun-memory-{process.name}-{process.pid}", daemon=True)
        with self.changed:
            thread.start()
            self._threads = {other for other in self._threads if other.is_alive()} | {thread}

    def send(self, process: Process, signal: int) -> None:
        """Send *process* a signal."""
        with self.changed:
            if process.exit_code is not None:
                return
            if signal == signals.SIGKILL:
                process.killed_by = signal
            elif signal in process.handled:
                if process.handled[signal]:
                    process.pending.append(signal)
            elif signal not in _IGNORED and process.pid != 1:
                # Linux drops signals that process 1 of a namespace does not handle.
                process.killed_by = signal
            self.changed.notify_all()

    def signal(self, signal: int) -> None:
        """Send a signal to process 1; an init there passes it on."""
        if self._main is not None:
            self.send(self._main, signal)

    def kill(self, pid: int, signal: int) -> bool:
        """Send a signal by process id; return whether there is such a process."""
        if pid == 1 and self.init:
            if signal:
                self.signal(signal)
            return True
        process = self.processes.get(pid)
        if process is None:
            return False
        if signal:
            self.send(process, signal)
        return True

    def end(self) -> None:
        """Kill all processes, and those that are still being made."""
        with self.changed:
            self._ended = True
            for process in self.processes.values():
                process.killed_by = signals.SIGKILL
            self.changed.notify_all()

    def join(self, timeout: float) -> None:
        """Wait until no thread of a process is left."""
        end = time.monotonic() + timeout
        for thread in list(self._threads):
            if thread is not threading.current_thread():
                thread.join(max(0.0, end - time.monotonic()))

    def pause(self, paused: bool) -> None:
        """Freeze the processes, or let them go on."""
        with self.changed:
            self.paused = paused
            self.changed.notify_all()


class Proc(Folder):
    """``/proc``: the processes of a kernel, as files."""

    def __init__(self, kernel: Kernel) -> None:
        super().__init__(0o555)
        self._kernel = kernel

    def names(self) -> list[str]:
        """Return the process ids."""
        pids = {1, *self._kernel.processes} if self._kernel.init else set(self._kernel.processes)
        return [str(pid) for pid in sorted(pids)]

    def get(self, name: str) -> Node | None:
        """Return the folder of a process."""
        if not name.isdigit():
            return None
        process = self._kernel.processes.get(int(name))
        if process is not None:
            return _proc_folder(process.pid, process.argv, process.env, process.who, process.cwd, process.parent)
        if name == "1" and self._kernel.init:
            return _proc_folder(1, ["/sbin/docker-init", "--"], {}, Who(), "/", None)
        return None

    def copy(self) -> Folder:
        """Return an empty folder: what is copied is the place, not the processes."""
        return Folder(0o555)


def _proc_folder(
    pid: int, argv: Sequence[str], env: Mapping[str, str], who: Who, cwd: str, parent: Process | None
) -> Folder:
    folder = Folder(0o555, who.uid, who.gid)
    above = parent.pid if parent else 0
    comm = posixpath.basename(argv[0])[:15]
    files = {
        "cmdline": "".join(f"{word}\0" for word in argv),
        "comm": f"{comm}\n",
        "stat": f"{pid} ({comm}) S {above} {pid} {pid} 0 -1\n",
        "status": f"Name:\t{comm}\nState:\tS (sleeping)\nPid:\t{pid}\nPPid:\t{above}\n"
        f"Uid:\t{who.uid}\t{who.uid}\t{who.uid}\t{who.uid}\n"
        f"Gid:\t{who.gid}\t{who.gid}\t{who.gid}\t{who.gid}\n",
    }
    for name, text in files.items():
        folder.add(name, File(encode(text), 0o444, who.uid, who.gid))
    folder.add("environ", File(encode("".join(f"{k}={v}\0" for k, v in env.items())), 0o400, who.uid, who.gid))
    folder.add("cwd", Link(cwd))
    return folder


# Programs: what a command leads to


COMMANDS: dict[str, Callable[[Process, list[str]], int]] = {}
"""The commands that can be executed, by name."""


def command(
    *names: str,
) -> Callable[[Callable[[Process, list[str]], int]], Callable[[Process, list[str]], int]]:
    """Register a command; it is given the process and the arguments, and returns the exit code."""

    def register(function: Callable[[Process, list[str]], int]) -> Callable[[Process, list[str]], int]:
        for name in names:
            COMMANDS[name] = function
        return function

    return register


@frozen
class Program:
    """What a command leads to: the function that plays it and the arguments that it gets."""

    play: Callable[[Process, list[str]], int]
    argv: list[str]

    def __call__(self, process: Process) -> int:
        """Run in *process*; what the operating system refuses becomes a message, as with any command."""
        try:
            return self.play(process, self.argv[1:])
        except OSError as exc:
            where = f"{exc.filename}: " if exc.filename else ""
            return process.fail(f"{where}{exc.strerror}")


def find_program(tree: Tree, argv: Sequence[str], *, path: str, cwd: str, who: Who) -> Program:
    """Return the program that *argv* names, or raise `CannotExecute` in the words of the OCI runtimes."""
    name = argv[0]
    searched = "/" not in name
    candidates = [posixpath.join(cwd, folder, name) for folder in path.split(":")] if searched else [name]
    denied = False
    for candidate in candidates:
        try:
            node = tree.find(posixpath.join(cwd, candidate), who).node
        except OSError:
            continue
        if isinstance(node, Folder) and not searched:
            raise CannotExecute(f'exec: "{name}": is a directory: permission denied', 126)
        if isinstance(node, File):
            if node.allows(who, 1):
                return _load(tree, node, candidate, list(argv), cwd=cwd, who=who)
            denied = True
    if denied:
        raise CannotExecute(f'exec: "{name}": permission denied', 126)
    if searched:
        raise CannotExecute(f'exec: "{name}": executable file not found in $PATH', 127)
    raise CannotExecute(f'exec: "{name}": stat {name}: no such file or directory', 127)


def _load(tree: Tree, file: File, path: str, argv: list[str], *, cwd: str, who: Who) -> Program:
    head = file.read(0, 256)
    if head.startswith(b"#!"):
        line = head[2:].split(b"\n")[0].decode("utf-8", "replace").split(None, 1)
        if line:
            words = [word.strip() for word in line]
            return find_program(tree, [*words, path, *argv[1:]], path="", cwd=cwd, who=who)
    if head.startswith(b"\x7fELF"):
        # A program for real machines cannot run here; one that has a known name is played.
        applet = posixpath.basename(path)
        play = COMMANDS.get(applet)
        if play:
            return Program(play, argv)
    raise CannotExecute(f'exec: "{argv[0]}": exec format error', 126)


def find_user(tree: Tree, user: str) -> Who:
    """Return the user for ``name``, ``id``, ``name:group`` or ``id:id``."""
    name, _, group = user.partition(":")
    who = Who(name=name)
    for row in _rows(tree, "/etc/passwd"):
        if len(row) > 5 and (row[0] == name or (name.isdigit() and row[2] == name)):
            who = Who(int(row[2]), int(row[3]), row[0], row[5] or "/")
            break
    else:
        if name and not name.isdigit():
            raise CannotExecute(f"unable to find user {name}: no matching entries in passwd file", 126)
        who = Who(int(name or 0))
    if not group:
        return who
    if group.isdigit():
        return Who(who.uid, int(group), who.name, who.home)
    for row in _rows(tree, "/etc/group"):
        if len(row) > 2 and row[0] == group:
            return Who(who.uid, int(row[2]), who.name, who.home)
    raise CannotExecute(f"unable to find group {group}: no matching entries in group file", 126)


def _rows(tree: Tree, path: str) -> list[list[str]]:
    try:
        text = decode(tree.read(path).read())
    except OSError:
        return []
    return [line.split(":") for line in text.splitlines()]


def user_name(tree: Tree, uid: int) -> str | None:
    """Return the name of a user id."""
    return next((row[0] for row in _rows(tree, "/etc/passwd") if len(row) > 2 and row[2] == str(uid)), None)


def encode(text: str) -> bytes:
    """Return *text* as bytes; bytes that are not UTF-8 survive a `decode` and this."""
    return text.encode("utf-8", "surrogateescape")


def decode(data: bytes) -> str:
    """Return *data* as text."""
    return data.decode("utf-8", "surrogateescape")


def boot(tree: Tree, kernel: Kernel) -> None:
    """Mount what every container finds: ``/proc``, ``/sys`` and ``/dev``."""
    devices = Folder()
    for name, kind in DEVICES.items():
        devices.add(name, Device(kind))
    devices.add("shm", Folder(0o1777))
    devices.add("pts", Folder())
    for fd, name in enumerate(("stdin", "stdout", "stderr")):
        devices.add(name, Link(f"/proc/self/fd/{fd}"))
    tree.mount("/proc", Proc(kernel), read_only=True)
    tree.mount("/sys", Folder(0o555), read_only=True)
    tree.mount("/dev", devices)
