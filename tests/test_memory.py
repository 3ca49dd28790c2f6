"""What is particular to the runtime in memory; that it keeps the contract is tested with the others."""

from __future__ import annotations

import shutil
import subprocess
import threading
import time
import tracemalloc
from typing import TYPE_CHECKING

import pytest

from polyrun import (
    BuildFailed,
    CommandFailed,
    ContainerNotFound,
    ContainerOptions,
    EngineError,
    InvalidArgument,
    Limits,
    LogProbe,
    PullFailed,
    StartFailed,
    Unsupported,
)
from polyrun.testing import MemoryRuntime

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

IDLE = ("sleep", "600")


@pytest.fixture
def runtime() -> Iterator[MemoryRuntime]:
    """Return a runtime that has an image, and look for threads when it is closed."""
    with MemoryRuntime() as runtime:
        runtime.add_image("base", files={"/hello": "#!/bin/sh\necho hello $1\n", "/text": "no program"})
        yield runtime
    assert [thread.name for thread in threading.enumerate() if thread.name.startswith("polyrun-memory")] == []


@pytest.fixture(scope="module")
def busybox(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the commands of the real BusyBox."""
    found = shutil.which("busybox")
    assert found, "on Debian: apt install busybox-static"
    folder = tmp_path_factory.mktemp("bin")
    for name in subprocess.run([found, "--list"], capture_output=True, check=True, text=True).stdout.split():
        (folder / name).symlink_to(found)
    return folder


SCRIPTS = [
    "echo a  b 'c  d' \"e  f\" g\\ h",
    "A=1; B='x y'; echo $A ${A} \"$B\" $B ${#B} ${C:-default} ${C:=set} $C ${A:+yes}",
    "P=/a/b/c.tar.gz; echo ${P#*/} ${P##*/} ${P%.*} ${P%%.*}",
    'set -- a \'b c\' \'\'; echo $#; for x in "$@"; do echo "<$x>"; done; for x in $*; do echo "[$x]"; done',
    "false; echo $?; true && echo yes || echo no; ! false; echo $?",
    "(exit 3); echo $?; { echo group; }; echo after",
    "i=0; while [ $i -lt 5 ]; do i=$((i+1)); [ $i = 2 ] && continue; [ $i = 4 ] && break; echo $i; done",
    "until test -f mark; do touch mark; echo made; done; rm mark; ls",
    "case hello.txt in *.md) echo md;; h*.txt|x) echo txt;; *) echo other;; esac",
    "if false; then echo 1; elif true; then echo 2; else echo 3; fi",
    'f() { echo "$1 of $#"; return 4; }; f a b; echo $?; echo $#',
    "set -e; false || echo caught; if false; then :; fi; (exit 2) || true; false; echo never",
    "set -u; echo ${unset_one-fine}; echo $unset_two; echo never",
    "echo out; echo err >&2; { echo both; echo both >&2; } 2>&1",
    "echo one > f; echo two >> f; cat < f; wc -l < f; cat f f | tail -n 3 | head -n 1; rm f",
    "cat <<EOF\n$((6*7)) $(echo sub)\nEOF\ncat <<'EOF' | tr a-z A-Z\n$plain\nEOF",
    "printf '%s=%d %5s|%-5s|%x\\n' a 1 b c 255; printf '%b' 'x\\ty\\n'; printf '\\101\\x42\\n'",
    "yes | head -n 3; seq 3; seq 2 2 6; yes no | head -c 5 | wc -c",
    "trap 'echo bye' EXIT; echo hi; exit 5",
    "trap 'echo got; exit 7' TERM; kill -TERM $$; sleep 1; echo never",
    "trap '' TERM; kill $$; trap - TERM; echo alive; kill $$; echo never",
    "sleep 0.05 & wait $!; echo $?; (sleep 5) & kill -9 $!; wait $!; echo $?",
    'echo a:b:c | { IFS=: read x y; echo "$x $y"; }',
    'printf \'l1\\nl2\' | while read -r l || [ -n "$l" ]; do echo "<$l>"; done',
    "echo $((7/2)) $((-7/2)) $((-7%3)) $((1<<4)) $((5>3 && 2>1)) $((!0)) $(( (1+2)*3 ))",
    "x=5; echo $((x+=2)) $x",
    'x=$(printf \'a\\n\\n\'); echo "[$x]"; echo `echo back`; echo "$(echo "nested $(echo deep)")"',
    "no_such_command; echo $?; ./none; echo $?",
    "mkdir -p a/b; echo x > a/b/c; cp -r a d; mv d/b/c e; ln -s e l; cat l; readlink l; find a d | sort",
    "mkdir a; touch a/x b; ls -1 a; ls b; rm -rf a b; echo *",
    "echo x > f; chmod 640 f; stat -c %a f; chmod u+x,o=r f; stat -c %a f; test -x f && echo exec; rm f",
    "export V=1; sh -c 'echo $V $0 $1' name arg; V=2 sh -c 'echo $V'; echo $V; env -i sh -c 'echo [$V]'",
    "eval 'echo ev; y=3'; echo $y; command -v cd; exec echo last; echo never",
    "echo 'echo sourced $1' > s.sh; . ./s.sh; sh s.sh arg; rm s.sh",
    "printf 'b\\na\\nb\\n' | sort -u; printf '10\\n9\\n' | sort -n",
    "printf 'k v\\n' | cut -d ' ' -f 2; printf abc | tr -d b",
    "printf 'one\\ntwo\\n' | grep t; printf x | grep -q y; echo $?; printf 'a\\nb\\n' | grep -vc a",
    "dd if=/dev/zero bs=100 count=3 2>/dev/null | wc -c; printf abc | sha256sum; printf abc | md5sum",
    "basename /a/b.c .c; dirname /a/b; expr 3 + 4; test 2 -gt 1 -a -n x; echo $?",
    'echo "a\'b" \'c"d\' \\$x "\\$x" "\\\\" ; echo ~x $ a#b # comment',
    "if",
    'echo "unterminated',
]


@pytest.mark.parametrize("script", SCRIPTS)
def test_the_shell_does_what_busybox_does(runtime: MemoryRuntime, busybox: Path, tmp_path: Path, script: str) -> None:
    """Output and exit code of a script are those of the real BusyBox."""
    real = subprocess.run(
        ["sh", "-c", script],
        executable=busybox / "sh",
        env={"PATH": str(busybox), "HOME": "/root"},
        cwd=tmp_path,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
        timeout=20,
    )
    with runtime.spawn("base", IDLE, workdir="/work") as container:
        played = container.exec(["sh", "-c", script], timeout=20)
    code = real.returncode if real.returncode >= 0 else 128 - real.returncode
    assert (played.stdout, played.exit_code) == (real.stdout, code)


def test_an_image_can_be_added(runtime: MemoryRuntime) -> None:
    """It has all commands and the files that it was given, and can be run, built from and pulled."""
    image = runtime.add_image("shop/web:7", command=["hello"], entrypoint=["echo"], env={"A": "1"}, labels={"x": "y"})
    assert image.tags == ("shop/web:7",)
    assert image.labels == {"x": "y"}
    assert runtime.run("shop/web:7").text == "hello\n"
    assert runtime.run("base", ["/hello", "world"]).text == "hello world\n"
    runtime.rmi("shop/web:7")
    assert runtime.pull("shop/web:7") == image
    with pytest.raises(PullFailed, match="nowhere"):
        runtime.pull("nowhere")


def test_what_is_no_program_is_not_executed(runtime: MemoryRuntime) -> None:
    """A program for a real machine that has no known name cannot run here, and neither can a text."""
    with runtime.create("base", ["/program"]) as container:
        container.put(b"\x7fELF and so on", "/program")
        with pytest.raises(StartFailed) as caught:
            container.start()
        assert caught.value.reason == "not_executable"
    with runtime.spawn("base", IDLE) as container:
        container.exec(["chmod", "+x", "/text"], check=True)
        assert container.exec(["/text"]).exit_code == 126


def test_runtimes_of_one_url_share_their_containers(runtime: MemoryRuntime) -> None:
    """What one makes the other sees; the containers end with the last of them."""
    with MemoryRuntime(runtime.url) as other, MemoryRuntime() as stranger:
        container = other.spawn("base", IDLE)
        assert runtime.inspect(container) == container
        with pytest.raises(ContainerNotFound):
            stranger.inspect(container)
    assert runtime.inspect(container).running


def test_a_url_of_another_engine_is_refused() -> None:
    """Only ``memory://`` is understood."""
    with pytest.raises(InvalidArgument, match="memory://"):
        MemoryRuntime("docker:///run/docker.sock")


def test_a_new_engine_has_its_url_to_itself() -> None:
    """What the last runtime of a URL left is gone when the URL is used again."""
    with MemoryRuntime("memory://again") as first:
        first.add_image("base")
        container = first.spawn("base", IDLE, name="web")
    with MemoryRuntime("memory://again") as second:
        assert second.ps(all=True) == ()
        assert second.images() == ()
    with pytest.raises(EngineError, match="closed"):
        container.inspect()


def test_a_pause_stops_the_threads(runtime: MemoryRuntime, tmp_path: Path) -> None:
    """A paused container does nothing, and goes on where it was."""
    script = "i=0; while true; do i=$((i+1)); echo $i > /count; done"
    with runtime.spawn("base", ["sh", "-c", script]) as container:
        while container.exec(["cat", "/count"]).exit_code:
            time.sleep(0.01)
        container.pause()
        time.sleep(0.05)
        # Commands cannot run in it meanwhile, but what it wrote can be copied.
        before = container.get("/count", tmp_path).read_bytes()
        time.sleep(0.1)
        assert container.get("/count", tmp_path).read_bytes() == before
        container.unpause()
        end = time.monotonic() + 10
        # It is empty for a moment each time it is written.
        while container.exec(["cat", "/count"]).stdout in (before, b""):
            assert time.monotonic() < end
            time.sleep(0.01)


def test_a_pipe_takes_no_memory(runtime: MemoryRuntime) -> None:
    """However much goes through a pipe, no more than the pipe holds is kept."""
    with runtime.spawn("base", IDLE) as container:
        tracemalloc.start()
        try:
            result = container.exec(["sh", "-c", "yes | head -c 50000000 | cat | wc -c"])
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert result.text == "50000000\n"
        assert peak < 4_000_000


def test_output_that_nobody_keeps_is_bounded(runtime: MemoryRuntime) -> None:
    """A container that never stops writing fills the memory up to a limit."""
    with runtime.spawn("base", ["yes", "x" * 1000]) as container:
        time.sleep(0.5)
        container.kill()
        assert sum(len(chunk.data) for chunk in container.logs()) <= 65 << 20


def test_what_is_left_of_an_exec_goes_on(runtime: MemoryRuntime) -> None:
    """A background process outlives the command that started it, and ends with its container."""
    with runtime.spawn("base", IDLE) as container:
        container.exec(["sh", "-c", "(sleep 0.2; touch /late; sleep 600) >/dev/null 2>&1 &"], check=True)
        while container.exec(["test", "-e", "/late"]).exit_code:
            time.sleep(0.02)
        assert "sleep 600" in container.exec(["ps"]).text


def test_process_one_ignores_what_it_does_not_handle(runtime: MemoryRuntime) -> None:
    """As on Linux; with an init in front the signal ends the command."""
    for init, code in ((False, 137), (True, 143)):
        with runtime.spawn("base", IDLE, init=init) as container:
            container.stop(timeout=0.2)
            assert container.inspect().exit_code == code


def test_a_stop_signal_is_honoured(runtime: MemoryRuntime) -> None:
    """The container's own signal is sent in place of TERM."""
    script = "trap 'exit 9' USR1; echo ready; while true; do sleep 0.01; done"
    with runtime.spawn("base", ["sh", "-c", script], stop_signal="SIGUSR1") as container:
        container.wait_ready(probe=LogProbe("ready"))
        container.stop()
        assert container.inspect().exit_code == 9


def test_a_limit_of_processes_is_kept(runtime: MemoryRuntime) -> None:
    """It is the one limit that threads can keep."""
    script = "for i in 1 2 3 4 5 6 7 8; do sleep 5 & done; echo started"
    with runtime.spawn("base", ["sh", "-c", script], limits=Limits(pids=4)) as container:
        assert container.wait(timeout=10) == 2


@pytest.mark.parametrize(
    ("options", "capability"),
    [
        (ContainerOptions(gpus=1), "gpus"),
        (ContainerOptions(secrets=["x"]), "secrets"),
        (ContainerOptions(userns="keep-id"), "keep_id"),
    ],
)
def test_what_it_cannot_do_is_refused_by_name(
    runtime: MemoryRuntime, options: ContainerOptions, capability: str
) -> None:
    """No option is dropped in silence."""
    with pytest.raises(Unsupported) as caught:
        runtime.create("base", **options)
    assert caught.value.capability == capability
    assert runtime.ps(all=True) == ()


def test_volumes_outlive_containers(runtime: MemoryRuntime) -> None:
    """A named volume begins with what the image has, and keeps what was written."""
    runtime.run("base", ["sh", "-c", "echo 1 > /etc/mine"], mounts=["data:/etc"])
    assert runtime.run("base", ["cat", "/etc/mine", "/etc/group"], mounts=["data:/etc:ro"]).text.startswith("1\nroot:")
    with pytest.raises(CommandFailed, match="Read-only file system"):
        runtime.run("base", ["touch", "/etc/x"], mounts=["data:/etc:ro"])


def test_a_dockerfile_of_many_instructions(runtime: MemoryRuntime, tmp_path: Path) -> None:
    """Stages, variables, exec and shell forms, continuations and comments do what they say."""
    (tmp_path / "a.txt").write_text("a")
    (tmp_path / "b.txt").write_text("b")
    (tmp_path / "Dockerfile").write_text(
        "# syntax=docker/dockerfile:1\n"
        "ARG BASE=base\n"
        "from ${BASE} as build\n"
        "ARG NAME=x\n"
        'ENV GREETING="hello you" OTHER=$NAME\n'
        "WORKDIR /src\n"
        "COPY --chmod=600 *.txt ./\n"
        "RUN cat a.txt \\\n"
        "    # between\n"
        "    b.txt > ab && \\\n"
        '    echo "$GREETING $OTHER" >> ab\n'
        "FROM base\n"
        "COPY --from=build --chown=1000:1000 /src/ab /out/\n"
        "VOLUME /data\n"
        "USER 1000\n"
        "STOPSIGNAL SIGKILL\n"
        "HEALTHCHECK --interval=1s CMD test -f /out/ab\n"
        'ENTRYPOINT ["cat"]\n'
        'CMD ["/out/ab"]\n'
    )
    image = runtime.build(tmp_path, args={"NAME": "world"})
    assert runtime.run(image).text == "abhello you world\n"
    with runtime.spawn(image, ["600"], entrypoint=["sleep"]) as container:
        assert container.exec(["stat", "-c", "%a %u", "/out/ab"]).text == "644 1000\n"
        assert container.exec(["id", "-u"]).text == "1000\n"
        assert container.wait_ready(timeout=5).health == "healthy"


@pytest.mark.parametrize(
    ("dockerfile", "message"),
    [
        ("", "empty"),
        ("RUN true", "FROM"),
        ("FROM nowhere", "nowhere"),
        ("FROM base\nCOPY missing /x", "missing"),
        ("FROM base\nCOPY --from=other /x /x", "other"),
        ("FROM base\nRUN nosuch", "127"),
        ('FROM base\nRUN ["nosuch"]', "nosuch"),
        ("FROM base\nUSER nobody-known\nRUN true", "nobody-known"),
        ("FROM base\nFLY away", "FLY"),
    ],
)
def test_a_bad_dockerfile_is_a_failed_build(
    runtime: MemoryRuntime, tmp_path: Path, dockerfile: str, message: str
) -> None:
    """The error says what is wrong, and nothing is left."""
    (tmp_path / "Dockerfile").write_text(dockerfile + "\n")
    before = runtime.images()
    with pytest.raises(BuildFailed, match=message):
        runtime.build(tmp_path)
    assert runtime.images() == before
