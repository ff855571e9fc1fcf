"""Sampling from exported graphs, the same files the server serves."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from cascade_tables import ABSENT, Codec, ColumnData, Frame, TokenLayout
from cascade_tables.sampling import sample_teacher, teacher_noise_width
from numpy.typing import NDArray

from cascade_distill.errors import RunDamaged
from cascade_distill.export.student_graph import student_noise_width

# Rows per batch: large enough for full arithmetic speed, small enough to stay in cache.
BATCH = 1024


def session(model: bytes | str, threads: int) -> ort.InferenceSession:
    """Create an ONNX Runtime session on the CPU with `threads` threads.

    Raises:
        RunDamaged: the model is a file that ONNX Runtime cannot load.
    """
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    try:
        return ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    except Exception as exc:  # its kinds have no base of their own
        if isinstance(model, str):
            raise RunDamaged(Path(model), exc) from exc
        raise


class StudentSampler:
    """Sampler of an exported student."""

    def __init__(self, model: bytes | str, layout: TokenLayout, threads: int = 1) -> None:
        self.layout = layout
        self._session = session(model, threads)

    def complete(
        self,
        tokens: NDArray[np.int32],
        observed: NDArray[np.bool_],
        rng: np.random.Generator,
    ) -> NDArray[np.int32]:
        """Draw the unobserved slots of tokens [n, T]."""
        width = student_noise_width(self.layout.sizes)
        noise = rng.random((len(tokens), width), dtype=np.float32)
        feed = {"tokens": tokens, "observed": observed, "noise": noise}
        drawn: NDArray[np.int32] = self._session.run(["drawn"], feed)[0]
        return drawn


class TeacherSampler:
    """Sampler of an exported teacher: one column per pass, unless `steps` sets fewer passes."""

    def __init__(
        self, model: bytes | str, layout: TokenLayout, threads: int = 1, steps: int | None = None
    ) -> None:
        self.layout = layout
        self.steps = max(layout.column) + 1 if steps is None else steps
        self._session = session(model, threads)

    def denoise(
        self,
        tokens: NDArray[np.int32],
        observed: NDArray[np.bool_],
        noise: NDArray[np.float32],
    ) -> NDArray[np.int32]:
        """Run one pass: draw every unobserved slot given the observed ones."""
        feed = {"tokens": tokens, "observed": observed, "noise": noise}
        drawn: NDArray[np.int32] = self._session.run(["drawn"], feed)[0]
        return drawn

    def complete(
        self,
        tokens: NDArray[np.int32],
        observed: NDArray[np.bool_],
        rng: np.random.Generator,
    ) -> NDArray[np.int32]:
        """Draw the unobserved slots of tokens [n, T]."""
        width = teacher_noise_width(self.layout.sizes, self.layout.column)
        noise = rng.random((len(tokens), width), dtype=np.float32)
        return sample_teacher(self.denoise, tokens, observed, noise, self.layout, self.steps)


def sample_tokens(
    sampler: StudentSampler | TeacherSampler,
    rows: int,
    seed: int | Sequence[int],
) -> NDArray[np.int32]:
    """Draw `rows` unconditional rows as tokens int32 [rows, T]."""
    rng = np.random.default_rng(seed)
    slots = len(sampler.layout.sizes)
    parts = []
    for begin in range(0, rows, BATCH):
        n = min(BATCH, rows - begin)
        nothing = np.zeros((n, slots), np.int32)
        parts.append(sampler.complete(nothing, np.zeros((n, slots), bool), rng))
    return np.concatenate(parts)


def complete_rows(
    sampler: StudentSampler | TeacherSampler,
    codec: Codec,
    rows: Frame,
    given: NDArray[np.bool_],
    rng: np.random.Generator,
    progress: Callable[[int], None] | None = None,
) -> Frame:
    """Keep some values of each row and draw the others, as a server answers a request with only
    those values.

    The given values are encoded as a caller's are, and stay unchanged.

    Args:
        sampler: of a student or teacher.
        codec: of the sampler's network.
        rows: whole rows, of the schema's columns.
        given: bool [n, C], in the schema's order: the values to keep.
        rng: of all draws.
        progress: called with the number of rows of each batch.
    """
    names = list(codec.schema.names)
    columns = _as_given(rows, names, given)
    encoded = codec.encode_partial(columns, len(rows))
    tokens = []
    for begin in range(0, len(rows), BATCH):
        part = slice(begin, begin + BATCH)
        tokens.append(sampler.complete(encoded.tokens[part], encoded.observed[part], rng))
        if progress is not None:
            progress(len(tokens[-1]))
    drawn = codec.decode_columns(np.concatenate(tokens), rng, names, columns)
    return Frame(
        {name: _kept(drawn[name], rows[name], given[:, place]) for place, name in enumerate(names)}
    )


def _as_given(rows: Frame, names: list[str], given: NDArray[np.bool_]) -> dict[str, list[Any]]:
    """Return the columns that a caller would have sent: values, None for NULL, `ABSENT` for
    unknown.
    """
    out = {}
    for place, name in enumerate(names):
        data = rows[name]
        values = data.values
        if values.dtype.kind == "M":
            values = values.astype("datetime64[us]").astype(np.int64)
        out[name] = [
            (None if null else value) if known else ABSENT
            for value, null, known in zip(
                values.tolist(), data.null.tolist(), given[:, place].tolist(), strict=True
            )
        ]
    return out


def _kept(drawn: ColumnData, real: ColumnData, given: NDArray[np.bool_]) -> ColumnData:
    values = drawn.values.copy()
    values[given] = real.values[given]
    return ColumnData(values, np.where(given, real.null, drawn.null), drawn.dtype)
