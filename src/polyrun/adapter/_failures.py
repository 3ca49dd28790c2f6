"""What a failed start means. The words are the OCI runtimes' own (runc, crun), the same below both engines."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from polyrun import StartFailed

if TYPE_CHECKING:
    from polyrun import StartFailure

# The first that fits wins: a folder that is not there reads like a command that is not. crun
# says "a command that was not found" of anything that is not there, so only the rest tells.
_REASONS: tuple[tuple[str, StartFailure, int], ...] = (
    (r"chdir|set in config.json|workdir \"|Cannot mkdir", "bad_workdir", 126),
    (r"unable to find (user|group)|no matching entries in (passwd|group) file", "bad_user", 126),
    (r"address already in use|port is already allocated", "port_in_use", 125),
    (r"memory limit|\bOOM\b|memory\.(limit|max)|pids\.max|cpu\.(cfs|max)", "limit", 125),
    (r"executable file (.* )?not found|exec(utable)?\b.*: no such file or directory", "command_not_found", 127),
    (r"(exec.*|executable): (permission denied|operation not permitted)|exec format error", "not_executable", 126),
)


def start_failure(message: str) -> tuple[StartFailure, int]:
    """Return the reason and the exit code for an engine's message about a failed start."""
    for pattern, reason, code in _REASONS:
        if re.search(pattern, message, re.IGNORECASE):
            return reason, code
    return "other", 125


_HINTS: dict[StartFailure, str] = {
    "command_not_found": "Check the command, and that it is on the PATH of the image.",
    "not_executable": "Check that it is a file with mode +x, for this platform.",
    "bad_user": "Use a user of the image, or a numeric id.",
    "bad_workdir": "The workdir must be a folder.",
    "port_in_use": "Choose another host port, or none: ports=[80] lets the engine choose.",
    "limit": "Raise the limit.",
    "other": "",
}


def start_failed(what: str, message: str, engine: str) -> StartFailed:
    """Return the error for a container that did not start."""
    reason, code = start_failure(message)
    return StartFailed(
        f"{what} did not start: {message}", reason=reason, exit_code=code, engine=engine, hint=_HINTS[reason]
    )
