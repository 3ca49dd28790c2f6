"""Where Docker is, who said so, and what to do when it cannot be used."""

from __future__ import annotations

import grp
import json
import os
import pwd
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from attr import evolve

from polyrun import ConnectError, Finding, InvalidArgument, PermissionDenied, PolyrunError, Unsupported
from polyrun.adapter.http import Endpoint, Words, usual

if TYPE_CHECKING:
    from collections.abc import Mapping

    from docker.context import Context

    from polyrun import CheckReport
    from polyrun_docker._engine import DockerEngine

_DEFAULT = "/var/run/docker.sock"

WORDS = Words(
    name="docker",
    title="Docker",
    server="Docker/",
    fixes={
        "socket-missing": "Install Docker, or start it: sudo systemctl enable --now docker"
        " (rootless: systemctl --user start docker)",
        "daemon-down": "sudo systemctl start docker; its log: journalctl -u docker",
        "hung": "Its log may say why: journalctl -u docker",
    },
)


def find(url: str | None) -> Endpoint:
    """Return where Docker's own rules lead: argument, environment, context, then the usual sockets."""
    if url is not None:
        return _endpoint(url, "the url that was given")
    if host := os.environ.get("DOCKER_HOST"):
        return _endpoint(host, "DOCKER_HOST")
    context = os.environ.get("DOCKER_CONTEXT")
    if context:
        return _context(context, "DOCKER_CONTEXT")
    current = _config().get("currentContext")
    if isinstance(current, str) and current:
        return _context(current, "the current Docker context")
    runtime_dir = os.environ.get("XDG_RUNTIME_DIR")
    rootless = [f"{runtime_dir}/docker.sock"] if runtime_dir else []
    return usual([_DEFAULT, *rootless, _in_home(".docker/run/docker.sock")])


def _endpoint(url: str, chosen_by: str) -> Endpoint:
    scheme, separator, rest = url.partition("://")
    if scheme == "unix" and separator and rest.startswith("/"):
        return Endpoint(path=rest, chosen_by=chosen_by)
    if scheme in ("tcp", "ssh", "http", "https"):
        raise Unsupported(
            f"{scheme}:// addresses cannot be used yet ({chosen_by})",
            hint="Forward the socket with: ssh -N -L /tmp/docker.sock:/var/run/docker.sock HOST",
        )
    raise InvalidArgument(
        f"not an address of Docker: {url!r} ({chosen_by})", hint='Write "unix:///var/run/docker.sock".'
    )


def _context(name: str, chosen_by: str) -> Endpoint:
    if name == "default":
        return Endpoint(path=_DEFAULT, chosen_by=chosen_by)
    # The SDK takes a fifth of a second to import, so only where a context asks for it.
    from docker.context import ContextAPI

    try:
        # Typed as always found; it is None for a name that is not there.
        found = cast("Context | None", ContextAPI.get_context(name))
        host = found.Host if found is not None else None
    except Exception as error:  # the SDK raises whatever a broken file makes it stumble on
        raise ConnectError(
            f"the Docker context {name!r} cannot be read ({chosen_by}): {type(error).__name__}",
            engine="docker",
            hint=f"docker context inspect {name} may say more.",
        ) from error
    if not host:
        raise ConnectError(
            f"there is no Docker context {name!r} ({chosen_by})",
            engine="docker",
            hint="docker context ls shows those there are.",
        )
    return _endpoint(host, f"{chosen_by} ({name})")


def _in_home(path: str) -> str:
    # Not by Path.home(), which raises for a user without a home.
    return os.path.expanduser(f"~/{path}")  # noqa: PTH111


def _config() -> Mapping[str, object]:
    folder = os.environ.get("DOCKER_CONFIG") or _in_home(".docker")
    try:
        found: object = json.loads(Path(folder, "config.json").read_bytes())
    except (OSError, ValueError):
        return {}
    return cast("Mapping[str, object]", found) if isinstance(found, dict) else {}


def credentials(registry: str) -> Mapping[str, str] | None:
    """Return the user's stored credentials for *registry*, if there are any."""
    if not _config().keys() & {"auths", "credHelpers", "credsStore"}:
        return None
    from docker import auth  # a fifth of a second, and rarely needed

    try:
        found = cast("Any", auth).load_config().resolve_authconfig(registry)
    except Exception as error:  # noqa: BLE001  # of the SDK, the file, or the helper
        # The helper's own words may hold what it holds, so they are not in the chain either.
        raise ConnectError(
            f"the credentials for {registry} cannot be read: {type(error).__name__}",
            engine="docker",
            hint=f"Try: docker login {registry}",
        ) from None
    return {str(key).lower(): str(value) for key, value in found.items()} if found else None


def explain(report: CheckReport) -> CheckReport:
    """Add what a user without permission has to do; it depends on the socket's group and theirs."""
    if not report.findings or report.findings[0].code != "no-permission":
        return report
    finding = report.findings[0]
    path = report.endpoint.removeprefix("unix://")
    try:
        gid = os.stat(path).st_gid  # noqa: PTH116  # alike in the check
    except OSError:
        return evolve(report, findings=(evolve(finding, fix="Ask who administers this machine."),))
    group, user = _group(gid), _user()
    if gid in (os.getgid(), *os.getgroups()):
        fix = f"The socket's mode does not let its group {group} in: ls -l {path}"
    elif user in _members(gid):
        fix = f"You are in the group {group}, but not yet here: log in again, or for this shell: newgrp {group}"
    else:
        # -G without -a would take the user out of every other group.
        fix = (
            f'sudo usermod -aG {group} "$USER"  and log in again. '
            f"Members of {group} can become root; rootless Docker avoids that."
        )
    return evolve(report, findings=(evolve(finding, fix=fix),))


def finish(report: CheckReport, engine: DockerEngine) -> CheckReport:
    """Go on where the ping ended: with a real list call."""
    report = explain(report)
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


def _group(gid: int) -> str:
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)


def _members(gid: int) -> list[str]:
    try:
        return grp.getgrgid(gid).gr_mem
    except KeyError:
        return []


def _user() -> str:
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return str(os.getuid())
