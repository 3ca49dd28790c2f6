# pyright: reportUnnecessaryTypeIgnoreComment=true
# ruff: noqa: T201 - nothing here runs
"""What users write. Nothing runs this: it only has to type-check, with each verb and each option used once.

A line that must not type-check says so to both checkers. A checker that no longer complains about it
fails, since both report an ignore that is not needed.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Literal

from typing_extensions import assert_type

import polyrun
from polyrun import (
    Container,
    ContainerLike,
    ContainerOptions,
    ContainerSpec,
    Health,
    HealthCheck,
    HttpProbe,
    Image,
    Json,
    Limits,
    Listing,
    LogChunk,
    LogProbe,
    LogStream,
    Mount,
    MountLike,
    Port,
    PortLike,
    Probe,
    Progress,
    Runtime,
    State,
    TcpProbe,
)


def finding_an_engine() -> None:
    """Connect, and ask what there is."""
    polyrun.connect().close()
    polyrun.connect("docker", timeout=5).close()
    polyrun.connect("docker+unix:///var/run/docker.sock").close()
    polyrun.connect("podman", url="unix:///run/podman/podman.sock", timeout=0.5).close()
    polyrun.connect(url="podman+unix:///run/podman/podman.sock").close()
    with polyrun.connect() as rt:
        assert_type(rt, Runtime)
    for info in polyrun.runtimes():
        assert_type((info.name, info.installed, info.usable, info.reason), tuple[str, bool, bool, str])
        if info.report is not None:
            print(info.report)
    for report in (*polyrun.check(), *polyrun.check("docker")):
        assert_type((report.ok, report.engine, report.endpoint, report.chosen_by), tuple[bool, str, str, str])
        assert_type((report.rootless, report.version), tuple["bool | None", str | None])
        for finding in report.findings:
            assert_type((finding.code, finding.summary, finding.detail), tuple[str, str, str])
            assert_type((finding.fix, finding.docs), tuple[str, str])
            assert_type(finding.severity, Literal["error", "warning", "info"])

    polyrun.connect("docker", "unix:///s")  # type: ignore[call-arg]
    polyrun.connect(timeout="5s")  # type: ignore[arg-type]
    polyrun.connect(engine="docker")  # type: ignore[call-arg]


def an_engine(rt: Runtime) -> None:
    """Ask an engine about itself."""
    assert_type((rt.name, rt.url), tuple[str, str])
    assert_type(rt.check(), polyrun.CheckReport)
    version = rt.version()
    assert_type(
        (version.engine, version.version, version.api, version.os, version.arch), tuple[str, str, str, str, str]
    )
    can = rt.capabilities
    assert_type((can.build, can.ports, can.limits, can.init), tuple[bool, bool, bool, bool])
    assert_type((can.gpus, can.keep_id, can.secrets, can.schedules_health), tuple[bool, bool, bool, bool])

    rt.name = "podman"  # type: ignore[misc]
    can.gpus = True  # type: ignore[misc]


def show(progress: Progress) -> None:
    """Print what a build or a pull is doing."""
    assert_type(progress.kind, Literal["step", "output", "layer", "status"])
    print(progress.text, progress.step, progress.steps, progress.layer, progress.current, progress.total)


def images(rt: Runtime) -> None:
    """Use each verb for images."""
    image = rt.build(
        Path("web"),
        tag="shop/web:7",
        dockerfile="web/Containerfile",
        args={"VERSION": "7"},
        target="final",
        labels={"team": "shop"},
        platform="linux/arm64",
        pull=True,
        cache=False,
        secrets={"key": b"value"},
        on_event=show,
        timeout=600,
    )
    assert_type(image, Image)
    assert_type((image.id, image.tags, image.size), tuple[str, tuple[str, ...], int])
    assert_type(image.created, datetime | None)
    assert_type(image.labels, Mapping[str, str])
    assert_type(rt.build("."), Image)
    assert_type(rt.pull("alpine", platform="linux/arm64", on_event=lambda progress: print(progress.text)), Image)
    rt.tag(image, "shop/web:latest")
    rt.tag("shop/web:7", "registry.example:5000/shop/web:7")
    found = rt.images(labels={"team": "shop"})
    assert_type(found, Listing[Image])
    rt.rmi(found[0], force=True)
    rt.rmi("shop/web:7")
    name = polyrun.Reference.parse("alpine")
    assert_type((name.registry, name.repository, name.tag, name.digest), tuple[str, str, str | None, str | None])
    assert_type((name.name, name.familiar, name.qualified), tuple[str, str, bool])

    rt.build()  # type: ignore[call-arg]
    rt.build(".", "web")  # type: ignore[call-arg]
    rt.build(".", args={"VERSION": 7})  # type: ignore[dict-item]
    rt.build(".", on_event=print, nocache=True)  # type: ignore[call-arg]
    rt.rmi(["a", "b"])  # type: ignore[arg-type]
    image.tags = ()  # type: ignore[misc]


PORTS: list[PortLike] = [80, "8080:80", "127.0.0.1:8080:80/udp", Port(80, host=8080, host_ip="::1", protocol="sctp")]
MOUNTS: list[MountLike] = [
    "/srv/shop:/data:ro,Z",
    Mount("/srv/shop", "/data", read_only=True, relabel="z"),
    Mount("cache", "/cache", type="volume"),
    Mount("", "/scratch", type="tmpfs"),
]
EXTRA: dict[str, dict[str, Json]] = {"docker": {"HostConfig": {"CgroupParent": "shop"}}, "podman": {"timeout": 60}}


def options(rt: Runtime, image: Image) -> None:
    """Use each option of `create`, `spawn` and `run`, and of the specification that they stand for."""
    container = rt.create(
        image,
        ["serve", "--port", "80"],
        name="web",
        env={"DB": "postgres://db"},
        ports=PORTS,
        mounts=MOUNTS,
        network="shop",
        aliases=["www"],
        hostname="web",
        user="www:www",
        workdir="/srv",
        entrypoint=["/bin/entry"],
        labels={"team": "shop"},
        limits=Limits(memory="64m", cpus=0.5, pids=100),
        restart="on-failure:3",
        health=HealthCheck(
            command=["curl", "-f", "http://localhost/up"], interval="5s", timeout=2, retries=5, start_period="1m30s"
        ),
        init=True,
        read_only=True,
        tmpfs={"/tmp": "size=64m"},
        cap_add=["NET_ADMIN"],
        cap_drop=["ALL"],
        devices=["/dev/fuse"],
        gpus="all",
        ulimits={"nofile": 1024, "nproc": (512, 1024)},
        extra_hosts={"db": "10.0.0.5"},
        stop_signal="QUIT",
        stop_timeout=5,
        platform="linux/amd64",
        tty=True,
        stdin=True,
        userns="keep-id",
        secrets=["token"],
        extra=EXTRA,
    )
    assert_type(container, Container)
    spec = ContainerSpec(
        image="shop/web:7",
        command=["serve"],
        name="web",
        env={"DB": "postgres://db"},
        ports=[8080, "8080:80"],
        mounts=["/srv:/data"],
        network=None,
        aliases=(),
        hostname=None,
        user=None,
        workdir=None,
        entrypoint=(),
        labels={},
        limits=Limits(memory=64 << 20),
        restart="always",
        health=HealthCheck(command="test -e /tmp/up"),
        init=False,
        read_only=False,
        tmpfs=["/tmp"],
        cap_add=(),
        cap_drop=(),
        devices=(),
        gpus=1,
        ulimits={},
        extra_hosts={},
        stop_signal=None,
        stop_timeout=10,
        platform=None,
        tty=False,
        stdin=False,
        userns=None,
        secrets=(),
        extra={},
    )
    assert_type(spec.ports, tuple[Port, ...])
    assert_type(spec.limits.memory, int | None)
    assert_type(rt.create(spec), Container)
    assert_type(rt.spawn(spec, ["serve", "-v"], name="web-2"), Container)
    assert_type(rt.spawn("alpine"), Container)
    shared: ContainerOptions = {"network": "shop", "labels": {"team": "shop"}}
    rt.spawn("alpine", ["sleep", "60"], **shared)
    rt.run(image, ["env"], **shared)

    rt.create("alpine", nmae="web")  # type: ignore[call-arg]
    rt.spawn("alpine", detach=True)  # type: ignore[call-arg]
    rt.spawn("alpine", ports=80)  # type: ignore[arg-type]
    rt.spawn("alpine", ports=[80.5])  # type: ignore[list-item]
    rt.spawn("alpine", env={"DEBUG": True})  # type: ignore[dict-item]
    rt.spawn("alpine", gpus="some")  # type: ignore[arg-type]
    rt.spawn("alpine", limits={"memory": "64m"})  # type: ignore[arg-type]
    rt.run("alpine", extra={"docker": datetime})  # type: ignore[dict-item]
    Limits("64m")  # type: ignore[call-arg]
    Port(80, protocol="icmp")  # type: ignore[arg-type]
    Mount("/a", "/b", type="nfs")  # type: ignore[arg-type]
    spec.name = "other"  # type: ignore[misc]


def running(rt: Runtime, web: Container) -> None:
    """Use each verb that runs something, and what it returns."""
    result = rt.run("alpine", ["cat"], input=b"hello", timeout=10, check=False, remove=False, name="cat", tty=False)
    assert_type(result, polyrun.RunResult)
    assert_type((result.exit_code, result.stdout, result.stderr), tuple[int, bytes, bytes])
    assert_type((result.text, result.container), tuple[str, str])
    done = rt.exec(
        web,
        ("cat",),
        env={"A": "b"},
        workdir="/",
        user="0",
        input=b"hello",
        timeout=1.5,
        check=True,
        tty=False,
    )
    assert_type(done, polyrun.ExecResult)
    assert_type((done.exit_code, done.stdout, done.stderr), tuple[int, bytes, bytes])
    assert_type((done.text, done.raw_exit_code), tuple[str, int])

    rt.run("alpine", "echo hi", timeout="10s")  # type: ignore[arg-type]
    rt.run("alpine", ["cat"], input="text")  # type: ignore[arg-type]
    rt.run("alpine", ["cat"], b"hello")  # type: ignore[call-arg]
    rt.exec("web", None)  # type: ignore[arg-type]
    rt.exec("web")  # type: ignore[call-arg]
    rt.exec("web", ["ls"], privileged=True)  # type: ignore[call-arg]


def looking(rt: Runtime, container: ContainerLike) -> None:
    """Use each verb that only looks."""
    listing = rt.ps(all=True, labels={"team": "shop"}, name="web")
    assert_type(listing, Listing[Container])
    assert_type(listing[0], Container)
    assert_type([container.name for container in listing], list[str])
    for host in listing.unreachable:
        assert_type((host.host, host.reason), tuple[str, str])
    anything: Listing[object] = listing
    print(len(anything))

    found = rt.inspect(container)
    assert_type((found.id, found.name, found.image), tuple[str, str, str])
    assert_type(found.state, State)
    assert_type(found.created, datetime)
    assert_type((found.started, found.finished), tuple[datetime | None, datetime | None])
    assert_type(found.exit_code, int | None)
    assert_type(found.ports, tuple[Port, ...])
    assert_type(found.labels, Mapping[str, str])
    assert_type(found.health, Health | None)
    assert_type((found.host, found.running), tuple[str | None, bool])
    assert_type(found.runtime, Runtime)
    assert_type(rt.address(container, 80, "udp"), tuple[str, int])

    with rt.logs(
        container, follow=True, tail=10, since=datetime.now(timezone.utc), until=1.7e9, timestamps=True
    ) as stream:
        assert_type(stream, LogStream)
        for chunk in stream:
            assert_type(chunk, LogChunk)
            assert_type((chunk.stream, chunk.data), tuple[Literal["stdout", "stderr"], bytes])
            assert_type((chunk.text, chunk.time), tuple[str, datetime | None])
        stream.close()

    rt.ps(True)  # type: ignore[call-arg]
    rt.ps(filters={"name": "web"})  # type: ignore[call-arg]
    rt.inspect(found.created)  # type: ignore[arg-type]
    rt.logs(container, since="10m")  # type: ignore[arg-type]
    rt.address(container, 80, "icmp")  # type: ignore[arg-type]
    found.state = "running"  # type: ignore[misc]


def living(rt: Runtime, container: ContainerLike) -> None:
    """Use each verb that moves a container through its life, and copies."""
    rt.start(container)
    rt.stop(container, timeout=0.5)
    rt.kill(container, "HUP")
    rt.kill(container, 9)
    rt.restart(container, timeout=1)
    rt.pause(container)
    rt.unpause(container)
    assert_type(rt.wait(container, timeout=5), int)
    assert_type(rt.wait_ready(container, probe=HttpProbe("/up", port=80, timeout=1), timeout=30), Container)
    rt.wait_ready(container, probe=TcpProbe(port=80, timeout=1))
    rt.wait_ready(container, probe=LogProbe("ready"))
    rt.wait_ready(container, probe=lambda found: found.running)
    rt.put(container, Path("page.html"), "/www/")
    rt.put(container, b"data", "/www/page.html")
    assert_type(rt.get(container, "/www", "here"), Path)
    rt.rm(container, force=True, volumes=True)

    rt.stop(container, 10)  # type: ignore[call-arg]
    rt.stop(container, timeout=None)  # type: ignore[arg-type]
    rt.wait_ready(container, probe=lambda: True)  # type: ignore[arg-type]
    rt.put(container, ["a", "b"], "/www")  # type: ignore[arg-type]
    rt.get(container, "/www")  # type: ignore[call-arg]
    rt.rm(container, link=True)  # type: ignore[call-arg]


def sugar(rt: Runtime) -> None:
    """Use each verb of a container."""
    with rt.spawn("alpine", ["sleep", "60"]) as box:
        assert_type(box, Container)
        done = box.exec(["cat"], env={}, workdir="/", user="0", input=b"", timeout=1, check=True, tty=False)
        assert_type(done, polyrun.ExecResult)
        assert_type(box.inspect(), Container)
        assert_type(box.logs(follow=True, tail=1, since=0, until=0.5, timestamps=True), LogStream)
        assert_type(box.address(80, "tcp"), tuple[str, int])
        box.start()
        box.stop(timeout=1)
        box.kill("TERM")
        box.restart(timeout=1)
        box.pause()
        box.unpause()
        assert_type(box.wait(timeout=1), int)
        assert_type(box.wait_ready(probe=HttpProbe(), timeout=1), Container)
        box.put(os.fspath("a"), "/a")
        assert_type(box.get("/a", Path("a")), Path)
        box.rm(force=True, volumes=True)

        box.exec("ls", shell=True)  # type: ignore[call-arg]
        box.kill(None)  # type: ignore[arg-type]
        box.run(["ls"])  # type: ignore[attr-defined]


def failing(rt: Runtime) -> None:
    """Handle each error, and what it carries."""
    try:
        rt.run("alpine", ["false"])
    except (polyrun.NoRuntime, polyrun.ConnectError, polyrun.PermissionDenied) as error:
        assert_type(error.report, polyrun.CheckReport | None)
    except polyrun.StartFailed as error:
        assert_type(error.reason, polyrun.StartFailure)
        assert_type(error.exit_code, int)
    except polyrun.CommandFailed as error:
        assert_type(error.result, polyrun.RunResult | polyrun.ExecResult | None)
    except polyrun.BuildFailed as error:
        assert_type((error.step, error.output), tuple[str | None, tuple[str, ...]])
    except polyrun.Unsupported as error:
        assert_type(error.capability, str)
    except polyrun.EngineError as error:
        assert_type(error.status, int | None)
    except polyrun.PartialFailure as error:
        assert_type((error.done, error.unknown), tuple[tuple[str, ...], tuple[str, ...]])
        assert_type(error.failed, Mapping[str, polyrun.PolyrunError])
    except polyrun.PolyrunError as error:
        assert_type((error.message, error.engine, error.hint), tuple[str, str, str])
    not_found: list[type[polyrun.NotFound]] = [
        polyrun.ContainerNotFound,
        polyrun.ImageNotFound,
        polyrun.NetworkNotFound,
        polyrun.VolumeNotFound,
    ]
    of_python: tuple[type[ValueError], type[TimeoutError]] = (polyrun.InvalidArgument, polyrun.DeadlineExceeded)
    other: list[type[polyrun.PolyrunError]] = [
        polyrun.Conflict,
        polyrun.InUse,
        polyrun.Locked,
        polyrun.NotRunning,
        polyrun.PullFailed,
        polyrun.Unplaceable,
    ]
    print(not_found, of_python, other)


class Healthy:
    """A probe of one's own."""

    def __call__(self, container: Container) -> bool:
        """Ask once."""
        return container.health == "healthy"


PROBES: list[Probe] = [Healthy(), HttpProbe(), TcpProbe(), LogProbe("up"), lambda container: container.running]


def connect(url: str | None = None, timeout: float = 60.0) -> Runtime:
    """Return a runtime, as an adapter's entry point does."""
    return polyrun.connect("docker", url=url, timeout=timeout)


def connect_without_timeout(url: str | None = None) -> Runtime:
    """Return a runtime, and take too little to be an entry point."""
    return polyrun.connect("docker", url=url)


ENTRY_POINT: polyrun.Connect = connect
NO_ENTRY_POINT: polyrun.Connect = connect_without_timeout  # type: ignore[assignment]
