"""An answer of the second level is kept here no longer than it would have been there."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from cascade_server.cascade.answer import drawn_answer
from cascade_server.store.cache import CacheConfig
from cascade_server.store.cached_answers import CachedAnswers
from cascade_server.store.second_level import Kept
from cascade_server.terms import Tier, Wanted

from tests.server.cascade.stalled import Cascade

MAX_AGE = 3600.0


class Shared:
    """A second level that ages what it has with the clock of a test, and says so if it may."""

    def __init__(self, is_telling: bool = True) -> None:
        self.now, self.kept = 0.0, dict[bytes, tuple[bytes, float]]()
        self.looks, self._is_telling = 0, is_telling

    async def get(self, key: bytes, remaining: float) -> Kept | None:
        self.looks += 1
        content, made = self.kept.get(key, (b"", -MAX_AGE))
        age = self.now - made
        return Kept(content, age if self._is_telling else math.inf) if age < MAX_AGE else None

    def put(self, key: bytes, content: bytes) -> None:
        self.kept[key] = content, self.now


@pytest.mark.parametrize(
    ("age", "is_telling", "looks"),
    [(0.0, True, 2), (1800.0, True, 2), (3599.0, True, 2), (0.0, False, 3)],
)
async def test_what_another_server_drew_goes_when_it_would_have_gone_there(
    repository: Path, age: float, is_telling: bool, looks: int
) -> None:
    """One whose age is not known is given, and not kept."""
    cascade, shared, drawn = Cascade(repository), Shared(is_telling), list[str]()
    level: Any = shared

    def server(name: str) -> Any:
        config = CacheConfig(2**20, MAX_AGE)
        cached = CachedAnswers(config, cascade.dispatcher, 16, level, lambda: shared.now)

        async def draw(request: Any, route: Any) -> Any:
            drawn.append(name)
            return drawn_answer(request, await cascade.dispatcher.draw(request, route))

        return lambda: cached.answer(cascade.request(Wanted.FAST, seed=7), draw)

    one, other = server("one"), server("other")
    assert (await one()).tier is Tier.STUDENT
    shared.now = age
    for now in (age, MAX_AGE - 0.5):
        shared.now = now
        assert (await other()).cached
    assert (drawn, shared.looks) == (["one"], looks)
    shared.now = MAX_AGE + 1
    assert not (await other()).cached
    assert drawn == ["one", "other"]
    cascade.dispatcher.close()
