"""Rows that the teacher made ahead of time, by condition, and the demand for them.

A pooled row costs almost nothing: its tokens are stored here, and only have to be decoded for an
answer. This module reads no clock and no engine; `refill` decides what to make.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from cascade_server.config import ServerConfig

# Bytes of a row and of a condition besides their tokens: objects and their table entries.
ROW_OVERHEAD, STOCK_OVERHEAD = 160, 1400
# The least useful of this many conditions is dropped: looking at all would take longer than a
# real-time answer.
LOOKED_AT = 16
# After this many half-lives counts restart with small weights, long before they overflow.
MOST_HALF_LIVES = 300


class Key(NamedTuple):
    """What rows can be given out for.

    Attributes:
        release: `Runtime.identity`.
        condition: tokens and mask of one row, as bytes.
    """

    release: str
    condition: bytes


def condition_of(tokens: NDArray[np.int32], observed: NDArray[np.bool_]) -> bytes:
    """Return the known part of a row, given its T tokens and their mask; unknown tokens are 0."""
    return tokens.tobytes() + observed.tobytes()


def of_condition(condition: bytes, slots: int) -> tuple[NDArray[np.int32], NDArray[np.bool_]]:
    """Return the arguments of `condition_of`."""
    tokens = np.frombuffer(condition, np.int32, slots)
    return tokens, np.frombuffer(condition, np.bool_, offset=tokens.nbytes)


def nothing_known(slots: int) -> tuple[NDArray[np.int32], NDArray[np.bool_]]:
    """Return the condition of a row without known columns."""
    return np.zeros(slots, np.int32), np.zeros(slots, np.bool_)


@dataclass(frozen=True)
class PoolConfig:
    """How much to keep, and how to use it.

    Attributes:
        max_bytes: bytes of rows and of their conditions.
        max_age: seconds after which a row is not given out any more.
        max_reuse: how often a row is given out; never twice in one answer.
        most_rows: larger requests are not looked up here: they would empty the pool, and the
            student draws them in a few runs.
    """

    max_bytes: int
    max_age: float = ServerConfig.pool_age_seconds
    max_reuse: int = ServerConfig.pool_max_reuse
    most_rows: int = 64


@dataclass(slots=True)
class Row:
    """A row: its T tokens as bytes of int32, and its history."""

    tokens: bytes
    made: float
    uses: int = 0

    @property
    def size(self) -> int:
        return len(self.tokens) + ROW_OVERHEAD


@dataclass(slots=True)
class Stock:
    """Rows of one condition, all made with the same number of passes."""

    steps: int
    rows: deque[Row] = field(default_factory=deque)


@dataclass(frozen=True)
class Taken:
    """Rows of one answer: the tokens of each, in order, and the most passes of any (`steps`)."""

    rows: tuple[bytes, ...]
    steps: int


@dataclass(frozen=True)
class ReleaseCounts:
    """Counts of a release: answers, requests that found too few rows, rows made and present."""

    hits: int = 0
    misses: int = 0
    refilled_rows: int = 0
    rows: int = 0


@dataclass(frozen=True)
class PoolStatistics:
    """A snapshot.

    Attributes:
        releases: counts by `Runtime.identity`.
        conditions: conditions that have rows.
        bytes: bytes that the rows take.
        expired_rows: rows dropped because of their age.
        evicted_rows: rows dropped to make room.
    """

    releases: Mapping[str, ReleaseCounts]
    conditions: int
    bytes: int
    expired_rows: int
    evicted_rows: int


@dataclass
class _Counts:
    hits: int = 0
    misses: int = 0
    refilled_rows: int = 0
    rows: int = 0


class Pool:
    """Rows by key. The caller passes the time. Not thread-safe: one event loop owns it."""

    def __init__(self, config: PoolConfig, releases: Sequence[str]) -> None:
        self.config = config
        self.bytes = 0
        self.expired_rows = self.evicted_rows = 0
        self._counts = {release: _Counts() for release in releases}
        self._stocks: OrderedDict[Key, Stock] = OrderedDict()

    def stock(self, key: Key) -> int:
        """Return the number of rows of a key, including any that are too old."""
        stock = self._stocks.get(key)
        return 0 if stock is None else len(stock.rows)

    def take(self, keys: Sequence[Key], draws: int, now: float) -> Taken | None:
        """Take `draws` rows for each key; None if any key has too few.

        An answer is from the pool as a whole or not at all, because it has one provenance.
        """
        # most conditions are requested only once
        if len(keys) == 1 and keys[0] not in self._stocks:
            self._counts[keys[0].release].misses += 1
            return None
        needed: dict[Key, int] = {}
        for key in keys:
            needed[key] = needed.get(key, 0) + draws
        popped: dict[Key, list[Row]] = {}
        for key, rows in needed.items():
            popped[key] = self._pop(key, rows, now)
            if len(popped[key]) < rows:
                for each, back in popped.items():
                    self._put_back(each, back)
                self._counts[keys[0].release].misses += 1
                return None
        steps = max(self._stocks[key].steps for key in needed)
        for key, given in popped.items():
            self._given_out(key, given)
        self._counts[keys[0].release].hits += 1
        if len(keys) == 1:
            return Taken(tuple(row.tokens for row in popped[keys[0]]), steps)
        parts = {key: iter(rows) for key, rows in popped.items()}
        return Taken(tuple(next(parts[key]).tokens for key in keys for _ in range(draws)), steps)

    def add(self, key: Key, rows: Sequence[bytes], steps: int, now: float) -> None:
        """Keep rows, given as tokens; the caller must then call `make_room`."""
        stock = self._stocks.get(key)
        if stock is None:
            stock = self._stocks[key] = Stock(steps)
            self.bytes += len(key.condition) + STOCK_OVERHEAD
        for tokens in rows:
            row = Row(tokens, now)
            stock.rows.append(row)
            self.bytes += row.size
        counts = self._counts[key.release]
        counts.refilled_rows += len(rows)
        counts.rows += len(rows)

    def make_room(
        self, next_use: Callable[[Key, int], float], dropped: Callable[[float], None]
    ) -> None:
        """Drop rows until the rest fits.

        Of a few arbitrary conditions, it drops from the one whose last row is expected to be used
        last.

        Args:
            next_use: predicts the seconds until the n-th row of a key is used.
            dropped: called with those seconds for each dropped row.
        """
        while self.bytes > self.config.max_bytes and self._stocks:
            few = self._turned(LOOKED_AT)
            seconds, key = max((next_use(each, len(self._stocks[each].rows)), each) for each in few)
            dropped(seconds)
            self._drop(key, self._stocks[key].rows.popleft())
            self.evicted_rows += 1
            self._forget_if_empty(key)

    def sweep(self, now: float) -> None:
        """Drop the rows that are too old among the next few conditions."""
        for key in self._turned(LOOKED_AT):
            stock = self._stocks[key]
            while stock.rows and self._too_old(stock.rows[0], now):
                self._expire(key, stock.rows.popleft())
            self._forget_if_empty(key)

    def statistics(self) -> PoolStatistics:
        """Return the pool's content and its counts."""
        releases = {
            release: ReleaseCounts(c.hits, c.misses, c.refilled_rows, c.rows)
            for release, c in self._counts.items()
        }
        return PoolStatistics(
            releases, len(self._stocks), self.bytes, self.expired_rows, self.evicted_rows
        )

    def _turned(self, most: int) -> list[Key]:
        """Return the next few keys, and move them to the end of the order."""
        few = list(islice(self._stocks, most))
        for key in few:
            self._stocks.move_to_end(key)
        return few

    def _pop(self, key: Key, rows: int, now: float) -> list[Row]:
        """Remove and return at most `rows` rows; rows that are too old are dropped on the way."""
        stock = self._stocks.get(key)
        if stock is None or len(stock.rows) < rows:
            return []
        popped: list[Row] = []
        while stock.rows and len(popped) < rows:
            row = stock.rows.popleft()
            if self._too_old(row, now):
                self._expire(key, row)
            else:
                popped.append(row)
        return popped

    def _put_back(self, key: Key, rows: Sequence[Row]) -> None:
        stock = self._stocks.get(key)
        if stock is not None:
            stock.rows.extendleft(reversed(rows))
            self._forget_if_empty(key)

    def _given_out(self, key: Key, rows: Sequence[Row]) -> None:
        for row in rows:
            row.uses += 1
            if row.uses < self.config.max_reuse:
                self._stocks[key].rows.append(row)
            else:
                self._drop(key, row)
        self._forget_if_empty(key)

    def _too_old(self, row: Row, now: float) -> bool:
        return now - row.made > self.config.max_age

    def _expire(self, key: Key, row: Row) -> None:
        self._drop(key, row)
        self.expired_rows += 1

    def _drop(self, key: Key, row: Row) -> None:
        self.bytes -= row.size
        self._counts[key.release].rows -= 1

    def _forget_if_empty(self, key: Key) -> None:
        if not self._stocks[key].rows:
            del self._stocks[key]
            self.bytes -= len(key.condition) + STOCK_OVERHEAD


class Demand:
    """Requested rows per second by key, averaged over recent time.

    A count halves in `half_life` seconds, by giving later ones more weight (Cormode et al.,
    "Forward Decay", ICDE 2009). There is room for `most` keys: a new one replaces the least wanted
    of the next few, and so never one that is wanted often.

    Attributes:
        noted: number of requests noted; if it has not changed, the demand is the same as before.
    """

    def __init__(self, half_life: float, most: int = 1024, now: float = 0.0) -> None:
        self.half_life, self.most = half_life, most
        self._since = now
        self._keys: list[Key] = []
        self._counts: list[float] = []
        self._slots: dict[Key, int] = {}
        self._hand = 0
        self.noted = 0

    def __len__(self) -> int:
        return len(self._keys)

    def note(self, key: Key, rows: int, now: float) -> None:
        """Note a request for rows."""
        self.noted += 1
        if self._half_lives(now) > MOST_HALF_LIVES:
            faded = self._faded(now)
            self._counts = [count * faded for count in self._counts]
            self._since = now
        weight = 2.0 ** self._half_lives(now)
        slot = self._slots.get(key)
        if slot is not None:
            self._counts[slot] += rows * weight
            return
        if len(self._keys) < self.most:
            slot = len(self._keys)
            self._keys.append(key)
            self._counts.append(0.0)
        else:
            few = [(self._hand + i) % self.most for i in range(min(LOOKED_AT, self.most))]
            self._hand = (self._hand + len(few)) % self.most
            slot = min(few, key=self._counts.__getitem__)
            del self._slots[self._keys[slot]]
            self._keys[slot] = key
        self._slots[key] = slot
        self._counts[slot] = rows * weight

    def rate(self, key: Key, now: float) -> float:
        """Return a key's rows per second; 0 if unknown."""
        slot = self._slots.get(key)
        return 0.0 if slot is None else self._rate(slot, now)

    def rates(self, start: int, stop: int, now: float) -> list[tuple[Key, float]]:
        """Return some of the keys with their rates."""
        return [
            (self._keys[slot], self._rate(slot, now))
            for slot in range(start, min(stop, len(self._keys)))
        ]

    def _rate(self, slot: int, now: float) -> float:
        # A steady rate r gives a count of r · half_life / ln 2.
        return self._counts[slot] * self._faded(now) * 0.6931471805599453 / self.half_life

    def _half_lives(self, now: float) -> float:
        # At least 0 even if the clock is stepped back: backwards, weights would grow without bound.
        return max(0.0, now - self._since) / self.half_life

    def _faded(self, now: float) -> float:
        """Return what is left of a count of weight 1; after a long time it is 0."""
        return float(0.5 ** self._half_lives(now))
