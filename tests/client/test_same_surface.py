"""Two clients, one interface: what one has the other has, by name, argument, default and word."""

from __future__ import annotations

import inspect
from typing import Any

import pytest
from cascade_client import AsyncClient, Client
from cascade_client.async_job_control import AsyncJobs
from cascade_client.job_control import Jobs
from cascade_client.job_handles import AsyncJobHandle, JobHandle
from cascade_client.release_control import AsyncReleases, Releases

PAIRS = [
    (Client, AsyncClient),
    (Releases, AsyncReleases),
    (Jobs, AsyncJobs),
    (JobHandle, AsyncJobHandle),
]
LIKENED = {"Async": "", "Blocking": "", "aio.": "", "Awaitable[object]": "None"}
DUNDERS = {"__enter__": "__aenter__", "__exit__": "__aexit__"}


def public(kind: type) -> dict[str, Any]:
    """Methods and properties by name; a context manager's are public too."""
    return {
        name: member
        for name, member in inspect.getmembers(kind)
        if (not name.startswith("_") or name in {*DUNDERS, *DUNDERS.values(), "__init__"})
        and (inspect.isfunction(member) or isinstance(member, property))
    }


def asynchronous(name: str) -> str:
    return DUNDERS.get(name, name)


def likened(annotation: str) -> str:
    """A type without what is asynchronous about it."""
    for word, other in LIKENED.items():
        annotation = annotation.replace(word, other)
    return annotation


PUBLIC = [
    pytest.param(blocking, awaited, name, id=f"{blocking.__name__}.{name}")
    for blocking, awaited in PAIRS
    for name in public(blocking)
]


@pytest.mark.parametrize(("blocking", "awaited"), PAIRS)
def test_names(blocking: type, awaited: type) -> None:
    assert {asynchronous(name) for name in public(blocking)} == set(public(awaited))


@pytest.mark.parametrize(("blocking", "awaited", "name"), PUBLIC)
class TestMembers:
    """Each of one is as the other's of that name."""

    @pytest.fixture
    def pair(self, blocking: type, awaited: type, name: str) -> tuple[Any, Any]:
        return public(blocking)[name], public(awaited)[asynchronous(name)]

    def test_a_property_is_one_in_both(self, pair: tuple[Any, Any]) -> None:
        one, other = pair
        assert isinstance(one, property) == isinstance(other, property)

    def test_arguments_and_defaults(self, pair: tuple[Any, Any], name: str) -> None:
        if isinstance(pair[0], property):
            return
        one, other = (list(inspect.signature(each).parameters.values()) for each in pair)
        assert [(each.name, each.kind) for each in one] == [(e.name, e.kind) for e in other]
        for mine, theirs in zip(one, other, strict=True):
            if (name, mine.name) != ("__init__", "sleep"):
                assert mine.default == theirs.default

    def test_types(self, pair: tuple[Any, Any]) -> None:
        types = [
            inspect.get_annotations(each.fget if isinstance(each, property) else each)
            for each in pair
        ]
        likened_ones = [{name: likened(type_) for name, type_ in each.items()} for each in types]
        assert likened_ones[0] == likened_ones[1]

    def test_words(self, pair: tuple[Any, Any], blocking: type, name: str) -> None:
        """What is not said again is said where the other says that it is."""
        one, other = (" ".join((inspect.getdoc(each) or "").split()) for each in pair)
        if name == "__init__" or one == other:
            return
        said, see, where = other.partition("; see ")
        assert one.startswith(said)
        assert (see + where).startswith(f"; see `{blocking.__name__}.{name}`")
