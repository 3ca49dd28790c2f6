"""The options of a container: each is kept, or refused before anything is made, and none is dropped."""

from __future__ import annotations

import re
import socket
from http.client import HTTPConnection
from typing import TYPE_CHECKING

import pytest

from polyrun import (
    Conflict,
    HttpProbe,
    ImageNotFound,
    InvalidArgument,
    Limits,
    LogProbe,
    Mount,
    NetworkNotFound,
    NotFound,
    Port,
    StartFailed,
    TcpProbe,
    Unsupported,
)
from polyrun.testing._contract._base import IDLE, WEB, ContractFixtures, eventually, everything, sh, unique
from polyrun.testing._contract.images import other_platform

if TYPE_CHECKING:
    from pathlib import Path

    from polyrun import ContainerOptions, PortLike, Runtime


def fetch(address: tuple[str, int]) -> bytes:
    """Return what a web server at *address* says."""
    connection = HTTPConnection(*address, timeout=10)
    try:
        connection.request("GET", "/")
        return connection.getresponse().read()
    finally:
        connection.close()


def free_port() -> int:
    """Return a port on which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class OptionContract(ContractFixtures):
    """What a container is made with."""

    @pytest.mark.parametrize("bad", ["/web", "a b", "", "-x", "ümlaut", "a/b", "a:b", "x", "web\n"])
    def test_a_bad_name_is_refused(self, runtime: Runtime, image: str, bad: str) -> None:
        """A name that one engine takes and another does not is taken by none."""
        with pytest.raises(InvalidArgument):
            runtime.create(image, name=bad)

    def test_a_misspelt_option_is_refused(self, runtime: Runtime, image: str) -> None:
        """The error names the option and those that there are."""
        for verb in (runtime.create, runtime.spawn, runtime.run):
            with pytest.raises(InvalidArgument, match=r"(?s)nmae.*name"):
                verb(image, nmae="web")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]  # on purpose

    def test_the_environment_is_given(self, runtime: Runtime, image: str) -> None:
        """Values in any script, with signs that mean something elsewhere, and empty ones come through."""
        env = {"A": "grüße 世界 🐳", "B": " 'x' \"y\" $A \\ = ", "C": "", "lower_case": "1", "LINES": "a\nb"}
        script = 'printf "%s|" "$A" "$B" "$C" "$lower_case" "$LINES"'
        assert runtime.run(image, sh(script), env=env).text == "".join(f"{value}|" for value in env.values())

    def test_the_environment_can_hold_64_kib(self, runtime: Runtime, image: str) -> None:
        """An environment variable can be long."""
        value = "ä" * 32768
        assert runtime.run(image, sh('printf %s "$LONG"'), env={"LONG": value}).text == value

    def test_a_hostname_is_given(self, runtime: Runtime, image: str) -> None:
        """The container knows itself by the name that it was given."""
        assert runtime.run(image, ["hostname"], hostname="web-7").text == "web-7\n"

    def test_a_missing_workdir_is_made(self, runtime: Runtime, image: str) -> None:
        """The command runs in the folder that was named, whether the image has it or not."""
        assert runtime.run(image, ["pwd"], workdir="/srv").text == "/srv\n"
        assert runtime.run(image, ["pwd"], workdir="/made/of/größe").text == "/made/of/größe\n"

    def test_a_relative_workdir_is_refused(self, runtime: Runtime, image: str) -> None:
        """A workdir is an absolute path."""
        with pytest.raises(InvalidArgument):
            runtime.create(image, workdir="srv")

    @pytest.mark.parametrize(
        ("user", "ids"),
        [
            ("1000:1000", "1000 1000"),
            ("1234", "1234 0"),
            ("guest", "1000 1000"),
            ("guest:root", "1000 0"),
            (None, "0 0"),
        ],
    )
    def test_a_user_is_a_name_or_a_number(self, runtime: Runtime, image: str, user: str | None, ids: str) -> None:
        """With a group behind it or without, known to the image or not."""
        assert " ".join(runtime.run(image, sh("id -u; id -g"), user=user).text.split()) == ids

    def test_extra_hosts_are_known(self, runtime: Runtime, image: str) -> None:
        """Names that are given are in the container's list of hosts."""
        result = runtime.run(image, ["cat", "/etc/hosts"], extra_hosts={"db": "10.0.0.5", "cache": "10.0.0.6"})
        lines = [line.split() for line in result.text.splitlines()]
        assert ["10.0.0.5", "db"] in lines
        assert ["10.0.0.6", "cache"] in lines

    def test_the_host_gateway_is_never_taken_for_an_address(self, runtime: Runtime, image: str) -> None:
        """The engines' word for the host becomes an address, or is refused: it is not one itself."""
        try:
            result = runtime.run(image, ["cat", "/etc/hosts"], extra_hosts={"outside": "host-gateway"})
        except (Unsupported, InvalidArgument):
            return
        assert re.search(r"^[0-9a-f.:]+\s+outside$", result.text, re.MULTILINE)

    def test_a_read_only_container_writes_only_where_it_may(self, runtime: Runtime, image: str) -> None:
        """With ``read_only`` nothing can be written but what ``tmpfs`` names."""
        folders = ("/", "/tmp/", "/run/", "/srv/")  # noqa: S108  # in the container
        script = "; ".join(f"touch {folder}x 2>/dev/null && echo {folder}" for folder in folders)
        result = runtime.run(image, sh(f"{script}; true"), read_only=True, tmpfs=["/srv"])
        assert result.text.split() == ["/srv/"]

    def test_tmpfs_can_have_options(self, runtime: Runtime, image: str) -> None:
        """A file system in memory takes the place of what the image has there, with a mode if wanted."""
        tmpfs = {"/www": "size=1m", "/new": "size=1m,mode=750"}
        assert runtime.run(image, sh("ls /www; stat -c %a /new"), tmpfs=tmpfs).text == "750\n"

    def test_a_folder_of_the_host_can_be_mounted(self, runtime: Runtime, image: str, shared: Path) -> None:
        """What either side writes the other reads."""
        (shared / "in").write_text("from outside")
        runtime.run(image, sh("cat /data/in > /data/out"), mounts=[f"{shared}:/data"])
        assert (shared / "out").read_text() == "from outside"

    def test_a_mount_can_be_read_only(self, runtime: Runtime, image: str, shared: Path) -> None:
        """What is mounted read-only can be read, and not written."""
        (shared / "in").write_text("from outside")
        result = runtime.run(
            image, sh("cat /data/in; touch /data/out 2>/dev/null || echo refused"), mounts=[f"{shared}:/data:ro"]
        )
        assert result.text == "from outsiderefused\n"
        assert not (shared / "out").exists()

    def test_a_file_of_the_host_can_be_mounted(self, runtime: Runtime, image: str, shared: Path) -> None:
        """A single file is mounted over what the image has there, and the labels of SELinux are taken."""
        (shared / "größe").write_text("mine")
        mount = Mount(source=str(shared / "größe"), target="/www/index.html", read_only=True, relabel="z")
        assert runtime.run(image, ["cat", "/www/index.html"], mounts=[mount]).text == "mine"

    def test_a_missing_source_of_a_mount_is_not_made(
        self, runtime: Runtime, image: str, shared: Path, name: str
    ) -> None:
        """A path that the host does not have is refused by its name."""
        for options in ("", ":ro", ":z"):
            with pytest.raises(InvalidArgument, match="no-such-folder"):
                runtime.create(image, name=name, mounts=[f"{shared}/no-such-folder:/data{options}"])
        assert list(shared.iterdir()) == []
        assert runtime.ps(all=True, name=name) == ()

    def test_memory_can_be_mounted(self, runtime: Runtime, image: str) -> None:
        """A mount of the type ``tmpfs`` begins empty and can be written."""
        mount = Mount(source="", target="/www", type="tmpfs")
        assert runtime.run(image, sh("ls /www; touch /www/x; ls /www"), mounts=[mount]).text == "x\n"

    def test_an_anonymous_volume_begins_with_what_the_image_has(self, runtime: Runtime, image: str) -> None:
        """A volume without a name is made for its container, and outlives a stop."""
        mount = Mount(source="", target="/www", type="volume")
        with runtime.spawn(image, IDLE, mounts=[mount]) as container:
            assert container.exec(["cat", "/www/index.html"]).text == "home\n"
            container.exec(["touch", "/www/x"], check=True)
            container.restart(timeout=0)
            assert container.exec(["test", "-e", "/www/x"]).exit_code == 0

    def test_a_container_can_have_no_network(self, runtime: Runtime, image: str) -> None:
        """``"none"`` and ``"host"`` are networks that every engine has."""
        for network in ("none", "host"):
            assert runtime.run(image, ["echo", network], network=network).text == f"{network}\n"

    def test_a_missing_network_is_not_found(self, runtime: Runtime, image: str, name: str) -> None:
        """The error names the network, and nothing is made."""
        missing = unique("network")
        for verb in (runtime.create, runtime.spawn, runtime.run):
            with pytest.raises(NetworkNotFound, match=missing):
                verb(image, ["true"], name=name, network=missing)
            assert runtime.ps(all=True, name=name) == ()

    def test_capabilities_can_be_added_and_dropped(self, runtime: Runtime, image: str) -> None:
        """They are named with ``CAP_`` or without."""
        result = runtime.run(image, ["echo", "ok"], cap_drop=["ALL"], cap_add=["CHOWN", "CAP_KILL"])
        assert result.text == "ok\n"

    def test_a_capability_that_is_none_is_refused(self, runtime: Runtime, image: str, name: str) -> None:
        """The error names it, and nothing is made."""
        for add, drop in ((["NO_SUCH"], []), ([], ["NO_SUCH"])):
            with pytest.raises(InvalidArgument, match="NO_SUCH"):
                runtime.create(image, name=name, cap_add=add, cap_drop=drop)
        assert runtime.ps(all=True, name=name) == ()

    def test_limits_of_the_process_are_kept(self, runtime: Runtime, image: str) -> None:
        """One number is both limits, two are the soft and the hard one."""
        script = sh("ulimit -Sn; ulimit -Hn")
        # With nproc: Podman raises the one of the two that is not set to the kernel's most, which
        # takes a right that not every machine's root has.
        for nofile, expected in ((512, ["512", "512"]), ((256, 512), ["256", "512"])):
            ulimits: dict[str, int | tuple[int, int]] = {"nofile": nofile, "nproc": 4096}
            assert runtime.run(image, script, ulimits=ulimits).text.split() == expected

    def test_a_limit_of_the_process_that_is_none_is_refused(self, runtime: Runtime, image: str, name: str) -> None:
        """An unknown limit, and a soft one above the hard one, are errors of the caller's."""
        for ulimits in ({"nosuch": 1}, {"nofile": (512, 256)}):
            with pytest.raises(InvalidArgument):
                runtime.create(image, name=name, ulimits=ulimits)
        assert runtime.ps(all=True, name=name) == ()

    def test_a_signal_to_stop_with_can_be_chosen(self, runtime: Runtime, image: str) -> None:
        """`stop` sends the signal that the container was made with."""
        script = "trap 'exit 9' USR1; trap 'exit 7' TERM; echo ready; while true; do sleep 0.1; done"
        for signal in ("USR1", "SIGUSR1"):
            with runtime.spawn(image, sh(script), stop_signal=signal) as container:
                container.wait_ready(probe=LogProbe("ready"))
                container.stop(timeout=20)
                assert container.inspect().exit_code == 9

    def test_a_signal_to_stop_with_has_to_be_one(self, runtime: Runtime, image: str, name: str) -> None:
        """A signal that nobody knows is refused at once, and not at the stop."""
        with pytest.raises(InvalidArgument, match="NOSUCH"):
            runtime.create(image, name=name, stop_signal="NOSUCH")
        assert runtime.ps(all=True, name=name) == ()

    def test_a_restart_policy_is_kept(self, runtime: Runtime, image: str) -> None:
        """A container that fails is started again, as often as the policy says."""
        with runtime.spawn(image, sh("echo run; exit 1"), restart="on-failure:1") as container:
            eventually(lambda: everything(runtime, container)[0] == b"run\nrun\n")
            eventually(lambda: container.inspect().state == "exited")
            assert container.inspect().exit_code == 1

    def test_a_bad_restart_policy_is_refused(self, runtime: Runtime, image: str) -> None:
        """The error shows the policies that there are."""
        with pytest.raises(InvalidArgument, match="on-failure"):
            runtime.create(image, restart="sometimes")

    def test_standard_input_can_be_kept_open(self, runtime: Runtime, image: str) -> None:
        """A command that reads goes on with ``stdin=True``, and sees the end at once without."""
        with runtime.spawn(image, ["cat"]) as container:
            assert container.wait(timeout=20) == 0
        with runtime.spawn(image, ["cat"], stdin=True) as container:
            with pytest.raises(TimeoutError):
                container.wait(timeout=0.5)
            assert container.inspect().running

    def test_a_device_can_be_passed_on(self, runtime: Runtime, image: str) -> None:
        """A device of the host is in the container, under the path that was asked for."""
        result = runtime.run(image, ["test", "-c", "/dev/mine"], devices=["/dev/null:/dev/mine"])
        assert result.exit_code == 0

    def test_a_missing_device_is_refused(self, runtime: Runtime, image: str, name: str) -> None:
        """The error names the device, and nothing is left."""
        with pytest.raises((InvalidArgument, StartFailed), match="/dev/no-such-device"):
            runtime.spawn(image, IDLE, name=name, devices=["/dev/no-such-device"])
        assert runtime.ps(all=True, name=name) == ()

    def test_the_platform_of_the_engine_is_no_news(self, runtime: Runtime, image: str) -> None:
        """An image of the platform that was asked for is used."""
        version = runtime.version()
        assert runtime.run(image, ["echo", "ok"], platform=f"{version.os}/{version.arch}").text == "ok\n"

    def test_an_image_of_another_platform_is_not_used(self, runtime: Runtime, image: str, name: str) -> None:
        """The engine does not have the image for that platform, so it is not found; nothing is made."""
        for verb in (runtime.create, runtime.spawn, runtime.run):
            with pytest.raises(ImageNotFound, match=other_platform(runtime)):
                verb(image, ["true"], name=name, platform=other_platform(runtime))
        assert runtime.ps(all=True, name=name) == ()

    def test_a_platform_has_to_be_one(self, runtime: Runtime, image: str) -> None:
        """The error shows how one is written."""
        with pytest.raises(InvalidArgument, match="linux/arm64"):
            runtime.create(image, platform="arm64")

    def test_what_is_extra_for_one_engine_is_not_for_another(self, runtime: Runtime, image: str) -> None:
        """Settings for engines that are not this one are passed over."""
        with runtime.create(image, extra={"another-engine": {"Nonsense": True}}) as container:
            assert container.state == "created"


class CapabilityContract(ContractFixtures):
    """What not every engine can do: it does it, or says so before anything is made."""

    @pytest.mark.parametrize(
        ("capability", "options"),
        [
            ("limits", {"limits": Limits(memory="64m")}),
            ("limits", {"limits": Limits(cpus=0.5)}),
            ("limits", {"limits": Limits(pids=50)}),
            ("init", {"init": True}),
            ("keep_id", {"userns": "keep-id"}),
        ],
        ids=["memory", "cpus", "pids", "init", "keep-id"],
    )
    def test_an_option_works_or_is_unsupported(
        self, runtime: Runtime, image: str, name: str, capability: str, options: ContainerOptions
    ) -> None:
        """An engine that has the capability keeps the option; another refuses it by the capability's name."""
        options["name"] = name
        if getattr(runtime.capabilities, capability):
            assert runtime.run(image, ["echo", "ok"], **options).text == "ok\n"
        else:
            for verb in (runtime.create, runtime.spawn, runtime.run):
                with pytest.raises(Unsupported) as caught:
                    verb(image, ["true"], **options)
                assert caught.value.capability == capability
                assert runtime.name in str(caught.value)
                assert runtime.ps(all=True, name=name) == ()

    @pytest.mark.parametrize(
        ("capability", "options"),
        [("gpus", {"gpus": "all"}), ("gpus", {"gpus": 1}), ("secrets", {"secrets": ["no-such-secret"]})],
        ids=["gpus", "a-gpu", "secrets"],
    )
    def test_hardware_and_secrets_are_never_left_out(
        self, runtime: Runtime, image: str, name: str, capability: str, options: ContainerOptions
    ) -> None:
        """A container that would lack what it asked for is not started."""
        options["name"] = name
        with pytest.raises((Unsupported, StartFailed, NotFound, InvalidArgument)) as caught:
            runtime.spawn(image, ["true"], **options)
        if not getattr(runtime.capabilities, capability):
            assert isinstance(caught.value, Unsupported)
            assert caught.value.capability == capability
        assert runtime.ps(all=True, name=name) == ()

    def test_an_init_is_process_one(self, runtime: Runtime, image: str) -> None:
        """With ``init`` the command is not process 1, without it is."""
        assert runtime.run(image, sh("echo $$")).text == "1\n"
        if runtime.capabilities.init:
            assert runtime.run(image, sh("echo $$"), init=True).text != "1\n"

    def test_an_impossible_limit_is_refused(self, runtime: Runtime, image: str, name: str) -> None:
        """Memory that no process could run in is refused, at the latest by the start; nothing is left."""
        with pytest.raises((InvalidArgument, StartFailed, Unsupported)) as caught:
            runtime.spawn(image, IDLE, name=name, limits=Limits(memory=1000))
        if isinstance(caught.value, StartFailed):
            assert caught.value.reason == "limit"
        if isinstance(caught.value, Unsupported):
            assert not runtime.capabilities.limits
        assert runtime.ps(all=True, name=name) == ()


class PortContract(ContractFixtures):
    """Published ports: `Container.ports` and `address`."""

    def test_a_published_port_answers(self, runtime: Runtime, image: str) -> None:
        """A port need not be exposed by the image; the engine chooses the host's."""
        with runtime.spawn(image, WEB, ports=[80]) as container:
            (port,) = container.ports
            assert (port.container, port.host_ip, port.protocol) == (80, "", "tcp")
            assert port.host
            assert container.address(80)[1] == port.host
            if runtime.capabilities.ports:
                container.wait_ready(probe=HttpProbe("/"), timeout=20)
                container.wait_ready(probe=TcpProbe(80), timeout=20)
                assert fetch(container.address(80)) == b"home\n"

    def test_a_port_of_the_host_can_be_chosen(self, runtime: Runtime, image: str) -> None:
        """It is the one that is published."""
        chosen = free_port()
        with runtime.spawn(image, WEB, ports=[f"127.0.0.1:{chosen}:80"]) as container:
            assert container.ports == (Port(80, chosen, "127.0.0.1"),)
            assert container.address(80) == ("127.0.0.1", chosen)
            if runtime.capabilities.ports:
                container.wait_ready(probe=HttpProbe("/", port=80), timeout=20)
                assert fetch(("127.0.0.1", chosen)) == b"home\n"

    def test_ports_are_published_in_every_form(self, runtime: Runtime, image: str) -> None:
        """Each is one row, sorted, the same in a list as in an inspection."""
        fixed = free_port()
        ports: list[PortLike] = ["127.0.0.1::80", 81, f"{fixed}:82", Port(83, protocol="udp"), "127.0.0.1::83"]
        with runtime.spawn(image, IDLE, ports=ports) as container:
            rows = [(row.container, row.host_ip, row.protocol) for row in container.ports]
            assert rows == [
                (80, "127.0.0.1", "tcp"),
                (81, "", "tcp"),
                (82, "", "tcp"),
                (83, "127.0.0.1", "tcp"),
                (83, "", "udp"),
            ]
            assert all(row.host for row in container.ports)
            assert container.ports[2].host == fixed
            assert container.address(83, "udp")[1] == container.ports[4].host
            assert container.address(80) == ("127.0.0.1", container.ports[0].host)
            assert runtime.ps(name=container.name)[0].ports == container.ports == container.inspect().ports

    def test_a_port_that_is_not_published_has_no_address(self, runtime: Runtime, image: str) -> None:
        """Neither has one of another protocol, nor one of a container that does not run."""
        with runtime.spawn(image, IDLE, ports=[80]) as container:
            for port, protocol in ((81, "tcp"), (80, "udp")):
                with pytest.raises(NotFound):
                    runtime.address(container, port, protocol)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
            container.stop(timeout=0)
            assert container.inspect().ports == ()
            assert runtime.ps(all=True, name=container.name)[0].ports == ()
            with pytest.raises(NotFound):
                runtime.address(container.name, 80)

    def test_a_taken_port_is_told_and_nothing_is_left(self, runtime: Runtime, image: str, name: str) -> None:
        """A port that something else listens on is the reason of a failed start."""
        with socket.socket() as taken:
            taken.bind(("0.0.0.0", 0))  # noqa: S104  # as the engines do
            taken.listen()
            port = taken.getsockname()[1]
            for verb in (runtime.spawn, runtime.run):
                with pytest.raises(StartFailed) as caught:
                    verb(image, IDLE, name=name, ports=[f"{port}:80"])
                assert (caught.value.reason, caught.value.exit_code) == ("port_in_use", 125)
                assert str(port) in str(caught.value)
                assert runtime.ps(all=True, name=name) == ()

    def test_two_containers_cannot_have_one_port(self, runtime: Runtime, image: str, name: str) -> None:
        """The second does not start, and the first goes on."""
        with runtime.spawn(image, IDLE, ports=[80]) as first:
            with pytest.raises(StartFailed) as caught:
                runtime.spawn(image, IDLE, name=name, ports=[f"{first.ports[0].host}:80"])
            assert caught.value.reason == "port_in_use"
            assert runtime.ps(all=True, name=name) == ()
            assert first.inspect().ports == first.ports

    def test_a_port_is_free_again(self, runtime: Runtime, image: str) -> None:
        """When its container is gone a port can be published anew."""
        port = f"{free_port()}:80"
        for _ in range(2):
            with runtime.spawn(image, IDLE, ports=[port]) as container:
                assert container.ports

    def test_a_port_that_is_none_is_refused(self, runtime: Runtime, image: str) -> None:
        """The error shows the forms of a port."""
        for bad in ("eighty", 0, 70000, "80:", "1.2.3:80:80", "80/icmp"):
            with pytest.raises(InvalidArgument):
                runtime.create(image, ports=[bad])

    def test_a_taken_name_says_nothing_about_ports(self, runtime: Runtime, image: str, name: str) -> None:
        """Of two things that are wrong the name is told first, as it is found at the creation."""
        with runtime.spawn(image, IDLE, name=name, ports=[80]) as owner, pytest.raises(Conflict):
            runtime.spawn(image, IDLE, name=name, ports=[f"{owner.ports[0].host}:80"])
