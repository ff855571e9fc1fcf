"""Operations of several calls, written once for both clients.

A flow is a generator: it yields functions that call a client, and receives the results. `run` calls
a `Client`; `run_async` awaits an `AsyncClient`.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any, TypeVar

from cascade_client.errors import CascadeError

T = TypeVar("T")
Step = Callable[[Any], Any]
Flow = Generator[Step, Any, T]


def run(flow: Flow[T], client: Any) -> T:
    """Run a flow with a blocking client and return its result."""
    try:
        step = next(flow)
        while True:
            try:
                found = step(client)
            except CascadeError as exc:
                step = flow.throw(exc)
            else:
                step = flow.send(found)
    except StopIteration as end:
        result: T = end.value
        return result


async def run_async(flow: Flow[T], client: Any) -> T:
    """Run a flow with an asyncio client and return its result."""
    try:
        step = next(flow)
        while True:
            try:
                found = await step(client)
            except CascadeError as exc:
                step = flow.throw(exc)
            else:
                step = flow.send(found)
    except StopIteration as end:
        result: T = end.value
        return result
