"""Finding runtimes: entry points, looked up by name and loaded at first use."""

from __future__ import annotations

import os
import sys
from functools import lru_cache
from typing import TYPE_CHECKING, Protocol, cast

from polyrun._errors import ConnectError, InvalidArgument, NoRuntime, PolyrunError
from polyrun._models import CheckReport, Finding, RuntimeInfo

if TYPE_CHECKING:
    from collections.abc import Mapping
    from importlib.metadata import EntryPoint

    from polyrun._runtime import Runtime

GROUP = "polyrun.runtimes"
_VARIABLE = "POLYRUN_RUNTIME"

# The one that runs nothing is never chosen unasked.
_ON_REQUEST = frozenset({"memory"})
_FIRST = ("docker", "podman")


class Connect(Protocol):
    """**Protocol** What an entry point of the group ``polyrun.runtimes`` names."""

    def __call__(self, url: str | None = None, timeout: float = 60.0) -> Runtime:
        """Return a runtime at *url*, or where its engine's own rules lead."""
        ...


def connect(runtime: str | None = None, *, url: str | None = None, timeout: float = 60.0) -> Runtime:
    """Return a runtime that answers.

    Args:
        runtime: an engine's name (``"docker"``, ``"podman"``), a URL that begins with one
            (``"docker+unix:///var/run/docker.sock"``), or nothing: ``$POLYRUN_RUNTIME``, else the
            first engine that works.
        url: where the engine is, when *runtime* is its name: ``"unix:///run/podman/podman.sock"``.
        timeout: seconds after which a request without an answer is `DeadlineExceeded`.

    Raises:
        NoRuntime: there is no such engine, its SDK is not installed, or none works; the text
            lists what was tried and what to do.
        ConnectError: the engine that was asked for does not answer.
        PermissionDenied: it is there, and refuses this user.
    """
    if not 0 < timeout < float("inf"):
        raise InvalidArgument(f"a timeout is seconds, more than 0: {timeout!r}")
    if runtime is None and url is None and (chosen := os.environ.get(_VARIABLE)):
        try:
            return connect(chosen, timeout=timeout)
        except PolyrunError as error:
            error.hint = f"{error.hint} ({_VARIABLE} says {chosen!r}.)".strip()
            raise
    name, address = _split(runtime, url)
    if name is not None:
        return _load(name)(address, timeout)
    if address is not None:
        raise InvalidArgument(
            f"which engine is at {address}?",
            hint=f'Write connect("docker", url="{address}"), or podman, or "docker+{address}".',
        )
    return _first(timeout)


def runtimes() -> tuple[RuntimeInfo, ...]:
    """Return every runtime that is known: whether it is installed, whether it is usable now, and why not."""
    found: list[RuntimeInfo] = []
    for name in sorted(_entry_points(), key=_rank):
        try:
            with _load(name)(None, _PROBE) as runtime:
                found.append(RuntimeInfo(name=name, installed=True, usable=True, report=runtime.check()))
        except PolyrunError as error:
            report: CheckReport | None = getattr(error, "report", None)
            installed = report is None or all(finding.code != "sdk-missing" for finding in report.findings)
            found.append(RuntimeInfo(name=name, installed=installed, usable=False, reason=str(error), report=report))
        except Exception as error:  # noqa: BLE001  # somebody's broken adapter is no reason to hide the others
            found.append(RuntimeInfo(name=name, installed=True, usable=False, reason=_broken(error)))
    return tuple(found)


def check(runtime: str | None = None) -> tuple[CheckReport, ...]:
    """Say of one runtime, or of every engine that is known, whether it can be used; raise for nothing.

    The runtime in memory is an engine only when it is asked for by its name.
    """
    if runtime is None:
        engines = (info for info in runtimes() if info.name not in _ON_REQUEST)
        return tuple(info.report or _report(info.name, info.reason) for info in engines)
    try:
        with connect(runtime, timeout=_PROBE) as found:
            return (found.check(),)
    except PolyrunError as error:
        report: CheckReport | None = getattr(error, "report", None)
        return (report or _report(runtime, str(error)),)
    except Exception as error:  # noqa: BLE001  # as in runtimes()
        return (_report(runtime, _broken(error)),)


_PROBE = 5.0
"""Seconds for an engine to answer when it is only asked whether it is there."""


def _split(runtime: str | None, url: str | None) -> tuple[str | None, str | None]:
    """Return the engine's name and the URL without it."""
    for text in (runtime, url):
        if text is not None and not text.strip():
            raise InvalidArgument("an empty name of a runtime", hint="Leave it out for the first that works.")
    if runtime is not None and "://" in runtime:
        if url is not None:
            raise InvalidArgument(f"two addresses: {runtime} and {url}")
        runtime, url = None, runtime
    if url is not None and "+" in url.partition("://")[0]:
        prefix, _, address = url.partition("+")
        if runtime not in (None, prefix):
            raise InvalidArgument(f"two engines: {runtime} and {prefix}")
        return prefix, address
    if url is not None and url.startswith("memory://"):
        return "memory", url
    return runtime, url


def _first(timeout: float) -> Runtime:
    tried: list[str] = []
    report: CheckReport | None = None
    for name in sorted(set(_entry_points()) - _ON_REQUEST, key=_rank):
        try:
            return _connect_or_other(name, timeout)
        except PolyrunError as error:
            tried.append(f"{name}: {error}")
            report = report or getattr(error, "report", None)
        except Exception as error:  # noqa: BLE001  # as in runtimes()
            tried.append(f"{name}: {_broken(error)}")
    raise NoRuntime(
        "no container engine can be used" + "".join("\n- " + "\n    ".join(line.splitlines()) for line in tried),
        report=report,
        hint='Install Docker or Podman, or name one: connect("docker+unix:///path/to.sock").',
    )


def _connect_or_other(name: str, timeout: float) -> Runtime:
    """Connect; where ``DOCKER_HOST`` leads to Podman, as many have it, return that as what it is."""
    try:
        return _load(name)(None, timeout)
    except ConnectError as error:
        for finding in error.report.findings if error.report else ():
            other = finding.code.removeprefix("other-engine-")
            if error.report and finding.code != other and other in _entry_points():
                return _load(other)(error.report.endpoint, timeout)
        raise


def _entry_points() -> Mapping[str, EntryPoint]:
    return _entry_points_of(tuple(sys.path))


@lru_cache(maxsize=4)
def _entry_points_of(_path: tuple[str, ...]) -> Mapping[str, EntryPoint]:
    # Only here, and once: reading the metadata of every distribution costs more than the rest.
    from importlib.metadata import entry_points

    return {point.name: point for point in entry_points(group=GROUP)}


def _rank(name: str) -> tuple[int, str]:
    return (_FIRST.index(name) if name in _FIRST else len(_FIRST), name)


def _load(name: str) -> Connect:
    points = _entry_points()
    if name not in points:
        known = ", ".join(sorted(points, key=_rank)) or "none is installed"
        raise NoRuntime(
            f"no runtime is called {name!r}",
            hint=f"There is: {known}. Others come as packages with an entry point in the group {GROUP}.",
        )
    return cast("Connect", points[name].load())


def _broken(error: Exception) -> str:
    return f"its adapter is broken: {type(error).__name__}: {error}"


def _report(name: str, reason: str) -> CheckReport:
    finding = Finding(code="not-usable", severity="error", summary=reason)
    return CheckReport(ok=False, engine=name, endpoint="", chosen_by="", findings=(finding,))
