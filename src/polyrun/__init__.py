"""One typed API for containers: on Docker, on Podman, or on several hosts that look like one.

A first program:

    import polyrun

    with polyrun.connect() as rt:
        print(rt.run("alpine", ["echo", "hello"]).text)
"""

from __future__ import annotations

from polyrun._errors import (
    BuildFailed,
    CommandFailed,
    Conflict,
    ConnectError,
    ContainerNotFound,
    DeadlineExceeded,
    EngineError,
    ImageNotFound,
    InUse,
    InvalidArgument,
    Locked,
    NetworkNotFound,
    NoRuntime,
    NotFound,
    NotRunning,
    PartialFailure,
    PermissionDenied,
    PolyrunError,
    PullFailed,
    StartFailed,
    StartFailure,
    Unplaceable,
    Unsupported,
    VolumeNotFound,
)
from polyrun._models import (
    Capabilities,
    CheckReport,
    Container,
    ContainerLike,
    ContainerOptions,
    ContainerSpec,
    EngineVersion,
    ExecResult,
    Finding,
    Health,
    HealthCheck,
    Image,
    Json,
    Limits,
    Listing,
    LogChunk,
    Mount,
    MountLike,
    Port,
    PortLike,
    Progress,
    RunResult,
    RuntimeInfo,
    Severity,
    State,
    Unreachable,
)
from polyrun._parse import Reference
from polyrun._probes import HttpProbe, LogProbe, TcpProbe
from polyrun._registry import Connect, check, connect, runtimes
from polyrun._runtime import LogStream, Probe, Runtime

__all__ = [
    "BuildFailed",
    "Capabilities",
    "CheckReport",
    "CommandFailed",
    "Conflict",
    "Connect",
    "ConnectError",
    "Container",
    "ContainerLike",
    "ContainerNotFound",
    "ContainerOptions",
    "ContainerSpec",
    "DeadlineExceeded",
    "EngineError",
    "EngineVersion",
    "ExecResult",
    "Finding",
    "Health",
    "HealthCheck",
    "HttpProbe",
    "Image",
    "ImageNotFound",
    "InUse",
    "InvalidArgument",
    "Json",
    "Limits",
    "Listing",
    "Locked",
    "LogChunk",
    "LogProbe",
    "LogStream",
    "Mount",
    "MountLike",
    "NetworkNotFound",
    "NoRuntime",
    "NotFound",
    "NotRunning",
    "PartialFailure",
    "PermissionDenied",
    "PolyrunError",
    "Port",
    "PortLike",
    "Probe",
    "Progress",
    "PullFailed",
    "Reference",
    "RunResult",
    "Runtime",
    "RuntimeInfo",
    "Severity",
    "StartFailed",
    "StartFailure",
    "State",
    "TcpProbe",
    "Unplaceable",
    "Unreachable",
    "Unsupported",
    "VolumeNotFound",
    "check",
    "connect",
    "runtimes",
]

for _name in __all__:
    _public = globals()[_name]
    if getattr(_public, "__module__", "").startswith("polyrun._"):
        # A traceback and a repr say where users find it, not where it is written.
        _public.__module__ = "polyrun"
