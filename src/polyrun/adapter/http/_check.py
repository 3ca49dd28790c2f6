"""Whether an engine can be reached over a unix socket, and why not. Asks, and changes nothing."""

from __future__ import annotations

import errno
import http.client
import os
import stat
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from attr import evolve, field, frozen

from polyrun import CheckReport, ConnectError, Finding, NoRuntime, PermissionDenied, PolyrunError
from polyrun.adapter.http._transport import open_unix

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

PROBE = 2.0
"""Seconds that one probe may take."""


@frozen(kw_only=True)
class Endpoint:
    """Where an engine is, and the rule that chose it: ``"DOCKER_HOST"``, ``"default socket"``."""

    path: str
    chosen_by: str

    @property
    def url(self) -> str:
        """The endpoint as a URL."""
        return f"unix://{self.path}"


def usual(paths: Sequence[str]) -> Endpoint:
    """Return the first of an engine's usual sockets that this user may use, else that is there, else the first."""
    there = [path for path in paths if _is_there(path)]
    usable = [path for path in there if os.access(path, os.R_OK | os.W_OK)]
    return Endpoint(path=(usable or there or list(paths))[0], chosen_by="the usual places")


def _is_there(path: str) -> bool:
    try:
        return Path(path).exists()
    except OSError:  # below a folder that is closed to this user
        return False


@frozen(kw_only=True)
class Words:
    """How an engine is called and put right, for the findings that are the same for all.

    *fixes* has what to type for ``socket-missing``, ``daemon-down``, ``no-permission`` and ``hung``.
    """

    name: str
    title: str
    server: str
    """How its ``Server`` header begins."""
    fixes: Mapping[str, str] = field(factory=dict[str, str])


def probe(endpoint: Endpoint, words: Words, timeout: float = PROBE) -> tuple[CheckReport, Mapping[str, str]]:
    """Return a report of the endpoint, and the headers of its answer to a ping if there was one."""
    report = CheckReport(ok=False, engine=words.name, endpoint=endpoint.url, chosen_by=endpoint.chosen_by)

    def bad(code: str, summary: str, detail: str = "", fix: str | None = None) -> tuple[CheckReport, Mapping[str, str]]:
        finding = Finding(
            code=code,
            severity="error",
            summary=summary,
            detail=detail,
            fix=words.fixes.get(code, "") if fix is None else fix,
        )
        return evolve(report, findings=(finding,)), {}

    path = endpoint.path
    try:
        if not stat.S_ISSOCK(os.stat(path).st_mode):  # noqa: PTH116  # the errno tells more than Path's booleans
            return bad(
                "not-a-socket",
                f"{path} is not a socket",
                fix=f"{endpoint.chosen_by} leads to a file; let it lead to {words.title}'s socket.",
            )
        sock = open_unix(path, timeout)
    except OSError as error:
        return bad(*_unreachable(path, error, words))
    try:
        connection = http.client.HTTPConnection("localhost", timeout=timeout)
        connection.sock = sock
        connection.request("GET", "/_ping")
        response = connection.getresponse()
        response.read()
    except TimeoutError:
        return bad("hung", f"{words.title} accepts connections at {path} and does not answer")
    except (OSError, http.client.HTTPException) as error:
        return bad("not-an-engine", f"what answers at {path} is not a container engine", detail=str(error))
    finally:
        sock.close()
    headers = {name.lower(): value for name, value in response.getheaders()}
    server = headers.get("server", "")
    if not server.startswith(words.server):
        other = {"Libpod": "podman", "Docker": "docker"}.get(server.partition("/")[0])
        if other is None:
            return bad("not-an-engine", f"what answers at {path} is not {words.title} (Server: {server or 'none'})")
        return bad(
            f"other-engine-{other}",
            f"{other.title()} answers at {path}, not {words.title}",
            fix=f'connect("{other}", url="{endpoint.url}")',
        )
    return evolve(report, ok=True, version=server.partition("/")[2].partition(" ")[0]), headers


def diagnosed(endpoint: Endpoint, words: Words, cause: BaseException) -> CheckReport:
    """Return a report after *cause*; one that waited too long for an answer is not made to wait again."""
    if not isinstance(cause, TimeoutError):
        return probe(endpoint, words)[0]
    finding = Finding(
        code="hung",
        severity="error",
        summary=f"{words.title} accepts connections at {endpoint.path} and does not answer",
        fix=words.fixes.get("hung", ""),
    )
    return CheckReport(
        ok=False, engine=words.name, endpoint=endpoint.url, chosen_by=endpoint.chosen_by, findings=(finding,)
    )


def _unreachable(path: str, error: OSError, words: Words) -> tuple[str, str, str]:
    if error.errno in (errno.ENOENT, errno.ENOTDIR):
        return "socket-missing", f"there is no {path}", f"{words.title} is not installed here, or does not run."
    if error.errno == errno.ECONNREFUSED:
        return "daemon-down", f"nothing listens at {path}", f"{words.title} made the socket and does not run any more."
    if error.errno in (errno.EACCES, errno.EPERM):
        return "no-permission", f"this user may not use {path}", _closed_parent(path)
    if isinstance(error, TimeoutError) or error.errno == errno.EAGAIN:
        return "hung", f"{words.title} does not accept connections at {path}", ""
    return "unreachable", f"cannot connect to {path}: {error.strerror or error}", ""


def _closed_parent(path: str) -> str:
    for parent in reversed(Path(path).parents):
        with suppress(OSError):
            if not os.access(parent, os.X_OK):
                return f"The folder {parent} is closed to this user."
    return ""


def failure(report: CheckReport, cause: BaseException | None = None) -> PolyrunError:
    """Return the error for a report that is not ok; for one that is, the engine broke off: *cause*."""
    where = f"{report.engine}+{report.endpoint}"
    chosen = f"{report.endpoint} was chosen by {report.chosen_by}"
    if not report.findings:
        return ConnectError(
            f"the connection was broken off: {_text(cause)}",
            report=report,
            engine=where,
            hint="The engine answers again now; the call may or may not have been carried out.",
        )
    finding = report.findings[0]
    kinds: dict[str, type[NoRuntime | PermissionDenied]] = {
        "no-permission": PermissionDenied,
        "socket-missing": NoRuntime,
    }
    kind = kinds.get(finding.code, ConnectError)
    detail = f" {finding.detail}" if finding.detail else ""
    fix = f"\n  {finding.fix}" if finding.fix else ""
    return kind(f"{finding.summary}.{detail}", report=report, engine=where, hint=f"({chosen}.){fix}")


def _text(cause: BaseException | None) -> str:
    return str(cause) or type(cause).__name__
