"""The clients' methods for whole frames, `complete` and `augment`, implemented in `frames`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeVar

from cascade_client.frames.augmentation import Augmentation, augmenting
from cascade_client.frames.completion import Completion, completing
from cascade_client.frames.flows import run, run_async
from cascade_client.inspection import AsyncInspection, Inspection
from cascade_client.messages.wire import Fidelity
from cascade_client.progress import Progress

T = TypeVar("T")


class FrameMethods(Inspection):
    """Methods of `Client` that take whole frames, including columns that the table lacks."""

    def complete(
        self,
        data: T,
        draws: int = 1,
        *,
        table: str | None = None,
        columns: Sequence[str] | None = None,
        seed: int | None = None,
        fidelity: Fidelity = "fast",
        strict: bool = False,
        version: int | None = None,
        timeout: float | None = None,
        progress: Progress | bool | None = None,
    ) -> Completion[T]:
        """Fill the holes of a frame, and leave everything else unchanged.

        For data at rest; `synthesize` is for services that complete row by row. Every empty cell
        (None, NaN, NaT, NA, null) in a column that the table has is a hole, and is drawn from
        p(hole | the rest of its row); it is never filled with NULL. Rows without a hole are not
        sent. Columns that the table lacks, dtypes, order and index stay unchanged.

        >>> client.complete(frame).data  # one draw for each hole
        >>> answer = client.complete(frame, draws=32)
        >>> answer.mean()  # what the draws say together
        >>> answer.spread()  # how far they are apart
        >>> answer.data  # each row 32 times: for a model whose scores are then averaged

        Args:
            data: a DataFrame of pandas or polars, a pyarrow Table or RecordBatch, any other object
                that provides a stream of Arrow's C interface, or a list of dicts, in which None is
                a hole.
            draws: variants of each row, >= 1.
            table: the table's name; None: the table that has all of those frame columns which any
                table of the server has.
            columns: columns to fill; a column that the frame lacks is appended. None: all columns
                that frame and table share.
            seed: equal seeds and frames give equal rows from the same release.
            fidelity: "fast" is the student, "full" the teacher, which takes far longer; "auto" the
                better of those that fit the timeout.
            strict: refuse values that were never learnt, as `synthesize` does.
            version: the release; None: the latest.
            timeout: seconds for each of the calls; None: no limit.
            progress: called as ``progress(done, total)`` whenever rows arrive; True: a bar, on a
                terminal or in a notebook.

        Raises:
            InvalidRequest: names the column and the value, or the candidate tables.
            NotFound: no such table or version.
            Overloaded, Unavailable, DeadlineExceeded: as `synthesize`.
        """
        flow = completing(
            data, draws, table, columns, seed, fidelity, strict, version, timeout, progress
        )
        return run(flow, self)

    def augment(
        self,
        data: T,
        target: str,
        ratio: float = 1.0,
        *,
        counts: Mapping[object, int] | None = None,
        table: str | None = None,
        seed: int | None = None,
        fidelity: Fidelity = "full",
        version: int | None = None,
        timeout: float | None = None,
        progress: Progress | bool | None = None,
    ) -> Augmentation[T]:
        """Add synthetic rows to a frame, so that rare values of a column become frequent.

        For training on classes of which one is rare, such as fraud: the frame comes back with new
        rows of the rare classes appended. Augment only training data, never evaluation data.

        >>> answer = client.augment(train, target="default_payment_next_month", ratio=1.0)
        >>> model.fit(answer.data[features], answer.data["default_payment_next_month"])
        >>> answer.added  # {1: 13292}

        Args:
            data: as `complete` takes it. New rows have its columns; those that the table lacks are
                empty.
            target: the column whose values are classes; a row in which it is empty belongs to none.
            ratio: rows that each class should have, as a share of the most frequent class, in (0,
                1]. Classes that already have as many get none.
            counts: rows to add by value of the target, instead of `ratio`.
            table, seed, version, timeout, progress: as `complete`.
            fidelity: "full" is the teacher, "fast" the student, which is far faster.

        Raises:
            InvalidRequest: names the column, the class or the argument, and what is allowed; a
                class that was never learnt is refused.
            NotFound, Overloaded, Unavailable, DeadlineExceeded: as `complete`.
        """
        flow = augmenting(
            data, target, ratio, counts, table, seed, fidelity, version, timeout, progress
        )
        return run(flow, self)


class AsyncFrameMethods(AsyncInspection):
    """Methods of `AsyncClient` that take whole frames."""

    async def complete(
        self,
        data: T,
        draws: int = 1,
        *,
        table: str | None = None,
        columns: Sequence[str] | None = None,
        seed: int | None = None,
        fidelity: Fidelity = "fast",
        strict: bool = False,
        version: int | None = None,
        timeout: float | None = None,
        progress: Progress | bool | None = None,
    ) -> Completion[T]:
        """Fill the holes of a frame, and leave everything else unchanged; see `Client.complete`."""
        flow = completing(
            data, draws, table, columns, seed, fidelity, strict, version, timeout, progress
        )
        return await run_async(flow, self)

    async def augment(
        self,
        data: T,
        target: str,
        ratio: float = 1.0,
        *,
        counts: Mapping[object, int] | None = None,
        table: str | None = None,
        seed: int | None = None,
        fidelity: Fidelity = "full",
        version: int | None = None,
        timeout: float | None = None,
        progress: Progress | bool | None = None,
    ) -> Augmentation[T]:
        """Add synthetic rows to a frame, so that rare values of a column become frequent; see
        `Client.augment`."""
        flow = augmenting(
            data, target, ratio, counts, table, seed, fidelity, version, timeout, progress
        )
        return await run_async(flow, self)
