"""A table's student and teacher as other models of the same Triton ("business logic scripting")."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import numpy as np
from cascade_tables.releases.triton_files import TEACHER_BATCH
from numpy.typing import NDArray

from cascade_server.engines.runtime import Mask, Noise, Runtime, Tokens
from cascade_server.terms import Tier
from cascade_server.triton_models import backend
from cascade_server.triton_models.outlook import Outlooks
from cascade_server.triton_models.shared_draws import Draw
from cascade_server.wire.model_tensors import DRAWN, LOG_LIKELIHOOD, NOISE, OBSERVED, TOKENS

# Batch sizes to try before the first request is routed.
TRIED = (1, 2, 4, 8, 16, 32, 64, 128, 256)


class Networks:
    """Calls both models.

    Args:
        runtime: the release's runtime; its sessions are not used.
    """

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._version = runtime.release.manifest.version
        table = runtime.release.manifest.table
        self._student, self._teacher = f"{table}_{Tier.STUDENT}", f"{table}_{Tier.TEACHER}"

    def student(self, tokens: Tokens, observed: Mask, noise: Noise) -> Tokens:
        """Complete tokens int32 [n, T], n <= MAX_BATCH; noise uniform [n, student_noise].

        Raises:
            NotReady: the student does not answer.
        """
        given = {TOKENS: tokens, OBSERVED: observed, NOISE: noise}
        (drawn,) = backend.call(self._student, self._version, given, (DRAWN,))
        return drawn

    def teacher(
        self, tokens: Tokens, observed: Mask, noise: Noise, steps: int, timeout: int = 0
    ) -> Tokens:
        """Complete tokens int32 [n, T], n <= TEACHER_BATCH, in `steps` passes at most.

        Args:
            tokens, observed: int32 and bool [n, T].
            noise: uniform [n, teacher_noise].
            steps: the most passes.
            timeout: microseconds after which no caller waits any more; 0 for no limit.

        Raises:
            NotReady: the teacher does not answer.
        """
        given = {TOKENS: tokens, OBSERVED: observed, NOISE: noise}
        how = {"steps": max(1, steps)}
        (drawn,) = backend.call(self._teacher, self._version, given, (DRAWN,), how, timeout)
        return drawn

    def log_likelihood(
        self, tokens: Tokens, observed: Mask, timeout: int = 0
    ) -> NDArray[np.float64]:
        """Return ln p(observed) of each row, in nats.

        Args:
            tokens, observed: int32 and bool [n, T].
            timeout: as for `teacher`.

        Raises:
            NotReady: the teacher does not answer.
        """
        parts = []
        for at in range(0, len(tokens), TEACHER_BATCH):
            part = slice(at, at + TEACHER_BATCH)
            given = {TOKENS: tokens[part], OBSERVED: observed[part]}
            parts += backend.call(
                self._teacher, self._version, given, (LOG_LIKELIHOOD,), timeout=timeout
            )
        return np.concatenate(parts)[:, 0]

    def learn(self, stop: threading.Event, student: Draw) -> Outlooks | None:
        """Measure how long both models take.

        Args:
            stop: checked between calls.
            student: draws like the method `student`, or replaces it.

        Returns:
            The measured times; None if stopped before the end.

        Raises:
            NotReady: one of the models does not answer.
        """
        found = Outlooks()

        def try_student(rows: int) -> None:
            student(*self._nothing(rows, self._runtime.student_noise))

        for rows in TRIED:
            for model, ask in ((found.student, try_student), (found.teacher, self._try_pass)):
                if stop.is_set():
                    return None
                ask(rows)
                model.observe(rows, _seconds_of(ask, rows))
        return found

    def teacher_seconds(self, rows: int) -> float:
        """Return the seconds of a pass of the teacher now, over so many rows without known columns.

        Raises:
            NotReady: the teacher does not answer.
        """
        return _seconds_of(self._try_pass, rows)

    def _try_pass(self, rows: int) -> None:
        self.teacher(*self._nothing(rows, self._runtime.teacher_noise), steps=1)

    def _nothing(self, rows: int, noise: int) -> tuple[Tokens, Mask, Noise]:
        """Return rows without known columns."""
        slots = self._runtime.slots
        half = np.full((rows, noise), 0.5, np.float32)
        return np.zeros((rows, slots), np.int32), np.zeros((rows, slots), np.bool_), half


def _seconds_of(ask: Callable[[int], None], rows: int) -> float:
    began = time.perf_counter()
    ask(rows)
    return time.perf_counter() - began
