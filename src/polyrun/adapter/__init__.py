"""What the author of an adapter uses; the two built-in adapters use nothing else.

Write an `Engine`, the primitives of one engine, and return ``EngineRuntime(engine)`` from the
function that the entry point names; `EngineRuntime` has the verbs. An engine that answers HTTP
finds the transport and the Docker-compatible API in `polyrun.adapter.http`.
"""

from __future__ import annotations

from polyrun.adapter._engine import (
    BuildRequest,
    ByteStream,
    ContainerDetail,
    Engine,
    ExecOutcome,
    ExecRequest,
    Execution,
    ImageDetail,
    LogLines,
    LogRequest,
    PathStat,
    ProcessStream,
    StreamName,
)
from polyrun.adapter._failures import start_failed, start_failure
from polyrun.adapter._naming import CALL_LABEL, IMAGE_LABEL, VERB_LABEL, familiar, require_sdk, shown
from polyrun.adapter._verbs import EngineRuntime

__all__ = [
    "CALL_LABEL",
    "IMAGE_LABEL",
    "VERB_LABEL",
    "BuildRequest",
    "ByteStream",
    "ContainerDetail",
    "Engine",
    "EngineRuntime",
    "ExecOutcome",
    "ExecRequest",
    "Execution",
    "ImageDetail",
    "LogLines",
    "LogRequest",
    "PathStat",
    "ProcessStream",
    "StreamName",
    "familiar",
    "require_sdk",
    "shown",
    "start_failed",
    "start_failure",
]
