"""Build an image, run it, call it over HTTP, exec into it, list it, remove it: the same lines on each engine.

python examples/quickstart.py             on the first engine that works
python examples/quickstart.py podman      on this one
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.request import urlopen

import polyrun

TAG, LABELS = "polyrun-quickstart", {"example": "quickstart"}
SERVER = 'COPY index.html /www/\nCMD ["httpd", "-f", "-p", "80", "-h", "/www"]\n'


def write_context(folder: Path) -> None:
    """Write what is built: a page, and a server for it out of this machine's busybox or the registry's."""
    (folder / "index.html").write_text("Hello from a container.\n")
    base = "FROM busybox\n"
    busybox = shutil.which("busybox")
    # An image from scratch has no loader, so this takes a busybox that needs none.
    if busybox and b"/ld-" not in Path(busybox).read_bytes()[:4096]:
        shutil.copy(busybox, folder)
        base = 'FROM scratch\nCOPY busybox /bin/\nRUN ["/bin/busybox", "--install", "-s", "/bin"]\n'
    (folder / "Dockerfile").write_text(base + SERVER)


with polyrun.connect(*sys.argv[1:2]) as rt, TemporaryDirectory() as folder:
    print("engine  ", rt.name, rt.version().version)

    write_context(Path(folder))
    image = rt.build(folder, tag=TAG, labels=LABELS)
    print("built   ", image)
    print("ran     ", rt.run(TAG, ["echo", "a container that came and went"]).text.strip())

    with rt.spawn(TAG, ports=[80], labels=LABELS) as web:
        host, port = web.wait_ready(probe=polyrun.HttpProbe("/")).address(80)
        with urlopen(f"http://{host}:{port}/") as reply:
            print("called  ", reply.status, reply.read().decode().strip())

        print("inside  ", web.exec(["ls", "/www"], check=True).text.strip())

        for container in rt.ps(labels=LABELS):
            print("listed  ", container.name, container.image, container.state, *container.ports)

    rt.rmi(image)
    containers, images = rt.ps(all=True, labels=LABELS), rt.images(labels=LABELS)
    print("removed;", len(containers), "containers and", len(images), "images are left")
