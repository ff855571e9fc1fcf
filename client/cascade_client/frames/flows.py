"""What takes several calls, written once for both clients.

A flow is a generator: it yields what to ask of a client, as a function of it, and is sent what came
of it. `run` asks a `Client`, `run_async` awaits what an `AsyncClient` gives.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any, TypeVar

from cascade_client.errors import CascadeError

T = TypeVar("T")
Step = Callable[[Any], Any]
Flow = Generator[Step, Any, T]


def run(flow: Flow[T], client: Any) -> T:
    """What a flow returns, once a blocking client has answered all of its steps."""
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
    """The same with an asyncio client, whose answers are awaited."""
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
