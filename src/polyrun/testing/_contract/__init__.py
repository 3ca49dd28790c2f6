"""The contract that every runtime keeps, as a pytest class to inherit.

    import pytest
    import polyrun
    from polyrun.testing import RuntimeContract

    class TestMyEngine(RuntimeContract):
        @pytest.fixture(scope="class")
        def runtime(self):
            with polyrun.connect("my-engine") as runtime:
                yield runtime

The tests make their images themselves, from a static busybox, and need no registry. They name what
they make uniquely and remove it, so they can run on an engine that is in use. Tests that take long
come last and carry the marker ``slow``, which is for the project to register. What an engine cannot
do according to its `polyrun.Capabilities` has to be refused with `polyrun.Unsupported`; nothing is
skipped. `ContractFixtures` has what a subclass may override: the image, say, where an engine cannot
build, or the folder that it shares with this machine.
"""

from __future__ import annotations

import pytest

_PARTS = (
    "_base",
    "engine",
    "exec",
    "files",
    "images",
    "lifecycle",
    "listing",
    "logs",
    "options",
    "run",
    "slow",
    "threads",
)
pytest.register_assert_rewrite(*(f"{__name__}.{part}" for part in _PARTS))

from polyrun.testing._contract.engine import EngineContract  # noqa: E402  # after the line above, as pytest asks
from polyrun.testing._contract.exec import ExecContract  # noqa: E402
from polyrun.testing._contract.files import GetContract, PutContract  # noqa: E402
from polyrun.testing._contract.images import BuildContract, ImageContract  # noqa: E402
from polyrun.testing._contract.lifecycle import LifecycleContract, WaitContract  # noqa: E402
from polyrun.testing._contract.listing import ListContract  # noqa: E402
from polyrun.testing._contract.logs import LogContract  # noqa: E402
from polyrun.testing._contract.options import CapabilityContract, OptionContract, PortContract  # noqa: E402
from polyrun.testing._contract.run import RunContract  # noqa: E402
from polyrun.testing._contract.slow import SlowContract  # noqa: E402
from polyrun.testing._contract.threads import ThreadContract  # noqa: E402

__all__ = ["RuntimeContract"]


# pytest runs the tests of the last base first.
class RuntimeContract(
    SlowContract,
    ThreadContract,
    PortContract,
    CapabilityContract,
    OptionContract,
    GetContract,
    PutContract,
    LogContract,
    ExecContract,
    WaitContract,
    LifecycleContract,
    ListContract,
    RunContract,
    ImageContract,
    BuildContract,
    EngineContract,
):
    """Everything a runtime promises. A subclass provides the fixture ``runtime``, of class scope or wider."""
