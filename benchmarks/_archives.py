"""How users of the SDKs make and read the tar archives that these take and return."""

from __future__ import annotations

import io
import tarfile
from typing import TYPE_CHECKING

from benchmarks._facts import FILE

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path


def tar_of(file: Path, name: str) -> bytes:
    """Return an archive of one file, as most answers on the web make it."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        archive.add(file, arcname=name)
    return buffer.getvalue()


def extract(stream: Iterable[bytes], folder: Path) -> Path:
    """Write an archive to a file, as docker-py's documentation does, and extract that."""
    saved = folder / "archive.tar"
    with saved.open("wb") as target:
        for chunk in stream:
            target.write(chunk)
    with tarfile.open(saved) as archive:
        archive.extractall(folder, filter="data")
    saved.unlink()
    return folder / FILE
