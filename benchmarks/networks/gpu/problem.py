"""What every way is given: rows to complete, and what the CPU makes of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from cascade_server.engines.gpu import graphs
from cascade_server.engines.gpu.lanes import Layout
from cascade_server.engines.gpu.providers import CPU
from cascade_server.engines.philox import Uniform
from cascade_tables import Release
from cascade_tables.sampling import sample_teacher

SEEDS = {"student": 1, "teacher": 2}


class Problem:
    """Rows to complete, half of them with nothing known, and what the CPU makes of them."""

    def __init__(self, release: Release, folder: Path, rows: int, batch: int) -> None:
        self.release, self.folder, self.rows, self.batch = release, folder, rows, batch
        layout = release.codec.layout
        self.column = np.asarray(layout.column, np.int32)
        columns = int(self.column.max()) + 1
        self.layout = Layout(
            slots=len(layout.sizes),
            columns=columns,
            student_noise=sum(layout.sizes) + len(layout.sizes),
            teacher_noise=sum(layout.sizes) + columns,
            column_of_slot=self.column,
            first_slot=layout.first_slot.astype(np.int32),
            leading=layout.leading,
        )
        self.straight = graphs.straight(release.student)
        self.whole_pass = graphs.teacher_pass(release.teacher)

    def noise(self, tier: str, batch: int, rows: int) -> Uniform:
        width = self.layout.student_noise if tier == "student" else self.layout.teacher_noise
        return Uniform(SEEDS[tier], batch, 0, rows, width)

    def masks(self, batch: int, rows: int) -> np.ndarray:
        rng = np.random.default_rng(batch)
        known = rng.random((rows, self.layout.columns)) < rng.random((rows, 1))
        known &= rng.random((rows, 1)) < 0.5
        return known[:, self.column]

    def batches(self) -> list[int]:
        return [min(self.batch, self.rows - at) for at in range(0, self.rows, self.batch)]

    def make(self, threads: int) -> None:
        """Write the rows and what the CPU draws for them."""
        student, teacher = (
            session(model, threads) for model in (self.release.student, self.release.teacher)
        )
        columns, made = self.layout.columns, []
        for index, rows in enumerate(self.batches()):
            shape = (rows, self.layout.slots)
            noise = Uniform(3, index, 0, rows, self.layout.student_noise).array()
            feed = {"tokens": np.zeros(shape, np.int32), "observed": np.zeros(shape, bool)}
            tokens = student.run(None, {**feed, "noise": noise})[0]
            observed = self.masks(index, rows)
            noise = self.noise("student", index, rows).array()
            drawn = student.run(None, {"tokens": tokens, "observed": observed, "noise": noise})[0]

            def denoise(tokens: Any, observed: Any, noise: Any) -> Any:
                feed = {"tokens": tokens, "observed": observed, "noise": noise}
                return teacher.run(["drawn"], feed)[0]

            noise = self.noise("teacher", index, rows).array()
            row = self.release.codec.layout
            completed = sample_teacher(denoise, tokens, observed, noise, row, columns)
            made.append((tokens, observed, drawn, completed))
        parts = [np.concatenate(each) for each in zip(*made, strict=True)]
        np.savez(self.folder / "rows.npz", *parts)

    def load(self) -> None:
        with np.load(self.folder / "rows.npz") as file:
            self.tokens, self.observed, drawn, completed = (file[name] for name in file.files)
        self.expected = {"student": drawn, "teacher": completed}

    def equal(self, tier: str, draw: Callable[[np.ndarray, np.ndarray, int], np.ndarray]) -> float:
        """Share of rows that are equal, all tokens; `draw` takes tokens, mask and batch number."""
        equal = at = 0
        for index, rows in enumerate(self.batches()):
            part = slice(at, at + rows)
            drawn = draw(self.tokens[part], self.observed[part], index)
            equal += int((drawn == self.expected[tier][part]).all(axis=1).sum())
            at += rows
        return equal / self.rows


def session(model: bytes, threads: int) -> Any:
    options = ort.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = threads, 3
    return ort.InferenceSession(model, options, providers=[CPU])


def work(problem: Problem) -> dict[str, Any]:
    """What a row costs at least: operations of its matrix products, bytes in and out."""
    layout = problem.layout
    given = 4 * layout.slots + layout.slots  # tokens and mask
    return {
        "student_flop": graphs.operations(problem.straight),
        "student_weight_bytes": graphs.weight_bytes(problem.straight),
        "student_row_bytes": given + 4 * layout.student_noise + 4 * layout.slots,
        "teacher_flop": graphs.operations(problem.whole_pass) * layout.columns,
        "teacher_pass_weight_bytes": graphs.weight_bytes(problem.whole_pass),
        # A pass reads tokens, when each is revealed, and the noise, and writes tokens.
        "teacher_row_bytes": layout.columns * 4 * (3 * layout.slots + layout.teacher_noise),
        "passes": layout.columns,
    }
