"""What can go wrong, in words that hold for every engine.

    PolyrunError
    ├── NoRuntime            no engine is installed, or none that can be used     .report
    ├── ConnectError         the engine does not answer, or not as an engine      .report
    ├── PermissionDenied     the engine is there and refuses this user            .report
    ├── NotFound             a path in a container, or one of
    │   ├── ContainerNotFound
    │   ├── ImageNotFound
    │   ├── NetworkNotFound
    │   └── VolumeNotFound
    ├── Conflict             a name is taken, or the state does not allow it
    ├── InUse                something else still needs it
    ├── NotRunning           the container has no running process
    ├── InvalidArgument      refused before anything was sent, or by the engine   (a ValueError)
    ├── StartFailed          the container's process could not be started         .reason .exit_code
    ├── BuildFailed          a step of a build failed                             .step .output
    ├── PullFailed           an image could not be fetched
    ├── CommandFailed        the command ran and its exit code was not 0          .result
    ├── DeadlineExceeded     the time was up; the work was ended as well          (a TimeoutError)
    ├── Unsupported          this engine cannot do it; nothing was sent           .capability
    ├── EngineError          the engine failed in a way that has no better name   .status
    ├── PartialFailure       some hosts did it, some did not                      .done .failed .unknown
    ├── Unplaceable          no host of the cluster can take it
    └── Locked               somebody else is deploying

A message names what was asked, the engine or host that was asked, and the next step. It never
holds an environment value, a build argument, a credential or a key.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping

    from polyrun._models import CheckReport, ExecResult, RunResult

StartFailure = Literal[
    "command_not_found", "not_executable", "bad_user", "bad_workdir", "port_in_use", "limit", "other"
]
"""Why a container's process could not be started."""


class PolyrunError(Exception):
    """The base of every error that polyrun raises.

    *engine* names the engine or host that was asked, *hint* is the next step; both are part of
    the text. All details are attributes, so an error survives pickling.
    """

    def __init__(self, message: str, *, engine: str = "", hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.engine = engine
        self.hint = hint

    def __str__(self) -> str:
        where = f" [{self.engine}]" if self.engine else ""
        step = f"\n  {self.hint}" if self.hint else ""
        return f"{self.message}{where}{step}"


class _Unreachable(PolyrunError):
    def __init__(self, message: str, *, report: CheckReport | None = None, engine: str = "", hint: str = "") -> None:
        super().__init__(message, engine=engine, hint=hint)
        self.report = report


class NoRuntime(_Unreachable):
    """No engine is installed, or none can be used; the text lists what was tried."""


class ConnectError(_Unreachable):
    """The engine does not answer, stopped answering, or what answers is not an engine."""


class PermissionDenied(_Unreachable):
    """The engine is there and refuses this user."""


class NotFound(PolyrunError):
    """What was named does not exist; for a path in a container this class itself is raised."""


class ContainerNotFound(NotFound):
    """No container has this name or id."""


class ImageNotFound(NotFound):
    """No image on this engine has this name or id."""


class NetworkNotFound(NotFound):
    """No network has this name."""


class VolumeNotFound(NotFound):
    """No volume has this name."""


class Conflict(PolyrunError):
    """The name is taken, or the container's state does not allow what was asked."""


class InUse(PolyrunError):
    """Something that exists still needs it, as a container needs its image."""


class NotRunning(PolyrunError):
    """The container has no running process (it was never started, is paused, or has exited)."""


class InvalidArgument(PolyrunError, ValueError):
    """An argument cannot be used; the text shows the forms that can."""


class StartFailed(PolyrunError):
    """The container's process could not be started.

    *exit_code* is what a shell would give: 127 for a command that is not there, 126 for one that
    cannot be executed, 125 where there was no attempt to execute it.
    """

    def __init__(
        self,
        message: str,
        *,
        reason: StartFailure = "other",
        exit_code: int = 125,
        engine: str = "",
        hint: str = "",
    ) -> None:
        super().__init__(message, engine=engine, hint=hint)
        self.reason: StartFailure = reason
        self.exit_code = exit_code


class BuildFailed(PolyrunError):
    """A build failed: *step* is the instruction that did, *output* the last lines before it."""

    def __init__(
        self,
        message: str,
        *,
        step: str | None = None,
        output: tuple[str, ...] = (),
        engine: str = "",
        hint: str = "",
    ) -> None:
        super().__init__(message, engine=engine, hint=hint)
        self.step = step
        self.output = output

    def __str__(self) -> str:
        lines = [super().__str__()]
        if self.step:
            lines.append(f"  step: {self.step}")
        lines.extend(f"  | {line}" for line in self.output)
        return "\n".join(lines)


class PullFailed(PolyrunError):
    """An image could not be fetched from its registry."""


class CommandFailed(PolyrunError):
    """A command ran and its exit code was not 0; *result* has the code and the output."""

    def __init__(
        self, message: str, *, result: RunResult | ExecResult | None = None, engine: str = "", hint: str = ""
    ) -> None:
        super().__init__(message, engine=engine, hint=hint)
        self.result = result


class DeadlineExceeded(PolyrunError, TimeoutError):
    """The time was up. The work was ended as well as the wait, or the text says what still runs."""


class Unsupported(PolyrunError):
    """This engine cannot do what was asked; *capability* is the field of `Capabilities` that says so."""

    def __init__(self, message: str, *, capability: str = "", engine: str = "", hint: str = "") -> None:
        super().__init__(message, engine=engine, hint=hint)
        self.capability = capability


class EngineError(PolyrunError):
    """The engine failed in a way that has no better name; *status* is its HTTP status, if it had one."""

    def __init__(self, message: str, *, status: int | None = None, engine: str = "", hint: str = "") -> None:
        super().__init__(message, engine=engine, hint=hint)
        self.status = status


class PartialFailure(PolyrunError):
    """A write reached some hosts only: the names of those that *done* it, *failed*, and the *unknown*."""

    def __init__(
        self,
        message: str,
        *,
        done: tuple[str, ...] = (),
        failed: Mapping[str, PolyrunError] | None = None,
        unknown: tuple[str, ...] = (),
        engine: str = "",
        hint: str = "",
    ) -> None:
        super().__init__(message, engine=engine, hint=hint)
        self.done = done
        self.failed: Mapping[str, PolyrunError] = failed or {}
        self.unknown = unknown


class Unplaceable(PolyrunError):
    """No host of the cluster can take what was asked."""


class Locked(PolyrunError):
    """Somebody else is deploying; the text says who and since when."""
