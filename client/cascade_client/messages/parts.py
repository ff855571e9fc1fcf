"""Requests too large for one message, split into parts and merged again; no I/O.

The first part goes ahead: its answer fixes the release and the tier for the other parts. If the
caller named no seed, one is chosen. Each part says how many rows come before its own, so that the
rows do not depend on the split. Parts are offline work: they yield to real-time calls.
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

# Rows x draws of a part, and its values: few enough that other calls get a turn between parts and
# progress is visible, and enough that the fixed cost of a request is small.
PART_ROWS, PART_VALUES = 4096, 1_000_000
# Values of an answer above which even a request of allowed size is split: clients accept answers of
# at most 256 MiB.
MOST_VALUES = 4_000_000
# Values outside the learnt range that are named one by one, as by a server.
MOST_NAMED = 100
# Concurrent parts: a server draws one while the caller's process reads one and builds the next.
# More than two gained nothing, and delay other callers.
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
    """The caller's rows [begin, end)."""

    begin: int
    end: int


def fits(rows: int, draws: int, schema: TableDescription) -> bool:
    """Return whether one request may ask for this many rows.

    One row always fits: the server reports what is wrong with it.
    """
    values = rows * draws * len(schema.columns)
    return rows == 1 or (rows * draws <= schema.max_rows and values <= MOST_VALUES)


def cut(rows: int, draws: int, schema: TableDescription) -> list[Part]:
    """Split rows into parts of about the same size, each of which fits one request."""
    most = min(PART_ROWS, PART_VALUES // max(1, len(schema.columns)), schema.max_rows) // draws
    most = max(1, most)
    return [Part(begin, min(begin + most, rows)) for begin in range(0, rows, most)]


class Parts:
    """The parts of a caller's request, and their answers so far.

    >>> parts.pin(ask(parts.requests(parts.ahead, timeout)))
    >>> for part in parts.rest: parts.add(part, ask(parts.requests(part, timeout)))
    >>> parts.synthesis()

    Attributes:
        ahead, rest: the first part, and the others.
        schema: of the release that answers, once it is known.
        done: rows received.

    Args:
        held: the rows.
        schema: of the table.
        draws: answers per row.
        progress: called with the rows received and the total.
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
        """The first part's share of all rows."""
        return (self.ahead.end - self.ahead.begin) / self._held.count

    def requests(self, part: Part, timeout: float | None) -> Iterator[pb.SynthesizeRequest]:
        """Yield a part as requests: one, unless its message would exceed the server's size limit.

        Raises:
            InvalidRequest: a value cannot be stored in a table, or an argument is wrong.
        """
        given, one_row = self._held.read(*part), part.end - part.begin == 1
        request = self._request(given, part, timeout)
        # Concurrent requests share one message if they go over a session.
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
        """Set the tier of all parts."""
        self._options["fidelity"] = fidelity

    def pin(self, answers: Sequence[pb.SynthesizeResponse]) -> None:
        """Take the answers of the first part, and direct the other parts to the same release and
        tier.
        """
        made = provenance(answers[0].provenance)
        self._options["version"] = made.version or self._options.get("version")
        if self._options.get("fidelity") == "auto" and made.tier is not Tier.UNKNOWN:
            self.choose("full" if made.tier is Tier.TEACHER else "fast")
        self.add(self.ahead, answers)

    def add(self, part: Part, answers: Sequence[pb.SynthesizeResponse]) -> None:
        """Take a part's answers, and report progress."""
        self._answers[part] = list(answers)
        self.done += part.end - part.begin
        if self._progress is not None:
            self._progress(self.done, self._held.count)

    def delay(self, error: Overloaded, done: int, retry: Retry) -> float:
        """Return the seconds until a refused part is sent again, after `retry` is exhausted.

        Args:
            error: the last refusal; raised unless other parts were answered meanwhile: in that case
                the server is busy, but still serves these rows.
            done: rows received before the part was sent.
            retry: the client's retry settings.
        """
        if error.retry_after is None or self.done == done or retry.attempts == 1:
            raise error
        return error.retry_after

    def explained(self, error: Failed, part: Part) -> Failed:
        """Translate an error of a part to the caller's row labels."""
        return self._held.explained(error, *part)

    def synthesis(self) -> Synthesis[Any]:
        """Return all rows, in the caller's order."""
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
        """Merge the provenance of all parts; times are sums."""
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
