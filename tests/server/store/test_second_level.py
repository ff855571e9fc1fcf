"""The shared cache against a real Valkey: what it gives, and what happens when it does not."""

from __future__ import annotations

import asyncio
import math
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest
from cascade_server.errors import ConfigError
from cascade_server.store.second_level import (
    PREFIX,
    Breaker,
    SecondLevel,
    SecondLevelConfig,
    seal,
    unseal,
)

from tests.server.store.valkey import Valkey, valkey

KEY, OTHER = bytes(32), bytes([1]) * 32
NAME = (PREFIX + KEY.hex()).encode()
# Longer than a busy machine takes for an answer that comes.
PATIENT = SecondLevelConfig(timeout=20.0, limit=20.0, failures=2)
# No look comes back in no time.
HURRIED = SecondLevelConfig(timeout=0.0, limit=20.0, failures=2)
# What nobody waits for is given up soon.
GIVING_UP = SecondLevelConfig(timeout=0.0, limit=0.05, failures=2)


class TestEnvelope:
    """What is not whole, not ours or another key's is noticed."""

    def test_content_comes_back(self) -> None:
        assert unseal(KEY, seal(KEY, b"answer")) == b"answer"
        assert unseal(KEY, seal(KEY, b"")) == b""

    def test_every_flipped_bit_is_noticed(self) -> None:
        envelope = seal(KEY, b"answer")
        for at in range(8 * len(envelope)):
            damaged = bytearray(envelope)
            damaged[at // 8] ^= 1 << at % 8
            assert unseal(KEY, bytes(damaged)) is None

    @pytest.mark.parametrize("junk", [b"", b"junk", seal(KEY, b"answer")[:-1], b"\0" * 100])
    def test_junk_is_noticed(self, junk: bytes) -> None:
        assert unseal(KEY, junk) is None

    def test_another_keys_content_is_noticed(self) -> None:
        assert unseal(KEY, seal(OTHER, b"answer")) is None


class TestBreaker:
    """Stops asking what fails, tries again after a while."""

    @pytest.fixture
    def breaker(self) -> Breaker:
        config = SecondLevelConfig(failures=3, pause=1.0, longest_pause=3.0)
        return Breaker(config)

    def fail(self, breaker: Breaker, times: int, now: float) -> None:
        for _ in range(times):
            breaker.failed(now)

    def test_opens_after_some_failures_in_a_row(self, breaker: Breaker) -> None:
        self.fail(breaker, 2, now=0.0)
        breaker.worked()
        self.fail(breaker, 2, now=0.0)
        assert breaker.allows(0.0)
        breaker.failed(0.0)
        assert breaker.open
        assert not breaker.allows(0.99)

    def test_lets_one_try_through_after_the_pause(self, breaker: Breaker) -> None:
        self.fail(breaker, 3, now=0.0)
        assert [breaker.allows(1.0) for _ in range(3)] == [True, False, False]

    def test_closes_when_the_try_works(self, breaker: Breaker) -> None:
        self.fail(breaker, 3, now=0.0)
        assert breaker.allows(1.0)
        breaker.worked()
        assert not breaker.open
        assert [breaker.allows(1.0) for _ in range(3)] == [True] * 3

    def test_pauses_twice_as_long_each_time_up_to_a_limit(self, breaker: Breaker) -> None:
        self.fail(breaker, 3, now=0.0)
        assert breaker.allows(1.0)
        breaker.failed(1.0)
        assert not breaker.allows(2.99)
        assert breaker.allows(3.0)
        breaker.failed(3.0)
        assert not breaker.allows(5.99)
        assert breaker.allows(6.0)

    def test_a_try_that_is_never_heard_of_again_is_followed_by_another(
        self, breaker: Breaker
    ) -> None:
        self.fail(breaker, 3, now=0.0)
        assert breaker.allows(1.0)
        assert breaker.allows(2.0)


@pytest.fixture
def server() -> Iterator[Valkey]:
    with valkey() as found:
        yield found


@asynccontextmanager
async def connected(
    url: str, config: SecondLevelConfig = PATIENT, max_age: float = 60.0
) -> AsyncIterator[SecondLevel]:
    level = SecondLevel(url, max_age, config)
    try:
        yield level
    finally:
        await level.close()


async def kept_in(level: SecondLevel) -> bytes | None:
    """What is there, of whatever age."""
    found = await level.get(KEY, 60.0)
    return None if found is None else found.content


async def written(level: SecondLevel) -> None:
    """Until nothing is underway."""
    while level.underway:
        await asyncio.sleep(0)


def only(level: SecondLevel, **failures: int) -> bool:
    return {why: count for why, count in level.failures.items() if count} == failures


class TestServer:
    """What one process writes, another reads."""

    async def test_an_answer_is_read_back(self, server: Valkey) -> None:
        async with connected(server.url) as one, connected(server.url) as other:
            assert await one.get(KEY, 60.0) is None
            one.put(KEY, b"answer")
            await written(one)
            assert await kept_in(other) == b"answer"
            assert await other.get(OTHER, 60.0) is None
            assert only(one)
            assert only(other)

    async def test_it_is_kept_for_its_age(self, server: Valkey) -> None:
        async with connected(server.url, max_age=50.0) as level:
            level.put(KEY, b"answer")
            await written(level)
        life = int(server.ask(b"PTTL", NAME).strip()[1:])
        assert 0 < life <= 50_000

    @pytest.mark.parametrize(
        ("left", "at_least", "at_most"),
        [
            ((b"PX", b"2000000"), 3000.0, 5000.0),
            # Of a server that keeps answers for longer; of who has made it stay.
            ((b"PX", b"9000000"), 0.0, 0.0),
            ((), math.inf, math.inf),
        ],
    )
    async def test_it_says_how_old_it_is(
        self, server: Valkey, left: tuple[bytes, ...], at_least: float, at_most: float
    ) -> None:
        server.ask(b"SET", NAME, seal(KEY, b"answer"), *left)
        async with connected(server.url, max_age=5000.0) as level:
            found = await level.get(KEY, 60.0)
            assert only(level)
        assert found is not None
        assert at_least <= found.age <= at_most

    async def test_who_may_ask_for_no_more_than_values_has_them(self, server: Valkey) -> None:
        server.ask(b"ACL", b"SETUSER", b"server", b"on", b">secret", b"~*", b"+get", b"+set")
        async with connected(f"unix://server:secret@{server.socket}") as level:
            level.put(KEY, b"answer")
            await written(level)
            assert await level.get(KEY, 60.0) == (b"answer", math.inf)
            assert only(level)

    @pytest.mark.parametrize("damage", ["junk", "cut", "swapped"])
    async def test_garbage_is_ignored_and_overwritten(self, server: Valkey, damage: str) -> None:
        envelope = seal(KEY, b"answer")
        content = {
            "junk": b"\xff\x00 not ours",
            "cut": envelope[:-2],
            "swapped": seal(OTHER, b"answer"),
        }[damage]
        server.ask(b"SET", NAME, content)
        async with connected(server.url) as level:
            assert await level.get(KEY, 60.0) is None
            assert only(level, corrupt=1)
            level.put(KEY, b"answer")
            await written(level)
            assert await kept_in(level) == b"answer"

    async def test_a_value_of_another_type_is_ignored_and_overwritten(self, server: Valkey) -> None:
        server.ask(b"LPUSH", NAME, b"1")
        async with connected(server.url) as level:
            assert await level.get(KEY, 60.0) is None
            assert only(level, error=1)
            level.put(KEY, b"answer")
            await written(level)
            assert await kept_in(level) == b"answer"


class TestFailing:
    """Requests go on without it."""

    async def test_slow(self, server: Valkey) -> None:
        server.freeze()
        async with connected(server.url, GIVING_UP) as level:
            assert await level.get(KEY, 60.0) is None
            assert only(level, timeout=1)
            assert await level.get(KEY, 60.0) is None
            assert level.breaker.open
            assert await level.get(KEY, 60.0) is None
            level.put(KEY, b"answer")
            assert only(level, timeout=2, open=2)

    async def test_what_always_answers_too_late_does_not_work(self, server: Valkey) -> None:
        async with connected(server.url, HURRIED) as level:
            for _ in range(2):
                assert await level.get(KEY, 60.0) is None
                await written(level)
            assert only(level, timeout=2)
            assert level.breaker.open

    async def test_a_caller_in_a_hurry_is_not_its_fault(self, server: Valkey) -> None:
        server.freeze()
        config = SecondLevelConfig(timeout=20.0, limit=0.05, failures=2)
        async with connected(server.url, config) as level:
            for _ in range(3):
                assert await level.get(KEY, remaining=0.0) is None
            assert only(level, timeout=3)
            assert not level.breaker.open

    async def test_no_more_than_a_few_are_underway(self, server: Valkey) -> None:
        server.freeze()
        config = SecondLevelConfig(timeout=20.0, limit=20.0, most=2)
        async with connected(server.url, config) as level:
            for _ in range(5):
                level.put(KEY, b"answer")
            assert only(level, busy=3)

    async def test_down_and_up_again(self, server: Valkey) -> None:
        now = 0.0
        level = SecondLevel(server.url, 60.0, PATIENT, clock=lambda: now)
        level.put(KEY, b"answer")
        await written(level)
        server.kill()
        for _ in range(4):
            assert await level.get(KEY, 60.0) is None
        assert only(level, error=2, open=2)
        server.socket.unlink(missing_ok=True)
        with valkey() as again:
            again.socket.rename(server.socket)
            now = PATIENT.pause
            assert await level.get(KEY, 60.0) is None  # it has lost what it had
            assert not level.breaker.open
            level.put(KEY, b"answer")
            await written(level)
            assert await kept_in(level) == b"answer"
        await level.close()

    async def test_something_else_that_listens(self) -> None:
        async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            await writer.drain()
            writer.close()

        async with await asyncio.start_server(talk, "127.0.0.1", 0) as other:
            port = other.sockets[0].getsockname()[1]
            async with connected(f"redis://127.0.0.1:{port}") as level:
                assert await level.get(KEY, 60.0) is None
                assert only(level, error=1)

    @pytest.mark.parametrize(
        ("value", "left"),
        [
            (b":1", b":5"),
            (b"*0", b":5"),
            (b"*1\r\n$6\r\nanswer", b":5"),
            (b"%1\r\n+a\r\n+b", b":5"),
            (b"#t", b":5"),
            (b",1.5", b":5"),
        ],
    )
    async def test_a_value_that_is_no_bytes_is_a_failure_and_nobodys_error(
        self, value: bytes, left: bytes
    ) -> None:
        async with speaking(value, left) as url, connected(url) as level:
            assert await level.get(KEY, 60.0) is None
            assert only(level, error=1)

    @pytest.mark.parametrize("left", [b"+soon", b"_", b"*0"])
    async def test_an_age_that_is_no_number_is_not_known(self, left: bytes) -> None:
        whole = seal(KEY, b"answer")
        async with (
            speaking(b"$%d\r\n%b" % (len(whole), whole), left) as url,
            connected(url) as level,
        ):
            assert await level.get(KEY, 60.0) == (b"answer", math.inf)

    async def test_nothing_listens(self) -> None:
        async with connected("unix:///nowhere/at/all") as level:
            assert await level.get(KEY, 60.0) is None
            level.put(KEY, b"answer")
            await written(level)
            assert only(level, error=2)


@asynccontextmanager
async def speaking(value: bytes, left: bytes) -> AsyncIterator[str]:
    """A server of the protocol that answers every look alike; gives its URL."""
    said = {b"HELLO": b"%0", b"GET": value, b"PTTL": left}

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while head := await reader.readline():
            words = []
            for _ in range(int(head[1:])):
                await reader.readline()
                words.append((await reader.readline()).strip())
            writer.write(said.get(words[0], b"+OK") + b"\r\n")
        writer.close()

    async with await asyncio.start_server(talk, "127.0.0.1", 0) as server:
        yield f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}"


class TestConfiguration:
    """What cannot be is said before anything is served."""

    @pytest.mark.parametrize("url", ["http://somewhere", "somewhere:6379", "redis://host:port"])
    async def test_a_url_that_is_none(self, url: str) -> None:
        with pytest.raises(ConfigError, match=r"cache_url is .*; allowed: redis://HOST"):
            SecondLevel(url, 60.0)

    async def test_a_password_is_not_repeated(self) -> None:
        with pytest.raises(ConfigError) as caught:
            SecondLevel("http://me:secret@somewhere", 60.0)
        assert "secret" not in str(caught.value)
        assert "somewhere" in str(caught.value)

    async def test_without_the_client_it_says_what_to_install(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setitem(sys.modules, "redis.asyncio", None)
        with pytest.raises(ConfigError, match=r"pip install 'cascade-synthesis\[cache\]'"):
            SecondLevel("redis://somewhere", 60.0)
