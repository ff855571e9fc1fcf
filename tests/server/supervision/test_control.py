"""What a worker asks of the supervisor and is told, over a line that may end."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Iterator

import pytest
from cascade_server.errors import NotReady, ServerError, UnknownTable
from cascade_server.supervision.control import Control
from cascade_server.supervision.crews import Post


class Line:
    """Both ends; what a worker does is noted."""

    def __init__(self) -> None:
        self.supervisor, worker = socket.socketpair()
        self.post = Post(worker)
        self.worker = worker
        self.done: list[str] = []

    def control(self) -> Control:
        orders = {"retire": lambda: self.done.append("retire")}
        return Control(self.post, orders, orphaned=lambda: self.done.append("orphaned"))

    def says(self, **what: object) -> None:
        self.supervisor.sendall(json.dumps(what).encode() + b"\n")

    async def asked(self) -> dict[str, object]:
        """The next thing that the worker has asked."""
        said = await asyncio.to_thread(self.supervisor.recv, 65_536)
        found: dict[str, object] = json.loads(said)
        return found


@pytest.fixture
def line() -> Iterator[Line]:
    line = Line()
    yield line
    line.supervisor.close()
    line.worker.close()


async def test_each_question_has_its_own_answer(line: Line) -> None:
    control = line.control()
    first = asyncio.create_task(control.ask("load", table="payments"))
    one = await line.asked()
    assert one == {"ask": "load", "number": one["number"], "table": "payments"}
    second = asyncio.create_task(control.ask("list"))
    other = await line.asked()
    assert other == {"ask": "list", "number": other["number"]}
    line.says(answer=other["number"], done={"generation": 2})
    line.says(answer=one["number"], done={"generation": 1})
    assert [await first, await second] == [{"generation": 1}, {"generation": 2}]


async def test_no_other_process_asks_by_the_same_number(
    line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of one that has died the answer may be on its way still, to who took its place."""
    numbers = set()
    for pid in (1000, 1001):
        monkeypatch.setattr("os.getpid", lambda pid=pid: pid)
        asking = asyncio.create_task(line.control().ask("load"))
        numbers.add((await line.asked())["number"])
        asking.cancel()
        assert "withdrawn" in await line.asked()
    assert len(numbers) == 2


@pytest.mark.parametrize(
    ("kind", "error"),
    [("UnknownTable", UnknownTable), ("Surprise", ServerError), ("", ServerError)],
)
async def test_what_cannot_be_is_raised_as_what_it_is(
    line: Line, kind: str, error: type[ServerError]
) -> None:
    asking = asyncio.create_task(line.control().ask("load"))
    asked = await line.asked()
    line.says(answer=asked["number"], error="there is none", kind=kind)
    with pytest.raises(error, match="there is none") as caught:
        await asking
    assert type(caught.value) is error


async def test_orders_are_carried_out_also_when_they_come_in_pieces(line: Line) -> None:
    line.control()
    line.supervisor.sendall(b'{"do": "re')
    line.supervisor.sendall(b'tire"}\n{"do": "retire"}\n')
    while len(line.done) < 2:
        await asyncio.sleep(0)
    assert line.done == ["retire", "retire"]


async def test_who_gave_up_asking_says_so_and_is_not_told(line: Line) -> None:
    control = line.control()
    asking = asyncio.create_task(control.ask("load"))
    number = (await line.asked())["number"]
    asking.cancel()
    assert await line.asked() == {"withdrawn": number}
    line.says(answer=number, done={})
    line.says(do="retire")
    while not line.done:
        await asyncio.sleep(0)
    assert asking.cancelled()


async def test_a_supervisor_that_is_gone_is_noticed_once(line: Line) -> None:
    """Its line can be read for ever: a worker that went on reading would do nothing else."""
    control = line.control()
    asking = asyncio.create_task(control.ask("load"))
    await line.asked()
    line.supervisor.close()
    with pytest.raises(NotReady, match="directs it is gone"):
        await asking
    assert line.done == ["orphaned"]
    assert not asyncio.get_running_loop().remove_reader(line.worker.fileno())
    with pytest.raises(NotReady, match="directs it is gone"):
        await control.ask("list")
