"""For engines that answer HTTP: the transport, and the Docker-compatible API, which both engines speak."""

from __future__ import annotations

from polyrun.adapter.http._check import PROBE, Endpoint, Words, diagnosed, failure, probe, usual
from polyrun.adapter.http._compat import CompatEngine, Failure, HttpExecution, reason
from polyrun.adapter.http._convert import (
    health,
    image_name,
    inspected_image,
    label_filters,
    labels,
    listed_image,
    made,
    merged,
    moment,
    ports,
    reading,
    state,
)
from polyrun.adapter.http._frames import Frames, HttpLogs, Output, open_output
from polyrun.adapter.http._transport import HttpClient, HttpStream, Reply, segment, unix_pool

__all__ = [
    "PROBE",
    "CompatEngine",
    "Endpoint",
    "Failure",
    "Frames",
    "HttpClient",
    "HttpExecution",
    "HttpLogs",
    "HttpStream",
    "Output",
    "Reply",
    "Words",
    "diagnosed",
    "failure",
    "health",
    "image_name",
    "inspected_image",
    "label_filters",
    "labels",
    "listed_image",
    "made",
    "merged",
    "moment",
    "open_output",
    "ports",
    "probe",
    "reading",
    "reason",
    "segment",
    "state",
    "unix_pool",
    "usual",
]
