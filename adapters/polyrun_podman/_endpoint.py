"""Where Podman is, who said so, and what to do when it cannot be used."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from attr import evolve

from polyrun import ConnectError, Finding, InvalidArgument, PermissionDenied, PolyrunError, Unsupported
from polyrun.adapter.http import Endpoint, Words, usual

if TYPE_CHECKING:
    from collections.abc import Mapping

    from polyrun import CheckReport
    from polyrun_podman._engine import PodmanEngine

_ROOT = "/run/podman/podman.sock"

_START = (
    "sudo systemctl enable --now podman.socket" if os.getuid() == 0 else "systemctl --user enable --now podman.socket"
)

WORDS = Words(
    name="podman",
    title="Podman",
    server="Libpod/",
    fixes={
        "socket-missing": f"{_START}; without systemd: podman system service --time=0 unix:///path/to.sock &",
        "daemon-down": f"{_START}; without systemd: podman system service --time=0 unix:///path/to.sock &",
        # There is no group that may use root's socket, so the way out is a service of one's own.
        "no-permission": "Use a service of your own: systemctl --user enable --now podman.socket",
        "hung": "Restart its service; its log: journalctl -u podman",
    },
)


def find(url: str | None) -> Endpoint:
    """Return where Podman's own rules lead: argument, environment, connections, then the usual sockets."""
    if url is not None:
        return _endpoint(url, "the url that was given")
    if host := os.environ.get("CONTAINER_HOST"):
        return _endpoint(host, "CONTAINER_HOST")
    if name := os.environ.get("CONTAINER_CONNECTION"):
        return _connection(name)
    runtime_dir = os.environ.get("XDG_RUNTIME_DIR")
    # Under su or cron the variable is not set, and the folder is there all the same.
    own = f"{runtime_dir or f'/run/user/{os.getuid()}'}/podman/podman.sock"
    return usual([_ROOT, own, f"/tmp/podman-run-{os.getuid()}/podman/podman.sock"])  # noqa: S108  # Podman's own


def _endpoint(url: str, chosen_by: str) -> Endpoint:
    scheme, separator, rest = url.partition("://")
    if scheme == "unix" and separator and rest.startswith("/"):
        return Endpoint(path=rest, chosen_by=chosen_by)
    if scheme in ("tcp", "ssh", "http", "https"):
        raise Unsupported(
            f"{scheme}:// addresses cannot be used yet ({chosen_by})",
            hint=f"Forward the socket with: ssh -N -L /tmp/podman.sock:{_ROOT} HOST",
        )
    raise InvalidArgument(f"not an address of Podman: {url!r} ({chosen_by})", hint=f'Write "unix://{_ROOT}".')


def _connection(name: str) -> Endpoint:
    # Read as the SDK reads them; only where one is asked for, since it takes a fifth of a second to import.
    from podman.domain.config import PodmanConfig  # pyright: ignore[reportMissingTypeStubs]

    try:
        services = cast("Mapping[str, Any]", PodmanConfig().services)  # the SDK has no types
    except Exception as error:  # the SDK raises whatever a broken file makes it stumble on
        raise ConnectError(
            f"Podman's connections cannot be read (CONTAINER_CONNECTION): {type(error).__name__}",
            engine="podman",
            hint="podman system connection list may say more.",
        ) from error
    if name not in services:
        raise ConnectError(
            f"there is no Podman connection {name!r} (CONTAINER_CONNECTION)",
            engine="podman",
            hint="podman system connection list shows those there are.",
        )
    return _endpoint(str(services[name].url.geturl()), f"CONTAINER_CONNECTION ({name})")


def is_local(path: str) -> bool:
    """Whether paths on this machine are likely to be the engine's as well."""
    return Path(path).parent.name == "podman"


def finish(report: CheckReport, engine: PodmanEngine) -> CheckReport:
    """Go on where the ping ended: with a real list call."""
    if not report.ok:
        return report
    try:
        engine.containers(all=False, labels={})
    except PermissionDenied as error:
        finding = Finding(code="list-refused", severity="error", summary=str(error))
        return evolve(report, ok=False, findings=(finding,))
    except PolyrunError as error:
        finding = Finding(code="list-failed", severity="error", summary=str(error))
        return evolve(report, ok=False, findings=(finding,))
    return report
