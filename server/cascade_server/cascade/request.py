"""A checked and encoded request."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from cascade_tables import Encoded, ValueNotAllowed
from numpy.typing import NDArray

from cascade_server.deadline import Work
from cascade_server.engines.noise import NoiseSource, inside_bins, new_seed, noise_of, stream
from cascade_server.engines.runtime import Mask, Noise, Runtime, Tokens
from cascade_server.engines.spent import Spent
from cascade_server.errors import BadRequest
from cascade_server.telemetry.call_trace import CallTrace
from cascade_server.terms import Wanted
from cascade_server.wire import rows as wire
from cascade_server.wire.synthesis_request import SynthesisRequest

# The largest `first_row`: the random numbers of a seed are counted in 64 bits.
MOST_ROWS_BEFORE = 2**32


@dataclass
class CheckedRequest:
    """A `SynthesisRequest` that has been checked against a release, and encoded.

    Attributes:
        runtime: the release that answers.
        work: the request's deadline.
        names: columns to return, in their order.
        given: the caller's values, by column, as in the request.
        encoded: the same values as tokens, [rows, T].
        rows: rows of the request.
        draws: completions of each row.
        seed: the seed of its random numbers.
        seeded: whether the caller named the seed.
        first_row: number of the caller's rows before this request's first. With it, a table sent in
            several requests gets the same random numbers as one sent whole.
        wanted, log_likelihood, explain, offline: as in the request.
        began: when reading it began (`time.perf_counter`).
        encoded_at: when encoding ended (`time.perf_counter`).
        total: rows of the answer, rows x draws.
        trace: its stages; None: not traced.
        spent: the compute for it so far.
    """

    runtime: Runtime
    work: Work
    names: tuple[str, ...]
    given: Mapping[str, Sequence[Any]]
    encoded: Encoded
    rows: int
    draws: int
    seed: int
    seeded: bool
    first_row: int
    wanted: Wanted
    log_likelihood: bool
    explain: bool
    offline: bool
    began: float
    encoded_at: float
    total: int = field(init=False)
    spent: Spent = field(default_factory=Spent)
    trace: CallTrace | None = None

    def __post_init__(self) -> None:
        self.total = self.rows * self.draws

    @property
    def version(self) -> int:
        """The version of the release that answers."""
        return self.runtime.version

    @property
    def drawn_tokens(self) -> int:
        """The number of tokens of the answer that must be drawn."""
        return self.draws * self.encoded.observed.tobytes().count(0)

    def student_noise(self) -> NoiseSource:
        """Return the student's random numbers for the answer, from its first row on."""
        observed = self.encoded.observed
        noise = self.runtime.noise_of_student
        return noise.source(self.seed, self.first_row, self.draws, observed)

    def fill_student_noise(self, out: Noise) -> None:
        """Write the same numbers to `out`: float32 [total, student_noise]; see `StudentNoise`."""
        observed = self.encoded.observed
        self.runtime.noise_of_student.fill(out, self.seed, self.first_row, self.draws, observed)

    def teacher_noise(self) -> NoiseSource:
        """Return the teacher's random numbers for the answer, from its first row on."""
        start = self.first_row * self.draws * self.runtime.teacher_noise
        return noise_of(stream(self.seed, start=start))

    def inside_bins(self) -> Callable[[Sequence[int]], NDArray[np.float64]]:
        """Return a function from slots to each number's position in its bin; see `noise`."""
        first = self.first_row * self.draws
        return inside_bins(self.seed, first, self.total, self.runtime.columns)

    def completed(self) -> tuple[Tokens, Mask]:
        """Return tokens, and which are known, int32 and bool [total, T]: each row once per draw."""
        tokens, observed = self.encoded.tokens, self.encoded.observed
        if self.draws == 1:
            return tokens, observed
        return tokens.repeat(self.draws, axis=0), observed.repeat(self.draws, axis=0)


def check(
    request: SynthesisRequest,
    runtime: Runtime,
    work: Work,
    max_rows: int,
    began: float | None = None,
) -> CheckedRequest:
    """Check a request against a release, and encode its given values.

    Args:
        request: the request.
        runtime: the release that answers.
        work: the request's deadline.
        max_rows: most rows x draws.
        began: when reading it began (`time.perf_counter`); None: now.

    Raises:
        BadRequest, UnknownColumn, ValueNotAllowed: names what is wrong and what is allowed.
        DeadlinePassed: its deadline has passed.
    """
    if began is None:
        began = time.perf_counter()
    work.check()
    rows, draws = request.rows, request.draws
    if rows < 1:
        raise BadRequest("rows.count is 0; at least 1 row is needed")
    if not 1 <= draws <= max_rows // rows:
        allowed = f"1 to {max_rows // rows:,}" if rows <= max_rows else "none: too many rows"
        raise BadRequest(
            f"draws is {draws:,} for {rows:,} row{'s' * (rows > 1)}; allowed draws: {allowed} "
            f"(rows x draws is at most {max_rows:,})"
        )
    if request.first_row >= MOST_ROWS_BEFORE:
        raise BadRequest(
            f"first_row is {request.first_row:,}; allowed: 0 to {MOST_ROWS_BEFORE - 1:,}"
        )
    codec, seed = runtime.release.codec, request.seed
    names = wire.check_names(codec.schema, request.names)
    try:
        encoded = codec.encode_partial(request.given, rows, request.strict)
    except ValueNotAllowed as exc:
        if not request.first_row:
            raise
        raise exc.behind(request.first_row) from exc
    return CheckedRequest(
        runtime=runtime,
        work=work,
        names=names,
        given=request.given,
        encoded=encoded,
        rows=rows,
        draws=draws,
        seed=new_seed() if seed is None else seed,
        seeded=seed is not None,
        first_row=request.first_row,
        wanted=request.wanted,
        log_likelihood=request.log_likelihood,
        explain=request.explain,
        offline=request.offline,
        began=began,
        encoded_at=time.perf_counter(),
    )
