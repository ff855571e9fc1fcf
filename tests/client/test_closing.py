"""Clients that were closed, and sessions of such: every method says so, of both."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Callable
from typing import Any

import pytest
from cascade_client import AsyncClient, Client
from cascade_client.calls.showing import Showing
from cascade_client.calls.task_lines import TaskLines
from cascade_client.calls.thread_lines import ThreadLines

ROWS = [{"age": 30}]
# What is asked of a client, by the method of its that is asked for.
ASKED: dict[str, Callable[[Any], Any]] = {
    "synthesize": lambda client: client.synthesize("people", ROWS),
    "generate": lambda client: client.generate("people", 3),
    "stream": lambda client: client.stream("people", 3),
    "complete": lambda client: client.complete(ROWS, table="people"),
    "augment": lambda client: client.augment(ROWS, "age", table="people"),
    "submit": lambda client: client.submit("people", 3),
    "job": lambda client: client.job("0123"),
    "jobs": lambda client: client.jobs,
    "releases": lambda client: client.releases,
    "tables": lambda client: client.tables(),
    "describe": lambda client: client.describe("people"),
    "statistics": lambda client: client.statistics(),
    "service_level": lambda client: client.service_level(),
    "usage": lambda client: client.usage(),
    "health": lambda client: client.health(),
    "wait_ready": lambda client: client.wait_ready(),
    "session": lambda client: client.session(),
}
# What asks the server nothing, and may be asked for at any time.
ALWAYS = {"close", "turns"}
# What is asked of what was taken of a client before it was closed.
HELD: dict[str, tuple[str, Callable[[Any], Any]]] = {
    "jobs.get": ("jobs", lambda jobs: jobs.get("0123")),
    "jobs.list": ("jobs", lambda jobs: jobs.list()),
    "jobs.cancel": ("jobs", lambda jobs: jobs.cancel("0123")),
    "jobs.watch": ("jobs", lambda jobs: jobs.watch("0123")),
    "jobs.wait": ("jobs", lambda jobs: jobs.wait("0123")),
    "releases.list": ("releases", lambda releases: releases.list()),
}


async def answer(found: Any) -> Any:
    """What comes of an answer of either client."""
    if inspect.isawaitable(found):
        return await found
    if hasattr(found, "__anext__"):
        return await anext(found)
    return next(found) if hasattr(found, "__next__") else found


def test_all_methods_are_here() -> None:
    public = {name for name, _ in inspect.getmembers(Client) if not name.startswith("_")}
    assert public == set(ASKED) | ALWAYS


@pytest.mark.parametrize("kind", [Client, AsyncClient])
@pytest.mark.parametrize("ask", ASKED.values(), ids=ASKED)
class TestMethods:
    """A RuntimeError, which says that it is closed: nothing of grpcio's, and no end of the
    interpreter's, as for who makes a stub on a channel that was closed."""

    async def test_of_a_client(self, target: str, kind: Any, ask: Callable[[Any], Any]) -> None:
        client = kind(target)
        await answer(client.tables())
        await answer(client.close())
        with pytest.raises(RuntimeError, match="closed> answers no more calls"):
            await answer(ask(client))

    async def test_of_one_that_never_asked(
        self, target: str, kind: Any, ask: Callable[[Any], Any]
    ) -> None:
        client = kind(target)
        await answer(client.close())
        with pytest.raises(RuntimeError, match="closed> answers no more calls"):
            await answer(ask(client))

    async def test_of_a_session_whose_client_was_closed(
        self, target: str, kind: Any, ask: Callable[[Any], Any]
    ) -> None:
        client = kind(target)
        session = client.session()
        await answer(session.synthesize("people", ROWS))
        await answer(client.close())
        assert "closed" in repr(session)
        with pytest.raises(RuntimeError, match="closed> answers no more calls"):
            await answer(ask(session))
        await answer(session.close())


@pytest.mark.parametrize("kind", [Client, AsyncClient])
@pytest.mark.parametrize(("name", "ask"), HELD.values(), ids=HELD)
async def test_what_was_taken_of_a_client_before(
    target: str, kind: Any, name: str, ask: Callable[[Any], Any]
) -> None:
    client = kind(target)
    taken = getattr(client, name)
    await answer(client.close())
    with pytest.raises(RuntimeError, match="closed> answers no more calls"):
        await answer(ask(taken))


@pytest.mark.parametrize("kind", [Client, AsyncClient])
async def test_a_session_ends_by_itself(target: str, kind: Any) -> None:
    client = kind(target)
    session = client.session()
    await answer(session.close())
    with pytest.raises(RuntimeError, match="closed> answers no more calls"):
        await answer(session.tables())
    assert await answer(client.tables())
    await answer(client.close())


class TestStubs:
    """Those that are made before the channel is, and after it."""

    @pytest.mark.parametrize("kind", [ThreadLines, TaskLines])
    async def test_after_it(self, target: str, kind: Any) -> None:
        client = (Client if kind is ThreadLines else AsyncClient)(target)
        await answer(client.tables())
        lines = client._channel
        assert isinstance(lines, kind)
        method = lines.unary_unary("/cascade.v1.Jobs/GetJob", _registered_method=True)
        await answer(client.close())
        late = lines.unary_unary("/cascade.v1.Jobs/GetJob", _registered_method=True)
        for each in (method, late):
            with pytest.raises(RuntimeError, match=f"the client of {target} is closed"):
                await answer(each(b""))

    def test_before_it(self) -> None:
        """A channel of asyncio's belongs to the loop that it is made in."""
        made: list[object] = []

        def make() -> object:
            made.append(asyncio.get_running_loop())
            return object()

        lines = TaskLines("here", make, None, Showing(), time.monotonic)
        lines.unary_unary("/cascade.v1.Jobs/GetJob")
        assert not made

    def test_one_that_was_given_is_closed_with_the_client(self) -> None:
        class Given:
            closed = 0

            def close(self) -> None:
                self.closed += 1

        given = Given()
        client = Client(channel=given)  # type: ignore[arg-type]
        client.close()
        client.close()
        assert given.closed == 1
