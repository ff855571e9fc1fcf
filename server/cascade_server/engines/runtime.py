"""Runs a release's networks on the CPU: with ONNX Runtime, and the student in compiled code."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from functools import cache
from typing import Any

import numpy as np
import onnxruntime as ort
from cascade_proto.cells import FIELDS
from cascade_tables import Release, ReleaseError
from cascade_tables.sampling import log_likelihood
from numpy.typing import NDArray

from cascade_server.engines.native.library import load_library
from cascade_server.engines.native.walk import open_walk
from cascade_server.engines.philox import Uniform
from cascade_server.engines.student_noise import StudentNoise
from cascade_server.terms import Tier

Tokens = NDArray[np.int32]
Mask = NDArray[np.bool_]
Noise = NDArray[np.float32]

# Batch sizes that run once before a release answers: powers of two up to a full batch, which is
# smaller for the teacher.
TEACHER_PART = 256
WARM_BATCHES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
LARGEST_WARM = {Tier.STUDENT: 1024, Tier.TEACHER: TEACHER_PART}
# Rows of one run: larger requests are split, so that memory is bounded and caches stay warm.
MAX_BATCH = 1024
# Runs of up to 16 rows are not padded. Larger ones are padded to one of 8 sizes per power of two;
# see `padded_rows`.
EXACT_ROWS, STEPS = 16, 8


def padded_rows(rows: int) -> int:
    """Return the rows to run the network with for `rows` rows: the same number or a few more.

    ONNX Runtime keeps a memory plan for each number of rows that it has ever run, which makes a run
    of one row a sixth shorter. With every number up to 256, a teacher's process grew by a fifth in
    an hour. Padding leaves 48 sizes up to 256 and 64 up to 1,024; after that the process stops
    growing. A run has at most an eighth more rows, 3.6 % on average.
    """
    if rows <= EXACT_ROWS:
        return rows
    step = 2 ** (rows - 1).bit_length() // (2 * STEPS)
    return -(-rows // step) * step


def _run(
    session: ort.InferenceSession, output: str, tokens: Tokens, observed: Mask, noise: Noise
) -> NDArray[Any]:
    """Run a network and return one output, without the rows that were added as padding."""
    rows = len(tokens)
    if more := padded_rows(rows) - rows:
        tokens = np.concatenate([tokens, np.zeros((more, tokens.shape[1]), tokens.dtype)])
        observed = np.concatenate([observed, np.zeros((more, observed.shape[1]), np.bool_)])
        noise = np.concatenate([noise, np.full((more, noise.shape[1]), 0.5, noise.dtype)])
    feed = {"tokens": tokens, "observed": observed, "noise": noise}
    found: NDArray[Any] = session.run([output], feed)[0]
    return found[:rows]


@cache
def _one_arena() -> None:
    """Let all networks of this process share one arena of ONNX Runtime's memory.

    By default each network has an arena of its own, which keeps the most memory that any run has
    taken, although it is needed only during a run. Six teachers of `credit` took 259 MiB that way,
    and 179 MiB with one arena for all.
    """
    memory = ort.OrtMemoryInfo(
        "Cpu", ort.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, ort.OrtMemType.DEFAULT
    )
    # -1 is ONNX Runtime's default. Strategy 0 grows to the next power of two. Runs have many sizes,
    # and pieces of exactly one run's size (strategy 1) seldom fit another: after 24,000 draws a
    # teacher's process had 206 MiB with 1 and 185 with 0.
    ort.create_and_register_allocator(
        memory,
        ort.OrtArenaCfg(
            {
                "max_mem": 0,
                "arena_extend_strategy": 0,
                "initial_chunk_size_bytes": -1,
                "max_dead_bytes_per_chunk": -1,
            }
        ),
    )


def _session(model: bytes, threads: int, name: str) -> ort.InferenceSession:
    _one_arena()
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    # A thread that spins while it waits would take the core from the event loop.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.use_env_allocators", "1")
    try:
        return ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    except Exception as exc:  # onnxruntime's errors share no base class of their own
        raise ReleaseError(f"{name} cannot be run by ONNX Runtime: {exc}") from exc


def _check_noise(session: ort.InferenceSession, width: int, name: str) -> None:
    """Refuse a graph that takes other noise than its release says, before noise is made.

    Raises:
        ReleaseError: names the network and both widths.
    """
    takes = next((each.shape[-1] for each in session.get_inputs() if each.name == "noise"), "no")
    if takes != width:
        raise ReleaseError(
            f"{name} takes {takes} numbers of noise a row, but release.json says {width}"
        )


def _in_parts(
    run: Callable[[Tokens, Mask, Noise], Tokens], tokens: Tokens, observed: Mask, noise: Noise
) -> Tokens:
    parts = [slice(start, start + MAX_BATCH) for start in range(0, len(tokens), MAX_BATCH)]
    return np.concatenate([run(tokens[p], observed[p], noise[p]) for p in parts])


class Runtime:
    """A release's student and teacher, or one of them, ready to draw.

    Attributes:
        release: the release of these networks.
        columns: schema columns.
        version: the release's version.
        identity: distinguishes this release from every other, in any process: table, version and a
            digest of all its content.
        slots: T, tokens of a row.
        first_slot: first slot of each column.
        rows: encodes and decodes several rows at once.
        fields: for each column, the field of the wire's `Column` that holds its values.
        student_noise, teacher_noise: uniform numbers per row.
        noise_of_student: where the student's numbers of a request lie.
        steps: the teacher's passes at full fidelity; a row takes no more than it has missing
            columns.
        profile: tier, rows and seconds of a pass for each batch size, from the warm-up.
        tiers: the tiers that it has.
        teacher_part: rows of one task of the teacher. Larger requests are split, so that memory is
            bounded and others get a turn.
        whole_passes: whether the teacher takes rows through all their passes in one call of
            `complete`; otherwise each pass is a call of `denoise`.
        makes_noise: whether the teacher makes its own noise, with `generate`.
        on_gpu: whether the networks run on a GPU of this machine.
        student_by: what draws the student's rows, in words; "" if there is no student.
        rows_by: what encodes and writes single rows, in words.

    Args:
        release: the release whose networks to load.
        teacher_threads: ONNX Runtime's threads for the teacher.
        tiers: the tiers to load.
        compiled: whether to draw the student with compiled code if it is available.
    """

    teacher_part = TEACHER_PART
    whole_passes = False
    makes_noise = False
    on_gpu = False

    def __init__(
        self,
        release: Release,
        teacher_threads: int = 1,
        tiers: Collection[Tier] = tuple(Tier),
        compiled: bool = True,
    ) -> None:
        self.release = release
        self.layout = release.codec.layout
        self.slots = len(self.layout.sizes)
        self.columns = len(release.codec.schema.columns)
        self.version = release.manifest.version
        # Made now, so that no request waits for it.
        self.rows = release.codec.rows
        self.rows_by = "Python" if release.codec.compiled is None else "compiled code"
        self.fields = {name: FIELDS[kind] for name, kind in release.codec.kinds.items()}
        manifest = release.manifest
        self.identity = f"{manifest.table}/{manifest.version}/{manifest.digest}"
        self.student_noise = int(manifest.student["noise_width"])
        self.teacher_noise = int(manifest.teacher["noise_width"])
        self.noise_of_student = StudentNoise(self.layout, load_library())
        self.steps = int(manifest.teacher["steps"])
        self.profile: list[tuple[Tier, int, float]] = []
        self.first_slot = self.layout.first_slot
        models = {
            Tier.STUDENT: (release.student, 1),
            Tier.TEACHER: (release.teacher, teacher_threads),
        }
        self.tiers = tuple(tiers)
        self._sessions = {
            tier: _session(*models[tier], f"{manifest.table}'s {tier}") for tier in tiers
        }
        widths = {
            Tier.STUDENT: self.student_noise,
            Tier.TEACHER: self.teacher_noise - self.columns,
        }
        for tier, session in self._sessions.items():
            _check_noise(session, widths[tier], f"{manifest.table}'s {tier}")
        self._walk, self.student_by = None, ""
        if Tier.STUDENT in self._sessions:
            if compiled:
                name = f"{manifest.table} v{manifest.version}'s student"
                self._walk = open_walk(release.student, self.layout, self._run_student, name)
            self.student_by = "ONNX Runtime" if self._walk is None else "compiled code"

    def warm(self, pause: Callable[[], None] = lambda: None) -> None:
        """Run every batch size, so that no request pays for a first run; fills `profile`.

        The largest sizes run first: smaller ones then find enough memory. The largest takes half of
        the time, and for that reason does not run twice.

        Args:
            pause: called after each run.
        """
        slots = len(self.layout.sizes)
        for n in reversed(WARM_BATCHES):
            tokens, nothing = np.zeros((n, slots), np.int32), np.zeros((n, slots), bool)
            for tier, run, width in (
                (Tier.STUDENT, self.draw_student, self.student_noise),
                (Tier.TEACHER, self.denoise, self.teacher_noise - self.columns),
            ):
                if tier not in self._sessions or n > LARGEST_WARM[tier]:
                    continue
                noise = np.full((n, width), 0.5, np.float32)
                if n < MAX_BATCH // 4:
                    run(tokens, nothing, noise)
                began = time.perf_counter()
                run(tokens, nothing, noise)
                self.profile.append((tier, n, time.perf_counter() - began))
                pause()
        self.profile.reverse()

    def passes(self, observed: Mask) -> int:
        """Return the teacher's passes at full fidelity for the row with most missing columns."""
        missing = (~observed[:, self.first_slot]).sum(axis=1)
        return min(self.steps, int(missing.max(initial=0)))

    def draw_student(self, tokens: Tokens, observed: Mask, noise: Noise) -> Tokens:
        """Complete tokens int32 [n, T] with the student; noise uniform [n, student_noise]."""
        draw = self._walk or self._run_student
        if len(tokens) <= MAX_BATCH:
            return draw(tokens, observed, noise)
        return _in_parts(draw, tokens, observed, noise)

    def _run_student(self, tokens: Tokens, observed: Mask, noise: Noise) -> Tokens:
        """Run the student with ONNX Runtime, on up to `MAX_BATCH` rows."""
        return _run(self._sessions[Tier.STUDENT], "drawn", tokens, observed, noise)

    def denoise(self, tokens: Tokens, observed: Mask, noise: Noise) -> Tokens:
        """Run one pass of the teacher: draw every slot; noise is uniform [n, sum of the sizes]."""
        if len(tokens) <= MAX_BATCH:
            return _run(self._sessions[Tier.TEACHER], "drawn", tokens, observed, noise)
        return _in_parts(self.denoise, tokens, observed, noise)

    def complete(self, tokens: Tokens, revealing_pass: Tokens, noise: Noise, passes: int) -> Tokens:
        """Run all remaining passes of rows, if `whole_passes`.

        Args:
            tokens: int32 [n, T], 0 if nothing is known.
            revealing_pass: int32 [n, T], the pass that reveals each slot, from 0; negative if it is
                known.
            noise: uniform [n, sum of the sizes].
            passes: the most passes of a row.
        """
        raise NotImplementedError(f"{type(self).__name__} makes the teacher's passes one by one")

    def generate(
        self, tokens: Tokens, observed: Mask, parts: Sequence[tuple[Uniform, int]]
    ) -> Tokens:
        """Complete rows and make their noise, if `makes_noise`.

        Args:
            tokens, observed: int32 and bool [n, T], n at most `teacher_part`.
            parts: consecutive parts of the rows, n rows in all. Each gives teacher_noise numbers
                per row and the most passes.
        """
        raise NotImplementedError(f"{type(self).__name__} makes no noise")

    def log_likelihood(self, tokens: Tokens, observed: Mask) -> NDArray[np.float64]:
        """Return ln p(observed) of each row, in nats."""

        def log_prob(pairs: Tokens, known: Mask) -> NDArray[np.float32]:
            scores = []
            for start in range(0, len(pairs), MAX_BATCH):
                part = pairs[start : start + MAX_BATCH]
                noise = np.full((len(part), self.teacher_noise - self.columns), 0.5, np.float32)
                seen = known[start : start + MAX_BATCH]
                session = self._sessions[Tier.TEACHER]
                scores.append(_run(session, "log_prob", part, seen, noise))
            return np.concatenate(scores)

        return log_likelihood(log_prob, tokens, observed, self.layout.column)
