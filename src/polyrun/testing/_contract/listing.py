"""The list of containers."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import TYPE_CHECKING

from attr import evolve

from polyrun import HealthCheck, Listing
from polyrun.testing._contract._base import IDLE, ContractFixtures, paused, sh, unique, write_tree

if TYPE_CHECKING:
    from pathlib import Path

    from polyrun import Container, Runtime

_ANY_TIME = datetime(2000, 1, 1, tzinfo=timezone.utc)


def timeless(container: Container) -> Container:
    """Return *container* without its times, which a list need not tell exactly."""
    return evolve(container, created=_ANY_TIME, started=None, finished=None)


class ListContract(ContractFixtures):
    """`ps`."""

    def test_only_running_containers_are_listed(self, runtime: Runtime, image: str) -> None:
        """Running and paused ones are; *all* lists the created and the exited ones too."""
        label = {"mark": unique()}
        with (
            runtime.create(image, labels=label) as created,
            runtime.spawn(image, IDLE, labels=label) as running,
            runtime.spawn(image, IDLE, labels=label) as frozen,
            runtime.spawn(image, sh("exit 3"), labels=label) as exited,
        ):
            state = "paused" if paused(frozen) else "running"
            exited.wait(timeout=20)
            assert {found.id for found in runtime.ps(labels=label)} == {running.id, frozen.id}
            found = {found.id: found for found in runtime.ps(all=True, labels=label)}
            states = [found[container.id].state for container in (created, running, frozen, exited)]
            assert states == ["created", "running", state, "exited"]

    def test_a_list_says_what_an_inspection_says(self, runtime: Runtime, image: str) -> None:
        """But for the times, the containers of a list equal those that are asked for one by one, in every state."""
        label = {"mark": unique(), "größe": "a=b, 'c' 世界"}
        check = HealthCheck(command=["true"], interval="1s")
        with (
            runtime.create(image, labels=label),
            runtime.spawn(image, IDLE, labels=label),
            runtime.spawn(image, IDLE, labels=label) as frozen,
            runtime.spawn(image, sh("exit 3"), labels=label) as exited,
            runtime.spawn(image, IDLE, labels=label, health=check) as checked,
        ):
            paused(frozen)
            exited.wait(timeout=20)
            checked.wait_ready(timeout=30)
            listed = runtime.ps(all=True, labels=label)
            assert len(listed) == 5
            for container in listed:
                asked = runtime.inspect(container)
                assert timeless(container) == timeless(asked)
                assert abs((container.created - asked.created).total_seconds()) <= 1
                assert container.created.utcoffset() == asked.created.utcoffset()
            assert {container.health for container in listed} == {None, "healthy"}
            assert {container.exit_code for container in listed} == {None, 3}
            assert runtime.inspect(exited).labels["größe"] == "a=b, 'c' 世界"

    def test_containers_are_listed_newest_first(self, runtime: Runtime, image: str) -> None:
        """The order is that of their creation, turned around."""
        label = {"mark": unique()}
        with (
            runtime.create(image, labels=label) as first,
            runtime.create(image, labels=label) as second,
            runtime.create(image, labels=label) as third,
        ):
            listed = runtime.ps(all=True, labels=label)
            assert [found.id for found in listed] == [third.id, second.id, first.id]

    def test_a_name_is_exact(self, runtime: Runtime, image: str, name: str) -> None:
        """The one container that has the name is listed, and none whose name contains it."""
        with (
            runtime.create(image, name=f"{name}.b") as dotted,
            runtime.create(image, name=f"{name}xb"),
            runtime.create(image, name=f"{name}.b2"),
            runtime.create(image, name=f"2{name}.b"),
        ):
            assert [found.id for found in runtime.ps(all=True, name=f"{name}.b")] == [dotted.id]
            assert runtime.ps(all=True, name=name) == ()
            assert runtime.ps(all=True, name=f"{name}.") == ()
            assert runtime.ps(all=True, name=".*") == ()
            assert runtime.ps(name=f"{name}.b") == ()

    def test_an_id_is_not_a_name(self, runtime: Runtime, image: str) -> None:
        """The filter is about names only, and empty finds nothing."""
        with runtime.create(image) as container:
            assert runtime.ps(all=True, name=container.id[:12]) == ()
            assert runtime.ps(all=True, name="") == ()

    def test_all_labels_have_to_match(self, runtime: Runtime, image: str) -> None:
        """A container is listed when it has every label with its value."""
        mark = unique()
        with (
            runtime.create(image, labels={"mark": mark, "colour": "blue"}) as blue,
            runtime.create(image, labels={"mark": mark, "colour": "red", "empty": ""}) as red,
        ):
            found = {
                colour: [container.id for container in runtime.ps(all=True, labels={"mark": mark, "colour": colour})]
                for colour in ("blue", "red", "green", "")
            }
            assert found == {"blue": [blue.id], "red": [red.id], "green": [], "": []}
            assert [c.id for c in runtime.ps(all=True, labels={"mark": mark, "empty": ""})] == [red.id]
            assert runtime.ps(labels={"mark": mark}) == ()

    def test_labels_can_be_any_text(self, runtime: Runtime, image: str) -> None:
        """Filters find the label values that the engines' own filter syntax uses for itself."""
        labels = {
            "mark": unique(),
            "a.b/c": "x=y,z",
            "größe": 'grün "世界" \\ {}',
            "space": " a b ",
            "equal=sign": "=x=",
        }
        with runtime.create(image, labels=labels) as container:
            assert labels.items() <= container.labels.items()
            assert [found.id for found in runtime.ps(all=True, labels=labels)] == [container.id]

    def test_a_container_has_the_labels_of_its_image(
        self, runtime: Runtime, image: str, tag: str, tmp_path: Path
    ) -> None:
        """The labels of the image are inherited, and its own win."""
        write_tree(tmp_path, {"Dockerfile": f"FROM {image}\nLABEL inherited=yes replaced=no\n"})
        runtime.build(tmp_path, tag=tag)
        with runtime.create(tag, labels={"replaced": "yes"}) as container:
            assert container.labels["inherited"] == "yes"
            assert container.labels["replaced"] == "yes"

    def test_a_listing_is_a_tuple_that_knows_who_is_missing(self, runtime: Runtime, box: Container) -> None:
        """On one engine nothing is ever unreachable."""
        listed = runtime.ps(name=box.name)
        assert isinstance(listed, Listing)
        assert listed.unreachable == ()
        assert listed[0].runtime is runtime
