"""The values that go in: the forms people type, the errors that show them, and what a repr hides."""

from __future__ import annotations

import pickle
import re
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any, cast

import pytest
from attr import evolve
from attr.exceptions import FrozenInstanceError
from hypothesis import given
from hypothesis import strategies as st

import polyrun
from polyrun import (
    Capabilities,
    CheckReport,
    Container,
    ContainerSpec,
    ExecResult,
    Finding,
    HealthCheck,
    Image,
    InvalidArgument,
    Limits,
    Listing,
    LogChunk,
    Mount,
    PolyrunError,
    Port,
    Reference,
    RunResult,
    Unreachable,
)

if TYPE_CHECKING:
    from collections.abc import Callable

SECRET = "s3cr3t"
NOW = datetime(2024, 5, 6, tzinfo=timezone.utc)

octet = st.integers(0, 255)
numbers = st.integers(1, 65535)
addresses = st.one_of(
    st.just(""),
    st.builds("{}.{}.{}.{}".format, octet, octet, octet, octet).filter(lambda text: text != "0.0.0.0"),
    st.ip_addresses(v=6).map(str).filter(lambda text: "." not in text),
)
ports = st.builds(Port, numbers, st.none() | numbers, addresses, st.sampled_from(["tcp", "udp", "sctp"]))


class TestPort:
    @pytest.mark.parametrize(
        ("text", "port"),
        [
            (80, Port(80)),
            ("80", Port(80)),
            ("80/udp", Port(80, protocol="udp")),
            ("8080:80", Port(80, 8080)),
            (":80", Port(80)),
            ("0:80", Port(80)),
            ("127.0.0.1:8080:80", Port(80, 8080, "127.0.0.1")),
            ("127.0.0.1::80", Port(80, None, "127.0.0.1")),
            ("127.0.0.1:8080:80/sctp", Port(80, 8080, "127.0.0.1", "sctp")),
            ("[::1]:8080:80", Port(80, 8080, "::1")),
            ("0.0.0.0:8080:80", Port(80, 8080)),
            (Port(80), Port(80)),
        ],
    )
    def test_a_port_is_read_as_on_the_command_line(self, text: int | str | Port, port: Port) -> None:
        """Every form of ``-p`` is understood."""
        assert Port.parse(text) == port

    @pytest.mark.parametrize(
        "bad",
        [
            "",
            "eighty",
            "80:",
            "80:eighty",
            "1.2.3:80:80",
            "80/icmp",
            "80-90",
            " 80",
            "80\n",
            "-1",
            "0",
            "65536",
            "1:2:3",
            "::1:80:80",
            "٣",
            0,
            -1,
            65536,
            True,
            None,
            80.0,
        ],
    )
    def test_a_wrong_one_is_refused_with_the_forms_there_are(self, bad: Any) -> None:
        """The error shows what was given, and what could be."""
        with pytest.raises(InvalidArgument) as caught:
            Port.parse(bad)
        assert str(bad).strip() in str(caught.value)
        assert caught.value.hint

    @given(ports)
    def test_what_is_written_is_read_as_the_same(self, port: Port) -> None:
        """The text of a port is one of the forms."""
        assert Port.parse(str(port)) == port

    @given(st.text())
    def test_any_text_is_a_port_or_an_error_of_ours(self, text: str) -> None:
        """No other exception comes out."""
        try:
            Port.parse(text)
        except InvalidArgument:
            pass


class TestMount:
    @pytest.mark.parametrize(
        ("text", "mount"),
        [
            ("/a:/b", Mount("/a", "/b")),
            ("/a:/b:ro", Mount("/a", "/b", read_only=True)),
            ("/a:/b:rw", Mount("/a", "/b")),
            ("/a:/b:ro,Z", Mount("/a", "/b", read_only=True, relabel="Z")),
            ("/a:/b:z", Mount("/a", "/b", relabel="z")),
            ("/mit leer:/größe", Mount("/mit leer", "/größe")),
            ("data:/b", Mount("data", "/b", type="volume")),
            ("data.v-1_2:/b:ro", Mount("data.v-1_2", "/b", type="volume", read_only=True)),
        ],
    )
    def test_a_mount_is_read_as_on_the_command_line(self, text: str, mount: Mount) -> None:
        """Every form of ``-v`` is understood."""
        assert Mount.parse(text) == mount
        assert Mount.parse(str(mount)) == mount

    @pytest.mark.parametrize(
        "bad", ["", ":", "/a", "/a:", ":/b", "/a:b", "a/b:/c", "./a:/b", "~/a:/b", "/a:/b:xx", "/a:/b:ro:rw", "-x:/b"]
    )
    def test_a_wrong_one_is_refused(self, bad: str) -> None:
        """Relative paths, unknown options and missing halves are errors."""
        with pytest.raises(InvalidArgument):
            Mount.parse(bad)

    def test_the_kind_has_to_be_one(self) -> None:
        """A mount is a bind, a volume or a tmpfs."""
        with pytest.raises(InvalidArgument, match=r"bind, volume or tmpfs"):
            Mount("/a", "/b", type="nfs")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]

    @given(st.text())
    def test_any_text_is_a_mount_or_an_error_of_ours(self, text: str) -> None:
        """No other exception comes out."""
        try:
            assert Mount.parse(str(Mount.parse(text))) == Mount.parse(text)
        except InvalidArgument:
            pass


class TestSizesAndDurations:
    @pytest.mark.parametrize(
        ("size", "count"),
        [
            (0, 0),
            (1000, 1000),
            ("1000", 1000),
            ("1b", 1),
            ("64m", 64 << 20),
            ("64M", 64 << 20),
            ("1.5g", 3 << 29),
            ("512KiB", 512 << 10),
            ("512 kb", 512 << 10),
            (" 2t ", 2 << 40),
        ],
    )
    def test_a_size_is_read(self, size: int | str, count: int) -> None:
        """Units are powers of 1024, in upper or lower case."""
        assert Limits(memory=size or None).memory == (count or None)

    @pytest.mark.parametrize("bad", ["", "m", "-1", "64x", "1e3", "64 m m", "1,5g", "٣", -1, True])
    def test_a_wrong_size_is_refused_with_the_forms_there_are(self, bad: int | str) -> None:
        """The error shows how one is written."""
        with pytest.raises(InvalidArgument, match=r'"64m"|more than 0'):
            Limits(memory=bad)

    def test_a_limit_is_more_than_nothing(self) -> None:
        """A limit of 0 would be none on one engine and an error on another."""
        for name in ("memory", "cpus", "pids"):
            for value in (0, -1):
                with pytest.raises(InvalidArgument):
                    Limits(**{name: value})

    @pytest.mark.parametrize(
        ("text", "seconds"),
        [(0, 0.0), (1.5, 1.5), ("500ms", 0.5), ("30s", 30.0), ("1m30s", 90.0), ("2h", 7200.0), ("1h1m1s1ms", 3661.001)],
    )
    def test_a_duration_is_read(self, text: float | str, seconds: float) -> None:
        """It is seconds, or text with units."""
        assert abs(HealthCheck(command=["true"], start_period=text).start_period - seconds) < 1e-9

    @pytest.mark.parametrize("bad", ["", "30", "s", "1x", "-1s", "1s 2x", -1, float("inf"), float("nan"), True])
    def test_a_wrong_duration_is_refused_with_the_forms_there_are(self, bad: float | str) -> None:
        """The error shows how one is written."""
        with pytest.raises(InvalidArgument, match='"500ms"'):
            HealthCheck(command=["true"], interval=bad)


class TestReference:
    @pytest.mark.parametrize(
        ("text", "full", "familiar"),
        [
            ("alpine", "docker.io/library/alpine:latest", "alpine:latest"),
            ("alpine:3", "docker.io/library/alpine:3", "alpine:3"),
            ("shop/web", "docker.io/shop/web:latest", "shop/web:latest"),
            ("docker.io/alpine", "docker.io/library/alpine:latest", "alpine:latest"),
            ("docker.io/library/alpine:3", "docker.io/library/alpine:3", "alpine:3"),
            ("index.docker.io/alpine", "docker.io/library/alpine:latest", "alpine:latest"),
            ("localhost/web", "localhost/web:latest", "web:latest"),
            ("localhost:5000/web", "localhost:5000/web:latest", "localhost:5000/web:latest"),
            ("registry.example/a/b/c:v1", "registry.example/a/b/c:v1", "registry.example/a/b/c:v1"),
            ("[::1]:5000/web", "[::1]:5000/web:latest", "[::1]:5000/web:latest"),
            ("alpine@sha256:" + 64 * "a", f"docker.io/library/alpine@sha256:{64 * 'a'}", f"alpine@sha256:{64 * 'a'}"),
            ("a.b/c__d--e:T_.-1", "a.b/c__d--e:T_.-1", "a.b/c__d--e:T_.-1"),
        ],
    )
    def test_a_reference_is_spelt_out(self, text: str, full: str, familiar: str) -> None:
        """What is left out means Docker Hub and ``latest``; the short form is what people write."""
        reference = Reference.parse(text)
        assert str(reference) == full
        assert reference.familiar == familiar
        assert str(Reference.parse(full)) == full

    @pytest.mark.parametrize(
        "bad",
        [
            "",
            "Alpine",
            "a b",
            "alpine:",
            ":3",
            "alpine:ü",
            "/alpine",
            "alpine/",
            "a//b",
            "-a",
            "a-",
            "alpine@",
            "alpine@sha256:abc",
            "alpine:" + 129 * "x",
            "a" * 5000,
            "a\n",
            "http://x/y",
            "a:b:c",
        ],
    )
    def test_a_wrong_one_is_refused_with_the_form_there_is(self, bad: str) -> None:
        """The error shows how one is written."""
        with pytest.raises(InvalidArgument, match=r"\[registry/\]repository"):
            Reference.parse(bad)

    @given(
        st.from_regex(
            r"([a-z0-9]{1,5}(\.[a-z]{2})(:\d{1,4})?/)?[a-z0-9]{1,8}(/[a-z0-9]{1,8})?(:[\w][\w.-]{0,9})?", fullmatch=True
        )
    )
    def test_what_is_spelt_out_is_read_as_the_same(self, text: str) -> None:
        """The full form of a reference is a reference."""
        try:
            reference = Reference.parse(text)
        except InvalidArgument:
            assert not text.isascii()
            return
        assert evolve(Reference.parse(str(reference)), qualified=reference.qualified) == reference
        assert str(Reference.parse(reference.familiar)) == str(reference)


class TestContainerSpec:
    def test_a_command_is_a_sequence_of_strings(self) -> None:
        """One string is refused with both ways to write it; so is what is no string, and a NUL."""
        with pytest.raises(InvalidArgument) as caught:
            ContainerSpec(image="x", command="ls -l")
        assert "['ls', '-l']" in str(caught.value)
        assert '["sh", "-c", \'ls -l\']' in str(caught.value)
        wrong: list[Any] = [[], ["a", 1], ["a\0b"], b"ls", "ls"]
        for bad in wrong:
            with pytest.raises(InvalidArgument):
                ContainerSpec(image="x", command=bad)
        assert ContainerSpec(image="x", command=["ls", ""]).command == ("ls", "")

    @pytest.mark.parametrize(
        "options",
        [
            {"image": ""},
            {"name": "a b"},
            {"name": "/a"},
            {"restart": "sometimes"},
            {"restart": "on-failure:x"},
            {"workdir": "relative"},
            {"aliases": ["db"]},
            {"aliases": "db", "network": "n"},
            {"platform": "arm64"},
            {"ports": "80"},
            {"ports": 80},
            {"mounts": "/a:/b"},
            {"env": {"A": 1}},
            {"env": {"": "x"}},
            {"env": {"A=B": "x"}},
            {"env": {"A": "x\0"}},
            {"labels": {"a": None}},
            {"cap_add": "ALL"},
            {"entrypoint": "sh"},
            {"ulimits": {"nosuch": 1}},
            {"ulimits": {"nofile": (2, 1)}},
        ],
        ids=str,
    )
    def test_what_no_engine_should_guess_at_is_refused(self, options: dict[str, Any]) -> None:
        """Each is an error before anything is sent."""
        with pytest.raises(InvalidArgument):
            ContainerSpec(**{"image": cast("Any", "x"), **options})

    def test_the_forms_people_type_are_one_value(self) -> None:
        """A specification holds tuples and parsed values, whatever it was given."""
        typed = ContainerSpec(
            image="x",
            command=("a",),
            ports=(Port(80, 8080),),
            mounts=(Mount("/a", "/b"),),
            tmpfs={"/tmp": ""},
            ulimits={"nofile": (1, 1)},
            limits=Limits(memory=64 << 20),
        )
        written = ContainerSpec(
            image="x",
            command=["a"],
            ports=["8080:80"],
            mounts=["/a:/b"],
            tmpfs=["/tmp"],
            ulimits={"nofile": 1},
            limits=Limits(memory="64m"),
        )
        assert typed == written
        assert hash(typed) == hash(written)

    def test_what_is_changed_later_is_not_changed_here(self) -> None:
        """A specification keeps copies."""
        env, command = {"A": "1"}, ["a"]
        spec = ContainerSpec(image="x", env=env, command=command)
        env["B"] = "2"
        command.append("b")
        assert dict(spec.env) == {"A": "1"}
        assert spec.command == ("a",)

    def test_the_values_of_variables_are_not_shown(self) -> None:
        """A repr has the names of variables only, and nothing of ``extra``."""
        spec = ContainerSpec(image="x", env={"TOKEN": SECRET}, extra={"docker": {"Env": [SECRET]}})
        assert "TOKEN" in repr(spec)
        assert SECRET not in f"{spec!r} {spec}"
        with pytest.raises(InvalidArgument) as caught:
            ContainerSpec(image="x", env={"TOKEN": 7})  # type: ignore[dict-item]  # pyright: ignore[reportArgumentType]
        assert "7" not in str(caught.value)
        assert "TOKEN" in str(caught.value)


class TestSnapshots:
    def container(self) -> Container:
        """Return one."""
        return Container(id=64 * "a", name="web", image="x", state="running", created=NOW)

    @pytest.mark.parametrize(
        "value",
        [
            Port(80),
            Mount("/a", "/b"),
            Limits(pids=3),
            HealthCheck(command="true"),
            ContainerSpec(image="x", env={"A": "1"}),
            Image(id="sha256:" + 64 * "a", labels={"a": "b"}),
            Container(id=64 * "a", name="web", image="x", state="created", created=NOW, labels={"a": "b"}),
            RunResult(0, b"out", b"err", "id"),
            ExecResult(0, b"out", b"err", 0),
            LogChunk("stdout", b"x"),
            Unreachable("a", "b"),
            Capabilities(),
            Finding(code="x", severity="info", summary="y"),
            Reference.parse("alpine"),
            CheckReport(ok=True, engine="docker", endpoint="unix:///x", chosen_by="argument"),
        ],
        ids=lambda value: type(value).__name__,
    )
    def test_values_are_frozen_equal_and_picklable(self, value: Any) -> None:
        """A value cannot be changed, is equal to its like, can be hashed, and survives a process border."""
        name = value.__attrs_attrs__[0].name
        with pytest.raises(FrozenInstanceError):
            setattr(value, name, "changed")
        again = pickle.loads(pickle.dumps(value))
        assert again == value
        assert again is not value
        assert evolve(value) == value
        assert hash(again) == hash(value)

    def test_a_snapshot_without_a_runtime_says_so(self) -> None:
        """A snapshot that was made by hand has no engine to ask."""
        with pytest.raises(InvalidArgument, match="web"):
            self.container().inspect()

    def test_a_listing_is_a_tuple(self) -> None:
        """It can be compared with a tuple, indexed and counted, and says what is missing."""
        listing = Listing([1, 2], [Unreachable("a", "down")])
        equal = listing == (1, 2)
        assert equal
        assert listing.unreachable == (Unreachable("a", "down"),)
        assert Listing().unreachable == ()
        assert pickle.loads(pickle.dumps(listing)).unreachable == listing.unreachable

    def test_output_is_text_when_asked_for(self) -> None:
        """Bytes that are no UTF-8 become a replacement character."""
        assert RunResult(0, b"gr\xc3\xbcn\xff", b"", "id").text == "grün\ufffd"
        assert LogChunk("stdout", b"\xff").text == "\ufffd"

    def test_output_is_in_no_repr(self) -> None:
        """Results are shown by their exit code, since output can be long, and secret."""
        for result in (RunResult(3, SECRET.encode(), SECRET.encode(), "id"), ExecResult(3, SECRET.encode(), b"", 3)):
            assert SECRET not in repr(result)
            assert "3" in repr(result)

    def test_a_report_can_be_read(self) -> None:
        """The text of a report has the findings and what to type."""
        finding = Finding(
            code="down", severity="error", summary="the daemon is down", fix="sudo systemctl start docker"
        )
        report = CheckReport(
            ok=False, engine="docker", endpoint="unix:///x", chosen_by="DOCKER_HOST", findings=(finding,)
        )
        for part in (
            "docker",
            "not usable",
            "unix:///x",
            "DOCKER_HOST",
            "the daemon is down",
            "systemctl start docker",
        ):
            assert part in str(report)


ERRORS = [error for error in vars(polyrun).values() if isinstance(error, type) and issubclass(error, PolyrunError)]


class TestErrors:
    def test_the_tree_is_that_of_the_documentation(self) -> None:
        """Every public error is in the drawing at the top of its module, and the other way round."""
        import polyrun._errors as module  # noqa: PLC0415  # its docstring is the drawing

        drawn = set(re.findall(r"[├└]── (\w+)", module.__doc__ or "")) | {"PolyrunError"}
        assert {error.__name__ for error in ERRORS} == drawn

    @pytest.mark.parametrize("error", ERRORS, ids=lambda error: error.__name__)
    def test_an_error_says_what_where_and_what_next(self, error: Callable[..., PolyrunError]) -> None:
        """The text has the message, the engine and the hint; they are attributes as well."""
        raised = error("it broke", engine="docker+unix:///x", hint="Mend it.")
        assert (raised.message, raised.engine, raised.hint) == ("it broke", "docker+unix:///x", "Mend it.")
        for part in ("it broke", "docker+unix:///x", "Mend it."):
            assert part in str(raised)

    @pytest.mark.parametrize("error", ERRORS, ids=lambda error: error.__name__)
    def test_an_error_survives_a_process_border(self, error: Callable[..., PolyrunError]) -> None:
        """Pickling keeps the text and every attribute."""
        raised = error("it broke", engine="e", hint="h")
        again = pickle.loads(pickle.dumps(raised))
        assert type(again) is type(raised)
        assert str(again) == str(raised)
        assert vars(again) == vars(raised)

    def test_details_survive_a_process_border(self) -> None:
        """So do the details that some errors have."""
        for raised in (
            polyrun.StartFailed("x", reason="limit", exit_code=126),
            polyrun.BuildFailed("x", step="RUN y", output=("a", "b")),
            polyrun.CommandFailed("x", result=RunResult(3, b"a", b"b", "id")),
            polyrun.Unsupported("x", capability="gpus"),
            polyrun.EngineError("x", status=500),
            polyrun.PartialFailure("x", done=("a",), failed={"b": polyrun.ConnectError("y")}, unknown=("c",)),
        ):
            again = pickle.loads(pickle.dumps(raised))
            assert str(again) == str(raised)
            assert {**vars(again), "failed": None} == {**vars(raised), "failed": None}

    def test_some_errors_are_also_pythons_own(self) -> None:
        """Code that knows nothing of polyrun catches the ones that Python has a name for."""
        assert issubclass(polyrun.InvalidArgument, ValueError)
        assert issubclass(polyrun.DeadlineExceeded, TimeoutError)
        for error in (
            polyrun.ContainerNotFound,
            polyrun.ImageNotFound,
            polyrun.NetworkNotFound,
            polyrun.VolumeNotFound,
        ):
            assert issubclass(error, polyrun.NotFound)
