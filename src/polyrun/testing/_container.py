"""One container in memory: what it is made of, and its life."""

from __future__ import annotations

import posixpath
import re
import secrets
import signal as signals
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

from polyrun import (
    Conflict,
    Container,
    ContainerNotFound,
    InvalidArgument,
    NotRunning,
    PolyrunError,
    Unsupported,
)
from polyrun.adapter import CALL_LABEL, IMAGE_LABEL, ContainerDetail, ExecOutcome, start_failed
from polyrun.testing._filesystem import Device, File, Folder, Tree, host_node
from polyrun.testing._processes import (
    DEFAULT_PATH,
    DEVICES,
    CannotExecute,
    Channel,
    Collected,
    Kernel,
    Nothing,
    Process,
    Stream,
    Terminal,
    boot,
    encode,
    find_program,
    find_user,
    signal_number,
)
from polyrun.testing._streams import Attachment, Log, LogReader, LogStream, MemoryExecution, Stdin, utc

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from polyrun import ContainerSpec, Health, HealthCheck, Mount, Port, State
    from polyrun.adapter import ExecRequest, LogRequest
    from polyrun.testing._dockerfile import Layer
    from polyrun.testing._resources import Ports, Volumes

_ENDING = 10.0
"""Seconds that threads of killed processes are given; they need none of them."""


class MemoryContainer:
    """A container. Everything in it that changes is guarded by one condition."""

    def __init__(
        self,
        identifier: str,
        spec: ContainerSpec,
        layer: Layer,
        volumes: Volumes,
        ports: Ports,
        *,
        engine: str,
        timeout: float,
    ) -> None:
        self.id = identifier
        self.name = spec.name or identifier[:12]
        self.spec = spec
        self.layer = layer
        self.state: State = "created"
        self.changed = threading.Condition()
        self.log = Log(self.changed)
        self.ends = 0
        """How many of its runs have ended."""
        self.removed = False
        self.ports: tuple[Port, ...] = ()
        self.anonymous_volumes: list[str] = []
        self._host_ports = ports
        self._engine = engine
        self._timeout = timeout
        self._created = utc(time.time())
        self._started: datetime | None = None
        self._finished: datetime | None = None
        self._exit_code: int | None = None
        self._stopped = False
        self._restarts = 0
        self._health: Health | None = None
        self._failures = 0
        self._kernel: Kernel | None = None
        self._last_kernel: Kernel | None = None
        self._stdin: Stdin | None = None
        self._config = layer.config
        self._argv = _command(spec, layer)
        self._env = self._environment()
        self._workdir = spec.workdir or self._config.workdir
        self._stop_signal = self._number(spec.stop_signal or self._config.stop_signal or "TERM")
        self._tmpfs = {
            **{mount.target: "" for mount in spec.mounts if mount.type == "tmpfs"},
            **spec.tmpfs,
        }
        self._devices = self._known_devices()
        self.tree = Tree(layer.root.copy())
        self._mount_all(volumes)

    @property
    def active(self) -> bool:
        """Whether it has a process, or will have one again."""
        return self.state in ("running", "paused", "restarting")

    @property
    def _check(self) -> HealthCheck | None:
        return self.spec.health or self._config.health

    # Making

    def _environment(self) -> dict[str, str]:
        env = {"PATH": DEFAULT_PATH, "HOSTNAME": self.spec.hostname or self.id[:12]}
        if self.spec.tty:
            env["TERM"] = "xterm"
        return {**env, **self._config.env, **self.spec.env}

    def _mount_all(self, volumes: Volumes) -> None:
        """Mount what the specification and the image ask for."""
        for mount in self.spec.mounts:
            if mount.type == "bind" and not Path(mount.source).exists():
                raise InvalidArgument(f"a bind mount of what does not exist: {mount.source}", engine=self._engine)
        hostname = self.spec.hostname or self.id[:12]
        hosts = {"localhost": "127.0.0.1", hostname: "172.17.0.2", **self.spec.extra_hosts}
        lines = [
            # The gateway to the host would be the host itself: there is no network in between.
            f"{'127.0.0.1' if address == 'host-gateway' else address}\t{name}\n"
            for name, address in hosts.items()
        ]
        for path, text in (
            ("/etc/hosts", "".join(lines)),
            ("/etc/hostname", f"{hostname}\n"),
            ("/etc/resolv.conf", ""),
        ):
            self.tree.mount(path, File(encode(text)))
        covered = {mount.target for mount in self.spec.mounts}
        for target in self._config.volumes:
            if target not in covered:
                self._mount_volume("", target, volumes, read_only=False)
        for mount in sorted(self.spec.mounts, key=lambda mount: mount.target.count("/")):
            self._mount(mount, volumes)
        try:
            self.tree.mkdirs(self._workdir)
        except OSError:
            pass  # a file is there: the start fails, and says so
        self.tree.read_only = self.spec.read_only

    def _mount(self, mount: Mount, volumes: Volumes) -> None:
        if mount.type == "volume":
            self._mount_volume(mount.source, mount.target, volumes, read_only=mount.read_only)
        elif mount.type == "bind":  # a tmpfs is made at each start
            self.tree.mount(mount.target, host_node(Path(mount.source).resolve()), read_only=mount.read_only)

    def _mount_volume(self, name: str, target: str, volumes: Volumes, *, read_only: bool) -> None:
        if not name:
            name = secrets.token_hex(32)
            self.anonymous_volumes.append(name)

        def content() -> Folder | None:
            try:
                node = self.tree.find(target).node
            except OSError:
                return None
            return node.copy() if isinstance(node, Folder) else None

        self.tree.mount(target, volumes.open(name, content), read_only=read_only)

    def _known_devices(self) -> dict[str, str]:
        """Return the devices by their paths in the container; only those that make no difference are there."""
        found: dict[str, str] = {}
        for device in self.spec.devices:
            outside, _, inside = device.partition(":")
            if not Path(outside).exists():
                raise InvalidArgument(f"no device {outside}", engine=self._engine)
            kind = posixpath.basename(outside)
            if kind not in DEVICES:
                raise Unsupported(f"a runtime in memory has no device {outside}", engine=self._engine)
            found[inside.partition(":")[0] or outside] = kind
        return found

    def _number(self, signal: str) -> int:
        try:
            return signal_number(signal)
        except ValueError:
            raise InvalidArgument(f"not a signal: {signal!r}", engine=self._engine) from None

    # Looking

    def snapshot(self) -> Container:
        """Return it as it is now."""
        with self.changed:
            exited = self.state in ("exited", "dead")
            return Container(
                id=self.id,
                name=self.name,
                image=self.spec.labels.get(IMAGE_LABEL, self.spec.image),
                state=self.state,
                created=self._created,
                started=self._started,
                finished=self._finished if exited else None,
                exit_code=self._exit_code if exited else None,
                ports=self.ports,
                labels={
                    name: value
                    for name, value in {**self._config.labels, **self.spec.labels}.items()
                    if name != CALL_LABEL
                },
                health=self._health,
            )

    def detail(self) -> ContainerDetail:
        """Return it with what it was made with."""
        limits = self.spec.limits
        return ContainerDetail(
            container=self.snapshot(),
            call=self.spec.labels.get(CALL_LABEL),
            env=tuple(self.spec.env.values()),
            tty=self.spec.tty,
            has_health=self._check is not None,
            memory=limits.memory,
            cpus=limits.cpus,
            pids=limits.pids,
            requested_ports=tuple(f"{port.container}/{port.protocol}" for port in self.spec.ports),
        )

    # Living

    def start(self) -> None:
        """Start it, unless it runs."""
        with self.changed:
            self._present()
            if self.state == "paused":
                raise Conflict(f"{self.name} is paused", engine=self._engine, hint="unpause() it.")
            if self.active:
                return
            self._stopped = False
            self._restarts = 0
            self._run()

    def _present(self) -> None:
        if self.removed:
            raise ContainerNotFound(f"no container {self.name}", engine=self._engine)

    def _run(self) -> None:
        """Start its process."""
        kernel = Kernel(
            self.tree, self.changed, pids=self.spec.limits.pids, init=self.spec.init, ulimits=self.spec.ulimits
        )
        try:
            boot(self.tree, kernel)
            self._mount_fresh()
            who = find_user(self.tree, self.spec.user or self._config.user)
            _check_folder(self.tree, self._workdir)
            env = {"HOME": who.home, **self._env}
            program = find_program(self.tree, self._argv, path=env.get("PATH", ""), cwd=self._workdir, who=who)
            self.ports = self._host_ports.take(self.spec.ports)
        except (CannotExecute, OSError) as exc:
            raise start_failed(f"container {self.name}", str(exc), self._engine) from None
        fds = self._streams()
        process = Process(kernel, self._argv, env=env, cwd=self._workdir, who=who, fds=fds)
        self._kernel = self._last_kernel = kernel
        self._started, self._finished, self._exit_code = utc(time.time()), None, None
        self._health, self._failures = "starting" if self._check else None, 0
        self.state = "running"
        self.changed.notify_all()
        kernel.launch(process, program, lambda code: self._ended(kernel, code))

    def _mount_fresh(self) -> None:
        """Mount what begins anew at each start."""
        for target, options in self._tmpfs.items():
            mode = re.search(r"\bmode=([0-7]+)", options)
            self.tree.mount(target, Folder(int(mode[1], 8) if mode else 0o1777))
        for inside, kind in self._devices.items():
            self.tree.mount(inside, Device(kind))

    def _streams(self) -> dict[int, Stream]:
        stdin: Stream = Nothing()
        if self.spec.stdin:
            self._stdin = self._stdin or Stdin(self.changed)
            stdin = self._stdin.reader
        if not self.spec.tty:
            return {0: stdin, 1: LogStream(self.log, "stdout"), 2: LogStream(self.log, "stderr")}
        screen = Terminal(LogStream(self.log, "stdout"))
        return {0: Terminal(stdin), 1: screen, 2: screen.share()}

    def _ended(self, kernel: Kernel, code: int) -> None:
        """Record the end of its process; a restart policy may start it again."""
        kernel.join(_ENDING)
        with self.changed:
            self.ends += 1
            self._exit_code, self._finished = code, utc(time.time())
            self._kernel = self._stdin = None
            self._host_ports.free(self.ports)
            self.ports = ()
            if self._restarts_after(code):
                self.state = "restarting"
                self.changed.notify_all()
                delay = min(0.1 * 2**self._restarts, 60.0)
                self._restarts += 1
                if not self.changed.wait_for(lambda: self._stopped or self.removed, delay):
                    try:
                        self._run()
                    except PolyrunError:  # it stays exited, with the code that it had
                        self.state = "exited"
                    self.changed.notify_all()
                    return
            self.state = "exited"
            self.changed.notify_all()

    def _restarts_after(self, code: int) -> bool:
        policy, _, most = self.spec.restart.partition(":")
        if self._stopped or self.removed or policy == "no":
            return False
        if policy == "on-failure":
            return code != 0 and (not most or self._restarts < int(most))
        return True

    def stop(self, timeout: float) -> None:
        """Send its stop signal, and kill it after *timeout* seconds."""
        with self.changed:
            self._present()
            kernel = self._kernel
            self._stopped = True
            self.changed.notify_all()
            if kernel is not None:
                self._unfreeze(kernel)
                kernel.signal(self._stop_signal)
                if not self.changed.wait_for(lambda: self._kernel is not kernel, timeout):
                    kernel.signal(signals.SIGKILL)
            self.changed.wait_for(lambda: not self.active, self._timeout)

    def _unfreeze(self, kernel: Kernel) -> None:
        kernel.pause(paused=False)
        if self.state == "paused":
            self.state = "running"

    def kill(self, signal: str) -> None:
        """Send its process a signal."""
        number = self._number(signal)
        with self.changed:
            self._present()
            kernel = self._running()
            if number in (signals.SIGKILL, self._stop_signal):
                self._stopped = True
            if number == signals.SIGKILL:
                self._unfreeze(kernel)
            kernel.signal(number)
            if number == signals.SIGKILL:
                # As on real engines, what was killed is dead when the call returns.
                self.changed.wait_for(lambda: self._kernel is not kernel, _ENDING)

    def _running(self) -> Kernel:
        if self._kernel is None or self.state not in ("running", "paused"):
            raise NotRunning(f"{self.name} is {self.state}", engine=self._engine, hint="start() it first.")
        return self._kernel

    def pause(self) -> None:
        """Freeze its processes."""
        with self.changed:
            self._present()
            kernel = self._running()
            if self.state == "paused":
                raise Conflict(f"{self.name} is paused already", engine=self._engine)
            kernel.pause(paused=True)
            self.state = "paused"

    def unpause(self) -> None:
        """Let its processes go on."""
        with self.changed:
            self._present()
            if self.state != "paused" or self._kernel is None:
                raise Conflict(f"{self.name} is not paused", engine=self._engine)
            self._unfreeze(self._kernel)

    def wait(self, timeout: float | None) -> int:
        """Return its exit code once it has ended."""
        with self.changed:
            if self._started is None:
                raise NotRunning(f"{self.name} was never started", engine=self._engine)
            if not self.changed.wait_for(lambda: not self.active, timeout):
                raise TimeoutError
            return self._exit_code if self._exit_code is not None else 128 + signals.SIGKILL

    def discard(self) -> None:
        """End it for good, and all that waits for it."""
        with self.changed:
            self.removed = self._stopped = True
            if self._kernel is not None:
                self._unfreeze(self._kernel)
                self._kernel.end()
            self.changed.notify_all()
            self.changed.wait_for(lambda: not self.active, _ENDING)
        if self._last_kernel is not None:
            self._last_kernel.join(_ENDING)

    # Streams

    def attach(self, *, stdin: bool) -> Attachment:
        """Return its streams from now on."""
        with self.changed:
            self._present()
            if stdin and self._stdin is None and self.spec.stdin:
                self._stdin = Stdin(self.changed)
            return Attachment(self, self._stdin if stdin else None)

    def logs(self, request: LogRequest) -> LogReader:
        """Return its output."""
        with self.changed:
            self._present()
            return LogReader(self, request)

    def exec(self, request: ExecRequest) -> MemoryExecution:
        """Start a further process."""
        with self.changed:
            self._present()
            kernel = self._running()
            if self.state == "paused":
                raise NotRunning(f"{self.name} is paused", engine=self._engine, hint="unpause() it first.")
            stdin = Stdin(self.changed) if request.stdin else None
            output = Channel(self.changed)
            writers: list[Stream] = [output.writer("stdout"), output.writer("stderr")]
            if request.tty:
                writers[1].close()
                writers[0] = Terminal(writers[0])
                writers[1] = writers[0].share()
            source: Stream = stdin.reader if stdin else Nothing()
            fds = {0: Terminal(source) if request.tty else source, 1: writers[0], 2: writers[1]}
            execution = MemoryExecution(output, stdin, tty=request.tty)
            try:
                execution.process = self._execute(kernel, request, fds)
            except (CannotExecute, OSError) as exc:
                for stream in fds.values():
                    stream.close()
                code, text = (exc.code, exc.message) if isinstance(exc, CannotExecute) else (126, str(exc))
                execution.failure = ExecOutcome(exit_code=code, raw_exit_code=code, failure=text)
            return execution

    def _execute(self, kernel: Kernel, request: ExecRequest, fds: Mapping[int, Stream]) -> Process:
        who = find_user(self.tree, request.user or self.spec.user or self._config.user)
        workdir = request.workdir or self._workdir
        _check_folder(self.tree, workdir)
        env = {"HOME": who.home, **self._env, **({"TERM": "xterm"} if request.tty else {}), **request.env}
        program = find_program(self.tree, request.command, path=env.get("PATH", ""), cwd=workdir, who=who)
        process = Process(kernel, request.command, env=env, cwd=workdir, who=who, fds=fds)
        kernel.launch(process, program)
        return process

    def check_health(self) -> Health | None:
        """Run its health check once, and return what that makes of its health."""
        check = self._check
        with self.changed:
            self._present()
            if check is None or self._kernel is None or self.state != "running":
                return self._health
            kernel = self._kernel
        command = ("/bin/sh", "-c", check.command) if isinstance(check.command, str) else check.command
        well = self._succeeds(kernel, command, check.timeout)
        with self.changed:
            if kernel is not self._kernel:
                return self._health
            if well:
                self._health, self._failures = "healthy", 0
                return self._health
            assert self._started is not None
            if utc(time.time()).timestamp() - self._started.timestamp() >= check.start_period:
                self._failures += 1
            if self._failures >= check.retries:
                self._health = "unhealthy"
            return self._health

    def _succeeds(self, kernel: Kernel, command: Sequence[str], timeout: float) -> bool:
        output = Collected()
        fds: dict[int, Stream] = {0: Nothing(), 1: output, 2: output.share()}
        who = find_user(self.tree, self.spec.user or self._config.user)
        env = {"HOME": who.home, **self._env}
        try:
            program = find_program(self.tree, command, path=env.get("PATH", ""), cwd=self._workdir, who=who)
            process = Process(kernel, command, env=env, cwd=self._workdir, who=who, fds=fds)
        except (CannotExecute, OSError):
            return False
        kernel.launch(process, program)
        with self.changed:
            if not self.changed.wait_for(lambda: process.exit_code is not None, timeout):
                kernel.send(process, signals.SIGKILL)
        return process.exit_code == 0


def _command(spec: ContainerSpec, layer: Layer) -> tuple[str, ...]:
    """Return what runs: the specification's words, else the image's, as Docker puts them together."""
    entrypoint = layer.config.entrypoint if spec.entrypoint is None else spec.entrypoint
    command = spec.command
    if command is None and spec.entrypoint is None:
        command = layer.config.command
    argv = (*(entrypoint or ()), *(command or ()))
    if not argv:
        raise InvalidArgument(f"{spec.image} has no command of its own", hint="Say which command to run.")
    return argv


def _check_folder(tree: Tree, path: str) -> None:
    try:
        tree.folder(path)
    except OSError as exc:
        raise CannotExecute(f'chdir to cwd ("{path}") failed: {exc.strerror}', 126) from None
