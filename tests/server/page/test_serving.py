"""The page over HTTP: what one browser holds, and what many do."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

import pytest
from cascade_server.config import ServerConfig
from cascade_server.page.assets import Asset
from cascade_server.page.looking import Look
from cascade_server.page.publishing import Publisher
from cascade_server.page.serving import PageLimits, PageServer

from tests.server.page.counting import REALTIME, Counted
from tests.typed import SOON

LIMITS = PageLimits(connections=6, watchers=3, idle_seconds=SOON, stall_seconds=SOON)


class Counting(Look):
    """Counts how many snapshots were made."""

    made = 0
    padding = 0

    def packed(self) -> bytes:
        self.made += 1
        return json.dumps({"number": self.made, "padding": "x" * self.padding}).encode()


@dataclass
class Served:
    """A page that is served, and what it is made by."""

    port: int
    server: PageServer
    publisher: Publisher
    look: Counting
    writers: list[asyncio.StreamWriter] = field(default_factory=list)

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port, limit=2**24)
        self.writers.append(writer)
        return reader, writer

    async def close(self) -> None:
        """End what this side has begun."""
        for writer in self.writers:
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()

    async def ask(self, *lines: str, host: str = "localhost") -> tuple[int, dict[str, str], bytes]:
        """One request on a connection of its own, up to the end of its answer."""
        reader, writer = await self.connect()
        head = "\r\n".join((*lines, f"Host: {host}", "Connection: close", "", ""))
        writer.write(head.encode("latin-1"))
        answer = await reader.read()
        writer.close()
        return parsed(answer)

    async def watch(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A stream of events, its head read."""
        reader, writer = await self.connect()
        writer.write(b"GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n")
        head = await reader.readuntil(b"\r\n\r\n")
        assert b" 200 " in head, head
        return reader, writer


def parsed(answer: bytes) -> tuple[int, dict[str, str], bytes]:
    head, _, body = answer.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    return int(first.split()[1]), headers, body


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(SOON):
        while not holds():
            await asyncio.sleep(0.01)


async def event(reader: asyncio.StreamReader) -> dict[str, object]:
    """The next snapshot of a stream."""
    async with asyncio.timeout(SOON):
        while True:
            line = await reader.readuntil(b"\n")
            if line.startswith(b"data: "):
                found: dict[str, object] = json.loads(line.removeprefix(b"data: "))
                return found


@asynccontextmanager
async def served(limits: PageLimits = LIMITS) -> AsyncIterator[Served]:
    counted = Counted()
    box: list[Counting] = []

    def make() -> Counting:
        box.append(Counting(ServerConfig(), counted.ledger, lambda: counted.statistics))
        return box[0]

    publisher = Publisher(make)
    server = PageServer(publisher, limits=limits)
    port = await server.start("127.0.0.1", 0)
    await publisher.start()
    page = Served(port, server, publisher, box[0])
    try:
        yield page
    finally:
        await server.stop()
        await publisher.stop()
        await page.close()


def never() -> Look:
    """No snapshot is asked for."""
    raise AssertionError


class TestAnswers:
    """One browser."""

    async def test_the_page_and_all_it_refers_to(self) -> None:
        async with served() as page:
            status, headers, body = await page.ask("GET / HTTP/1.1")
            assert status == 200
            assert headers["content-security-policy"].startswith("default-src 'none'")
            assert headers["x-content-type-options"] == "nosniff"
            for path in ("page.css", "js/main.js", "vendor/uplot/uPlot.min.css", "icon.svg"):
                assert path.encode() in body
                assert (await page.ask(f"GET /{path} HTTP/1.1"))[0] == 200

    async def test_a_snapshot(self) -> None:
        async with served() as page:
            status, headers, body = await page.ask("GET /snapshot.json HTTP/1.1")
            assert (status, headers["content-type"]) == (200, "application/json")
            assert headers["cache-control"] == "no-store"
            assert json.loads(body)["number"] == 1
            assert "access-control-allow-origin" not in headers

    async def test_head_is_the_head_alone(self) -> None:
        async with served() as page:
            for path in ("/", "/snapshot.json"):
                status, headers, body = await page.ask(f"HEAD {path} HTTP/1.1")
                assert (status, body) == (200, b"")
                assert int(headers["content-length"]) > 0
            assert (await page.ask("HEAD /events HTTP/1.1"))[0] == 200

    async def test_one_request_after_another(self) -> None:
        async with served() as page:
            reader, writer = await page.connect()
            request = b"GET /icon.svg HTTP/1.1\r\nHost: localhost\r\n\r\n"
            for _ in range(3):
                writer.write(request)
                head = await reader.readuntil(b"\r\n\r\n")
                await reader.readexactly(int(parsed(head)[1]["content-length"]))
            writer.write(request * 2)
            for _ in range(2):
                head = await reader.readuntil(b"\r\n\r\n")
                await reader.readexactly(int(parsed(head)[1]["content-length"]))
            writer.close()

    @pytest.mark.parametrize(
        ("lines", "status"),
        [
            (("POST / HTTP/1.1", "Content-Length: 0"), 405),
            (("GET / HTTP/1.1", "Content-Length: 5", "", "hello"), 413),
            (("GET / HTTP/1.1", "X: " + "a" * 40_000), 431),
            (("nonsense",), 400),
            (("GET / HTTP/1.1", "Bad Header: x"), 400),
            (("GET /past.json?class=slow HTTP/1.1",), 400),
        ],
    )
    async def test_what_is_wrong_is_said(self, lines: tuple[str, ...], status: int) -> None:
        async with served() as page:
            if "hello" in lines:
                reader, writer = await page.connect()
                writer.write(b"GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\nhello")
                answer = parsed(await reader.read())
                writer.close()
            else:
                answer = await page.ask(*lines)
            assert answer[0] == status
            assert (await page.ask("GET /snapshot.json HTTP/1.1"))[0] == 200

    async def test_an_answer_is_whole_however_slowly_its_reader_takes_it(self) -> None:
        content = bytes(60_000)
        server = PageServer(Publisher(never), assets={"/big": Asset(content, "x/y", '"1"')})
        port = await server.start("127.0.0.1", 0)
        # Less than the answer fits into the kernel's buffers.
        for each in server.sockets:
            each.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        slow = socket.socket()
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        slow.setblocking(False)
        loop = asyncio.get_running_loop()
        try:
            await loop.sock_connect(slow, ("127.0.0.1", port))
            await loop.sock_sendall(slow, b"GET /big HTTP/1.0\r\nHost: localhost\r\n\r\n")
            await until(lambda: server.connections == 1)
            answer = b""
            async with asyncio.timeout(SOON):
                while part := await loop.sock_recv(slow, 2048):
                    answer += part
        finally:
            slow.close()
            await server.stop()
        assert parsed(answer)[2] == content

    async def test_the_last_answer_of_a_connection_says_that_it_is(self) -> None:
        async with served() as page:
            for request in (b"nonsense\r\n\r\n", b"GET / HTTP/1.1\r\nContent-Length: 5\r\n\r\n"):
                reader, writer = await page.connect()
                writer.write(request)
                assert parsed(await reader.read())[1]["connection"] == "close"
                writer.close()

    async def test_another_sites_name_leads_nowhere(self) -> None:
        async with served() as page:
            status, _, body = await page.ask("GET /snapshot.json HTTP/1.1", host="evil.example")
            assert status == 421
            assert b"number" not in body


class TestFaults:
    """What cannot be looked at now can be later, and who watches then is shown it."""

    async def test_counts_that_cannot_be_read_for_a_while(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        async with served() as page:
            past = page.look.past
            looked: list[None] = []

            class Failing:
                def look(self) -> None:
                    looked.append(None)
                    raise OSError("the counts are away")

            page.look.past = Failing()  # type: ignore[assignment]
            reader, writer = await page.watch()
            await event(reader)
            writer.close()
            # Nobody watches, and what happens is to be remembered.
            await until(lambda: bool(looked))
            page.look.past = past
            reader, writer = await page.watch()
            first = await event(reader)
            assert await event(reader) != first
            writer.close()
            assert caplog.text.count("cannot be made") == 1

    async def test_a_number_that_json_has_not(self) -> None:
        counted = Counted()
        look = Look(ServerConfig(), counted.ledger, lambda: counted.statistics)
        look.snapshot = lambda: {"share": float("nan")}  # type: ignore[method-assign]
        found = json.loads(look.packed())
        assert found["state"]["level"] == "ticket"
        assert "cannot be made" in found["state"]["sentence"]


class TestMany:
    """Browsers that are many, slow, or gone."""

    async def test_however_many_watch_there_is_one_snapshot_for_all(self) -> None:
        async with served() as page:
            streams = [await page.watch() for _ in range(3)]
            for number in range(3):
                seen = [await event(reader) for reader, _ in streams]
                assert page.look.made <= number + 3
                assert all(seen)
            for _, writer in streams:
                writer.close()

    async def test_more_watchers_than_may_are_told_to_ask(self) -> None:
        async with served() as page:
            streams = [await page.watch() for _ in range(3)]
            status, headers, _ = await page.ask("GET /events HTTP/1.1")
            assert (status, headers["retry-after"]) == (503, "5")
            assert (await page.ask("GET /snapshot.json HTTP/1.1"))[0] == 200
            streams[0][1].close()
            await until(lambda: page.server.watchers < 3)
            _, writer = await page.watch()
            writer.close()

    async def test_more_connections_than_may_are_turned_away(self) -> None:
        async with served() as page:
            held = [await page.connect() for _ in range(6)]
            await until(lambda: page.server.connections == 6)
            reader, writer = await page.connect()
            assert (await reader.read()).startswith(b"HTTP/1.1 503 ")
            writer.close()
            for _, each in held:
                each.close()
            await until(lambda: page.server.connections == 0)
            assert (await page.ask("GET / HTTP/1.1"))[0] == 200

    async def test_nothing_is_made_while_nobody_watches(self) -> None:
        async with served() as page:
            _, writer = await page.watch()
            await until(lambda: page.look.made > 1)
            writer.close()
            await until(lambda: page.server.connections == 0)
            made = page.look.made
            await page.publisher.past("payments", REALTIME)
            assert page.look.made == made

    async def test_who_reads_nothing_holds_little_and_ends(self) -> None:
        limits = PageLimits(idle_seconds=SOON, stall_seconds=0.2)
        async with served(limits) as page:
            page.look.padding = 2**20
            slow = socket.create_connection(("127.0.0.1", page.port))
            slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            slow.sendall(b"GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n")
            await until(lambda: page.server.watchers == 1)
            # Others are answered meanwhile.
            assert (await page.ask("GET / HTTP/1.1"))[0] == 200
            await until(lambda: page.server.watchers == 0)
            slow.close()

    async def test_who_says_nothing_ends(self) -> None:
        limits = PageLimits(idle_seconds=0.05)
        async with served(limits) as page:
            for begun in (b"", b"GET / HT", b"GET / HTTP/1.1\r\nHost: localhost\r\n"):
                reader, writer = await page.connect()
                writer.write(begun)
                async with asyncio.timeout(SOON):
                    with suppress(ConnectionResetError):
                        assert await reader.read() == b""
                writer.close()

    async def test_the_end_waits_for_nobody(self) -> None:
        async with asyncio.timeout(SOON):
            async with served() as page:
                await page.watch()
                await page.connect()
