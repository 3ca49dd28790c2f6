"""An engine in memory: images are trees, containers are threads, and no container engine is needed."""

from __future__ import annotations

import posixpath
import secrets
import threading
from typing import TYPE_CHECKING

from attr import define, evolve, field

from polyrun import (
    Capabilities,
    CheckReport,
    Conflict,
    Container,
    ContainerNotFound,
    EngineError,
    EngineVersion,
    Image,
    ImageNotFound,
    InUse,
    InvalidArgument,
    NetworkNotFound,
    NotFound,
    Progress,
    PullFailed,
    Reference,
    Unsupported,
)
from polyrun.adapter import EngineRuntime, ImageDetail, PathStat, start_failed
from polyrun.testing._commands import ARCH
from polyrun.testing._container import MemoryContainer
from polyrun.testing._dockerfile import Build, Config, Layer, empty_layer, next_layer
from polyrun.testing._filesystem import File, Folder, Link, Place, Tree, digest, pack, put, require, size, unpack
from polyrun.testing._processes import COMMANDS, encode
from polyrun.testing._resources import Ports, Volumes
from polyrun.testing._streams import utc

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from polyrun import ContainerSpec, Health
    from polyrun.adapter import (
        BuildRequest,
        ByteStream,
        ContainerDetail,
        ExecRequest,
        Execution,
        LogLines,
        LogRequest,
        ProcessStream,
    )

_NETWORKS = (None, "default", "bridge", "host", "none")
_CAPABILITIES = frozenset(
    """
    ALL AUDIT_CONTROL AUDIT_READ AUDIT_WRITE BLOCK_SUSPEND BPF CHECKPOINT_RESTORE CHOWN DAC_OVERRIDE DAC_READ_SEARCH
    FOWNER FSETID IPC_LOCK IPC_OWNER KILL LEASE LINUX_IMMUTABLE MAC_ADMIN MAC_OVERRIDE MKNOD NET_ADMIN
    NET_BIND_SERVICE NET_BROADCAST NET_RAW PERFMON SETFCAP SETGID SETPCAP SETUID SYSLOG SYS_ADMIN SYS_BOOT
    SYS_CHROOT SYS_MODULE SYS_NICE SYS_PACCT SYS_PTRACE SYS_RAWIO SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG WAKE_ALARM
    """.split()  # noqa: SIM905  # forty lines otherwise
)
_ULIMITS = frozenset(
    "as core cpu data fsize locks memlock msgqueue nice nofile nproc rss rtprio rttime sigpending stack".split()  # noqa: SIM905
)
_SHORTEST_NAME = 2
_LEAST_MEMORY = 6 << 20
"""What real engines refuse to go below."""


@define(eq=False)
class Store:
    """What one engine in memory has; every runtime with its URL sees it, and the last one ends it."""

    name: str
    lock: threading.RLock = field(factory=threading.RLock)
    images: dict[str, Layer] = field(factory=dict[str, Layer])
    references: dict[str, str] = field(factory=dict[str, str])
    registry: dict[str, Layer] = field(factory=dict[str, Layer])
    cache: dict[str, Layer] = field(factory=dict[str, Layer])
    containers: dict[str, MemoryContainer] = field(factory=dict[str, MemoryContainer])
    volumes: Volumes = field(factory=Volumes)
    ports: Ports = field(factory=Ports)
    users: int = 0


_stores: dict[str, Store] = {}
_stores_lock = threading.Lock()


class MemoryEngine:
    """The primitives of `polyrun.adapter.Engine`, in memory."""

    def __init__(self, name: str, timeout: float) -> None:
        self._timeout = timeout
        self._closed = False
        with _stores_lock:
            self._store = _stores.setdefault(name, Store(name))
            self._store.users += 1

    @property
    def name(self) -> str:
        """``"memory"``."""
        return "memory"

    @property
    def url(self) -> str:
        """``memory://`` and the name under which other runtimes find the same containers."""
        return f"memory://{self._store.name}"

    @property
    def timeout(self) -> float:
        """Seconds that a call may take."""
        return self._timeout

    @property
    def host_address(self) -> str:
        """Where ports would be reached, if there were any."""
        return "127.0.0.1"

    @property
    def capabilities(self) -> Capabilities:
        """What it can do: a port is recorded and cannot be reached; of the limits only that of processes is kept."""
        return Capabilities(build=True, ports=False, limits=True, init=True, schedules_health=False)

    def ping(self) -> None:
        """Raise if it is closed."""
        self._open()

    def check(self) -> CheckReport:
        """Say that it works, for there is nothing that could not."""
        return CheckReport(
            ok=not self._closed,
            engine=self.name,
            endpoint=self.url,
            chosen_by="its name",
            rootless=True,
            version=_version(),
        )

    def version(self) -> EngineVersion:
        """Return the version of polyrun."""
        self._open()
        return EngineVersion(engine=self.name, version=_version(), api="1", os="linux", arch=ARCH)

    def close(self) -> None:
        """Close it; with the last runtime of the same name all containers end."""
        if self._closed:
            return
        self._closed = True
        with _stores_lock:
            self._store.users -= 1
            if self._store.users:
                return
            _stores.pop(self._store.name, None)
        for container in list(self._store.containers.values()):
            container.discard()

    def _open(self) -> Store:
        if self._closed:
            raise EngineError("this runtime is closed", engine=self.url)
        return self._store

    # Images

    def add_image(self, reference: str, root: Folder, config: Config) -> str:
        """Put an image into the engine, and into the registry that it pulls from."""
        store, name = self._open(), Reference.parse(reference).familiar
        layer = next_layer(empty_layer(ARCH), digest(root), root, config)
        with store.lock:
            store.registry[name] = layer
        self._add(layer, name)
        return f"sha256:{layer.id}"

    def _add(self, layer: Layer, name: str | None) -> None:
        with self._store.lock:
            self._store.images.setdefault(layer.id, layer)
            if name is not None:
                self._store.references[name] = layer.id

    def build(
        self,
        context: Iterable[bytes],
        request: BuildRequest,
        on_event: Callable[[Progress], None],
        timeout: float | None,
    ) -> str:
        """Build from the tar stream *context* and return the image's id."""
        store = self._open()
        files = Folder()
        tree = Tree(files)
        for path, node in unpack(context):
            if path:
                put(tree, f"/{path}", node)
        build = Build(
            files,
            request,
            arch=ARCH,
            find_image=self._base,
            cache=store.cache,
            on_event=on_event,
            timeout=timeout,
            engine=self.url,
        )
        layer = build()
        self._add(layer, Reference.parse(request.reference).familiar if request.reference else None)
        return f"sha256:{layer.id}"

    def _base(self, name: str) -> Layer | None:
        try:
            return self._layer(name)
        except ImageNotFound:
            return self._store.registry.get(_familiar(name) or "")

    def _layer(self, image: str) -> Layer:
        """Return the image with this reference, id, or unique beginning of an id."""
        store = self._open()
        with store.lock:
            identifier = store.references.get(_familiar(image) or "")
            if identifier is None:
                start = image.removeprefix("sha256:")
                found = [key for key in store.images if start and key.startswith(start)]
                identifier = found[0] if len(found) == 1 else None
            if identifier is None:
                raise ImageNotFound(f"no image {image}", engine=self.url, hint="Build it, or pull it.")
            return store.images[identifier]

    def pull(self, reference: str, platform: str | None, on_event: Callable[[Progress], None]) -> None:
        """Fetch an image that `MemoryRuntime.add_image` was given; there is no other registry."""
        del platform
        store, name = self._open(), Reference.parse(reference).familiar
        on_event(Progress(kind="status", text=f"Pulling {name}"))
        layer = store.registry.get(name)
        if layer is None:
            raise PullFailed(
                f"{reference} could not be pulled: a runtime in memory has no registry",
                engine=self.url,
                hint="Give it the image with add_image().",
            )
        self._add(layer, name)

    def images(self) -> Sequence[Image]:
        """List the images."""
        store = self._open()
        with store.lock:
            return [self._image(layer) for layer in store.images.values()]

    def image(self, image: str) -> ImageDetail:
        """Return one image."""
        layer = self._layer(image)
        return ImageDetail(image=self._image(layer), os="linux", arch=layer.arch)

    def _image(self, layer: Layer) -> Image:
        return Image(
            id=f"sha256:{layer.id}",
            tags=tuple(sorted(name for name, found in self._store.references.items() if found == layer.id)),
            created=utc(layer.created) if layer.created else None,
            size=size(layer.root),
            labels=dict(layer.config.labels),
        )

    def tag(self, image: str, reference: str) -> None:
        """Give an image one more reference."""
        self._add(self._layer(image), Reference.parse(reference).familiar)

    def rmi(self, image: str) -> None:
        """Remove a reference, and the image with its last one."""
        store = self._open()
        with store.lock:
            layer = self._layer(image)
            names = [name for name, found in store.references.items() if found == layer.id]
            name = _familiar(image)
            if name in names and len(names) > 1:
                del store.references[name]
                return
            if len(names) > 1:
                raise Conflict(f"{image} has several references: {', '.join(names)}", engine=self.url)
            for container in store.containers.values():
                if container.layer is layer:
                    raise InUse(f"{image} is used by the container {container.name}", engine=self.url)
            for name in names:
                del store.references[name]
            del store.images[layer.id]

    # Containers

    def create(self, spec: ContainerSpec) -> str:
        """Make a container and return its id."""
        store = self._open()
        with store.lock:
            layer = self._layer(spec.image)
            self._check(spec)
            if any(other.name == spec.name for other in store.containers.values()):
                raise Conflict(
                    f"the name {spec.name} is taken", engine=self.url, hint="Remove the container that has it."
                )
            try:
                container = MemoryContainer(
                    secrets.token_hex(32),
                    spec,
                    layer,
                    store.volumes,
                    store.ports,
                    engine=self.url,
                    timeout=self._timeout,
                )
            except OSError as exc:
                raise InvalidArgument(f"{exc.filename} cannot be mounted on: {exc.strerror}", engine=self.url) from exc
            store.containers[container.id] = container
        return container.id

    def _check(self, spec: ContainerSpec) -> None:
        """Refuse what is not there, and what would be dropped in silence."""
        for asked, what, capability in (
            (spec.gpus is not None, "gpus", "gpus"),
            (bool(spec.secrets), "secrets", "secrets"),
            (spec.userns == "keep-id", "userns='keep-id'", "keep_id"),
        ):
            if asked:
                raise Unsupported(f"a runtime in memory has no {what}", capability=capability, engine=self.url)
        for words in (spec.cap_add, spec.cap_drop):
            for word in words:
                if word.upper().removeprefix("CAP_") not in _CAPABILITIES:
                    raise InvalidArgument(f"not a capability: {word}", engine=self.url)
        for name, (soft, hard) in spec.ulimits.items():
            if name not in _ULIMITS or soft > hard >= 0:
                raise InvalidArgument(f"not a limit of a process: {name}={soft}:{hard}", engine=self.url)
        if spec.name is not None and len(spec.name) < _SHORTEST_NAME:
            raise InvalidArgument(f"a name has two characters at least: {spec.name!r}", engine=self.url)
        if spec.network not in _NETWORKS:
            raise NetworkNotFound(f"no network {spec.network}", engine=self.url)
        if spec.limits.memory is not None and spec.limits.memory < _LEAST_MEMORY:
            raise start_failed(f"container {spec.name}", "minimum memory limit allowed is 6MB", self.url)

    def _container(self, container: str) -> MemoryContainer:
        """Return the container with this name, id, or unique beginning of an id."""
        store = self._open()
        with store.lock:
            found = store.containers.get(container)
            if found is not None:
                return found
            for other in store.containers.values():
                if other.name == container:
                    return other
            starts = [other for other in store.containers.values() if container and other.id.startswith(container)]
        if len(starts) > 1:
            raise Conflict(f"several containers have ids that begin with {container}", engine=self.url)
        if not starts:
            raise ContainerNotFound(f"no container {container}", engine=self.url)
        return starts[0]

    def containers(self, *, all: bool, labels: Mapping[str, str]) -> Sequence[Container]:
        """List the containers."""
        del labels
        store = self._open()
        with store.lock:
            found = [container.snapshot() for container in store.containers.values()]
        # As in the list of a real engine, without the times of start and end.
        return [
            evolve(container, started=None, finished=None)
            for container in found
            if all or container.state in ("running", "paused", "restarting")
        ]

    def container(self, container: str) -> ContainerDetail:
        """Return one container, whole."""
        return self._container(container).detail()

    def start(self, container: str) -> None:
        """Start; nothing if it runs."""
        self._container(container).start()

    def stop(self, container: str, timeout: float) -> None:
        """Ask it to end, and kill it when the time is up."""
        self._container(container).stop(timeout)

    def kill(self, container: str, signal: str) -> None:
        """Send a signal."""
        self._container(container).kill(signal)

    def pause(self, container: str) -> None:
        """Freeze."""
        self._container(container).pause()

    def unpause(self, container: str) -> None:
        """Let go on."""
        self._container(container).unpause()

    def rm(self, container: str, *, force: bool, volumes: bool) -> None:
        """Remove; *force* kills at once."""
        found = self._container(container)
        if found.active and not force:
            raise Conflict(f"{container} is {found.state}", engine=self.url, hint="Stop it first, or use force=True.")
        with self._store.lock:
            if self._store.containers.pop(found.id, None) is None:
                raise ContainerNotFound(f"no container {container}", engine=self.url)
        found.discard()
        if volumes:
            self._store.volumes.forget(found.anonymous_volumes)

    def wait(self, container: str, timeout: float | None) -> int:
        """Return the exit code once it has ended."""
        return self._container(container).wait(timeout)

    def health(self, container: str, timeout: float) -> Health | None:  # noqa: ARG002  # it never hangs
        """Run its health check once."""
        return self._container(container).check_health()

    def attach(self, container: str, *, stdin: bool, tty: bool) -> ProcessStream:
        """Open its streams."""
        del tty
        return self._container(container).attach(stdin=stdin)

    def exec(self, container: str, request: ExecRequest) -> Execution:
        """Start a further process in it."""
        return self._container(container).exec(request)

    def logs(self, container: str, request: LogRequest) -> LogLines:
        """Open its output."""
        return self._container(container).logs(request)

    # Files

    def stat(self, container: str, path: str) -> PathStat:
        """Say what is at *path*."""
        found = self._container(container)
        # What a link leads to is asked for with "/." behind its path.
        place = self._find(found, path, follow=path.endswith(("/", "/.")))
        node = require(place.node, path)
        return PathStat(
            name=place.name or "/",
            size=node.size if isinstance(node, File) else 4096,
            is_dir=isinstance(node, Folder),
            link_target=node.target if isinstance(node, Link) else "",
        )

    def put(self, container: str, path: str, archive: Iterable[bytes]) -> None:
        """Unpack a tar stream in the folder *path*."""
        found = self._container(container)
        place = self._find(found, path, follow=True)
        if not isinstance(place.node, Folder):
            raise NotFound(f"{path} in {container} is no folder", engine=self.url)
        try:
            for name, node in unpack(archive):
                if name:
                    put(found.tree, posixpath.join(path, name), node)
        except OSError as exc:
            raise Conflict(f"{exc.filename} in {container}: {exc.strerror}", engine=self.url) from exc

    def get(self, container: str, path: str) -> ByteStream:
        """Open a tar stream of *path*."""
        found = self._container(container)
        self._find(found, path, follow=False)
        return Chunks(pack(found.tree, path))

    def _find(self, container: MemoryContainer, path: str, *, follow: bool) -> Place:
        try:
            place = container.tree.find(path, follow=follow)
            require(place.node, path)
        except OSError as exc:
            raise NotFound(f"no {path} in container {container.name}", engine=self.url) from exc
        return place


class Chunks:
    """A `ByteStream` over bytes that are made as they are read."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._closed = False

    def read(self, timeout: float | None = None) -> bytes:
        """Return the next bytes."""
        del timeout
        while not self._closed:
            data = next(self._chunks, None)
            if data is None:
                break
            if data:
                return data
        return b""

    def close(self) -> None:
        """Give the stream up."""
        self._closed = True


def _version() -> str:
    from importlib import metadata  # slow, and rarely asked for

    try:
        return metadata.version("polyrun-sdk")
    except metadata.PackageNotFoundError:  # run from a checkout
        return "0"


def _familiar(text: str) -> str | None:
    try:
        return Reference.parse(text).familiar
    except InvalidArgument:
        return None


class MemoryRuntime(EngineRuntime):
    """A `polyrun.Runtime` that needs no container engine: for tests, and for trying things out.

    It keeps the contract that the real engines keep (`polyrun.testing.RuntimeContract`), so code
    that works with it works with them::

        with MemoryRuntime() as rt:
            rt.add_image("alpine")
            print(rt.run("alpine", ["sh", "-c", "echo hello | tr a-z A-Z"]).text)

    Containers have a life, exit codes, logs, signals, a file system, volumes and bind mounts;
    images are built from Dockerfiles. A process is a thread that plays one of about seventy
    commands of BusyBox (``sh`` with pipes, traps and background jobs, ``cat``, ``sleep``, ``test``,
    ``kill``, ``ls`` and so on; ``busybox --list`` lists them). Runtimes with the same *url*, such
    as ``memory://shop``, share their containers until the last one is closed, which ends them.

    **What it does not pretend to do.** It does not run programs: a file that is a program for a
    real machine is played by the command of its name, or refused as not executable. Ports are
    chosen, recorded and kept apart, and nobody listens on them. Of the limits that of processes is
    kept; memory, CPU, ulimits and capabilities are recorded and not enforced. There are no
    networks but the engine's own, no registry but `add_image`, no GPUs, secrets or user namespaces.
    Health checks run when `wait_ready` asks. Of a container's output the last 64 MiB are kept.
    """

    _engine: MemoryEngine

    def __init__(self, url: str | None = None, *, timeout: float = 60.0) -> None:
        scheme, _, name = (url or "memory://").partition("://")
        if scheme != "memory":
            raise InvalidArgument(f"not the URL of a runtime in memory: {url}", hint='It reads "memory://name".')
        super().__init__(MemoryEngine(name or secrets.token_hex(6), timeout))

    def add_image(
        self,
        reference: str,
        *,
        files: Mapping[str, str | bytes] | None = None,
        command: Sequence[str] = ("sh",),
        entrypoint: Sequence[str] | None = None,
        env: Mapping[str, str] | None = None,
        labels: Mapping[str, str] | None = None,
    ) -> Image:
        """Put an image with all commands into the engine; it can then be run, built from and pulled.

        Args:
            reference: what it is called.
            files: further files, by their absolute paths; those with ``#!`` can be executed.
            command: what runs when no command is given.
            entrypoint: what the command is given to.
            env: environment variables.
            labels: labels of the image.
        """
        root = Folder()
        tree = Tree(root)
        for folder in ("/bin", "/etc", "/root", "/run", "/tmp", "/var"):  # noqa: S108  # of the container
            tree.mkdirs(folder)
        tree.chmod("/tmp", 0o1777)  # noqa: S108
        # The commands are links to this file, which only has to look like a program.
        tree.add("/bin/busybox", File(b"\x7fELF", 0o755))
        for name in COMMANDS:
            if name != "busybox":
                tree.add(f"/bin/{name}", Link("/bin/busybox"))
        tree.add("/etc/passwd", File(b"root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n"))
        tree.add("/etc/group", File(b"root:x:0:\nnogroup:x:65534:\n"))
        for path, content in (files or {}).items():
            data = content if isinstance(content, bytes) else encode(content)
            put(tree, path, File(data, 0o755 if data.startswith(b"#!") else 0o644))
        config = Config(
            env=dict(env or {}),
            command=tuple(command),
            entrypoint=None if entrypoint is None else tuple(entrypoint),
            labels=dict(labels or {}),
        )
        return self._engine.image(self._engine.add_image(reference, root, config)).image
