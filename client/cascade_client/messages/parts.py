"""Rows beyond what one request may ask for, cut into parts and put together again; no I/O.

The first part goes ahead: it says which release and which tier answer, and the others are asked of
these. A seed is chosen where the caller named none, and each part says how many rows come before
its own, so that the rows do not depend on where they are cut. Parts are work that nobody waits for
as for a payment: they yield to calls that somebody does.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from cascade_proto import synthesis_pb2 as pb

from cascade_client.errors import Overloaded
from cascade_client.messages.given import Failed, Given, Held
from cascade_client.messages.provenance import provenance
from cascade_client.messages.rows import unpack
from cascade_client.messages.wire import synthesize_request
from cascade_client.progress import Progress
from cascade_client.retry import Retry
from cascade_client.values.answers import Synthesis
from cascade_client.values.descriptions import TableDescription
from cascade_client.values.provenance import OutsideKind, OutsideTotal, Provenance, Tier, Timings

# Rows x draws of a part, and its values: few enough for others to get a turn between two parts and
# for progress to be seen, so many that a request's own cost is small beside them.
PART_ROWS, PART_VALUES = 4096, 1_000_000
# Values of an answer, above which what one request may ask for is asked for in parts all the same:
# a client takes answers of 256 MiB.
MOST_VALUES = 4_000_000
# Values outside of what was learnt that are named one by one, as by a server.
MOST_NAMED = 100
# Parts on their way at once: a server draws one while the caller's process reads one and makes the
# next. More than two brought nothing, and are in the way of others.
IN_FLIGHT = 2

OUTSIDE_WORDS: Mapping[OutsideKind, str] = {
    OutsideKind.BELOW: "below all that was learnt",
    OutsideKind.ABOVE: "above all that was learnt",
    OutsideKind.BETWEEN: "between numbers that were learnt",
    OutsideKind.CATEGORY: "not one of its categories",
    OutsideKind.NULL: "NULL, which it never was in training",
    OutsideKind.NOT_A_NUMBER: "not a number",
    OutsideKind.UNKNOWN: "outside of what was learnt",
}


class Part(NamedTuple):
    """Rows [begin, end) of the caller's."""

    begin: int
    end: int


def fits(rows: int, draws: int, schema: TableDescription) -> bool:
    """Whether one request may ask for rows, as far as their number says; one row always goes by
    itself, and it is for the server to say what is wrong with it."""
    values = rows * draws * len(schema.columns)
    return rows == 1 or (rows * draws <= schema.max_rows and values <= MOST_VALUES)


def cut(rows: int, draws: int, schema: TableDescription) -> list[Part]:
    """Rows in parts of about the same size, each of which one request may ask for."""
    most = min(PART_ROWS, PART_VALUES // max(1, len(schema.columns)), schema.max_rows) // draws
    most = max(1, most)
    return [Part(begin, min(begin + most, rows)) for begin in range(0, rows, most)]


class Parts:
    """A caller's rows on their way in parts.

    >>> parts.pin(ask(parts.requests(parts.ahead, timeout)))
    >>> for part in parts.rest: parts.add(part, ask(parts.requests(part, timeout)))
    >>> parts.synthesis()

    Attributes:
        ahead, rest: the parts.
        schema: of the release that answers, once it is known.
        done: rows that are there.

    Args:
        held: the rows.
        schema: of the table.
        draws: answers a row.
        progress: told how many rows are there, and of how many.
        options: of `synthesize_request`, for all parts.
    """

    def __init__(
        self,
        held: Held,
        schema: TableDescription,
        draws: int,
        progress: Progress | None,
        options: Mapping[str, Any],
    ) -> None:
        self.schema = schema
        self.ahead, *self.rest = cut(held.count, draws, schema)
        self._held, self._draws, self._progress = held, draws, progress
        self._options = dict(options)
        if self._options.get("seed") is None:
            self._options["seed"] = random.getrandbits(63)
        self._answers: dict[Part, list[pb.SynthesizeResponse]] = {}
        self.done = 0

    @property
    def first_share(self) -> float:
        """The share of all rows that the first part has."""
        return (self.ahead.end - self.ahead.begin) / self._held.count

    def requests(self, part: Part, timeout: float | None) -> Iterator[pb.SynthesizeRequest]:
        """A part as requests: one, unless its message would be larger than a server takes.

        Raises:
            InvalidRequest: a value has no place in a table, or an argument is wrong.
        """
        given, one_row = self._held.read(*part), part.end - part.begin == 1
        request = self._request(given, part, timeout)
        # Those on their way at once go in one message, if they go over a session.
        if request.ByteSize() <= self.schema.max_message_bytes // (IN_FLIGHT + 1) or one_row:
            yield request
            return
        middle = (part.begin + part.end) // 2
        yield from self.requests(Part(part.begin, middle), timeout)
        yield from self.requests(Part(middle, part.end), timeout)

    def _request(self, given: Given, part: Part, timeout: float | None) -> pb.SynthesizeRequest:
        return synthesize_request(
            self.schema,
            given,
            draws=self._draws,
            timeout=timeout,
            first_row=part.begin,
            offline=True,
            **self._options,
        )

    def choose(self, fidelity: str) -> None:
        """Ask all parts of one tier."""
        self._options["fidelity"] = fidelity

    def pin(self, answers: Sequence[pb.SynthesizeResponse]) -> None:
        """Take the answers of the part that went ahead; the others are asked of who gave them."""
        made = provenance(answers[0].provenance)
        self._options["version"] = made.version or self._options.get("version")
        if self._options.get("fidelity") == "auto" and made.tier is not Tier.UNKNOWN:
            self.choose("full" if made.tier is Tier.TEACHER else "fast")
        self.add(self.ahead, answers)

    def add(self, part: Part, answers: Sequence[pb.SynthesizeResponse]) -> None:
        """Take a part's answers, and tell of progress."""
        self._answers[part] = list(answers)
        self.done += part.end - part.begin
        if self._progress is not None:
            self._progress(self.done, self._held.count)

    def delay(self, error: Overloaded, done: int, retry: Retry) -> float:
        """Seconds until a part is asked for again that was refused as often as `retry` allows.

        Args:
            error: as it was refused in the end; raised, unless other parts were answered meanwhile:
                then the server has much to do, and goes on with these rows.
            done: rows that were there before it was asked.
            retry: as the client is told to.
        """
        if error.retry_after is None or self.done == done or retry.attempts == 1:
            raise error
        return error.retry_after

    def explained(self, error: Failed, part: Part) -> Failed:
        """An error of a part, which names the rows that it is about as the caller knows them."""
        return self._held.explained(error, *part)

    def synthesis(self) -> Synthesis[Any]:
        """All rows, in the order in which they were given."""
        parts = sorted(self._answers)
        answers = [answer for part in parts for answer in self._answers[part]]
        data = unpack(
            [answer.rows for answer in answers],
            self.schema,
            self._held.form,
            self._held.frame,
            self._draws,
        )
        scores = None
        if self._options.get("log_likelihood"):
            scores = np.concatenate([np.array(list(each.log_likelihood)) for each in answers])
        return Synthesis(data, self._provenance(answers), scores, self._draws)

    def _provenance(self, answers: Sequence[pb.SynthesizeResponse]) -> Provenance:
        """Where the rows come from, of all parts; times are sums."""
        begin, made = 0, []
        for answer in answers:
            each = provenance(answer.provenance)
            outside = tuple(replace(value, row=value.row + begin) for value in each.outside_values)
            made.append(replace(each, outside_values=outside))
            begin += answer.rows.count // self._draws
        totals: dict[tuple[str, OutsideKind], int] = {}
        for each in made:
            for total in each.outside_totals:
                key = total.column, total.kind
                totals[key] = totals.get(key, 0) + total.values
        times = [each.timings for each in made]
        return replace(
            made[0],
            steps=max(each.steps for each in made),
            cached=all(each.cached for each in made),
            timings=Timings(
                sum(each.encode for each in times),
                sum(each.queue for each in times),
                sum(each.compute for each in times),
                sum(each.decode for each in times),
            ),
            notices=tuple(
                f"column {column!r}: {values:,} value{'s' * (values > 1)} "
                f"{'are' if values > 1 else 'is'} {OUTSIDE_WORDS[kind]}"
                for (column, kind), values in totals.items()
            ),
            outside_values=tuple(value for each in made for value in each.outside_values)[
                :MOST_NAMED
            ],
            outside_totals=tuple(
                OutsideTotal(column, kind, values) for (column, kind), values in totals.items()
            ),
        )
