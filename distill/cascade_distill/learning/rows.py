"""Training and held-out rows of a run: encoded once, and read again when a run is measured."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import asdict

import numpy as np
import torch
from cascade_tables import CascadeTablesError, Codec, Frame, Schema
from cascade_tables.files.table import Stream, below_each_other, stream_of
from numpy.typing import NDArray

from cascade_distill.errors import CheckpointMismatch, OtherTable, RunIncomplete
from cascade_distill.learning import held_out
from cascade_distill.models.neighbours import CHOICE_ROWS, Chosen, chosen_neighbours
from cascade_distill.models.smooth_bins import Smoothness
from cascade_distill.recipes import rows_to_hold_out
from cascade_distill.runs.checkpoint import write_atomic
from cascade_distill.runs.finished import note_rows
from cascade_distill.runs.run import Run
from cascade_distill.runs.token_store import TokenWriter
from cascade_distill.training.loop import fast_bfloat16, fingerprint

TEACHER_CHECKPOINT = "teacher.checkpoint.safetensors"


def prepare(
    run: Run,
    schema: Schema,
    frame: Frame,
    source: str,
    seed: int = 0,
    validation: Frame | None = None,
    stream: Stream | None = None,
) -> int:
    """Fit the codec, hold rows out and encode both parts.

    Args:
        run: the folder to write to.
        schema: of the table.
        frame: the table, or for a table too large for memory, the sample of rows that decides the
            codec.
        source: its name.
        seed: selects the held-out rows.
        validation: rows of a separate file to hold out; None: hold out some of the table's rows.

    Returns:
        How many rows of `validation` were left out because they have values that the table lacks.

    Raises:
        HeldOutRefused: `validation` cannot be used.
        CheckpointMismatch: the folder holds a network that was trained on other rows; it is left as
            it is.
    """
    codec = Codec.fit(schema, frame)
    codec_file = (json.dumps(codec.to_dict()) + "\n").encode()
    stream = stream or stream_of(frame)
    kept, others, left_out = np.zeros(0, np.int64), None, 0
    if validation is None:
        _, kept = held_out.split(stream.rows, rows_to_hold_out(stream.rows), seed)
    else:
        others, left_out = held_out.encode_file(codec, validation, seed)
    rows, sizes = stream.rows - len(kept), codec.layout.sizes
    path = run.path("tokens.safetensors")
    with TokenWriter(
        path, rows, codec.learnable_width, max(sizes) - 1, schema.fingerprint
    ) as writer:
        found = held_out.encode_learnt(codec, stream, kept, writer)
        others = found if others is None else others
        digests = (hashlib.sha256(part).hexdigest() for part in (codec_file, others.tobytes()))
        data = fingerprint(next(digests), writer.digest, next(digests))
        before = run.read_json("run.json").get("data", data)
        checkpoint = run.path(TEACHER_CHECKPOINT)
        begun = checkpoint.exists()
        if begun and before != data:
            raise CheckpointMismatch(checkpoint, before, data)
        if before != data:
            note_rows(run, before)
        write_atomic(run.path("codec.json"), codec_file)
        writer.commit()
    if len(others):
        run.save_tokens("held_out.safetensors", torch.from_numpy(others), schema.fingerprint)
    else:
        run.path("held_out.safetensors").unlink(missing_ok=True)
    run.update(
        source=source,
        data=data,
        rows=rows,
        slots=len(sizes),
        bfloat16=has_bfloat16(run),
        # A run that has begun keeps its neighbours; a run that predates neighbours has none.
        neighbours=told_neighbours(run) if begun else _found_neighbours(run, codec),
        smoothness=run.read_json("run.json").get("smoothness")
        if begun
        else asdict(Smoothness().for_rows(rows)),
        held_out={"rows": len(others), "of_the_table": validation is None, "seed": seed},
    )
    return left_out


def has_bfloat16(run: Run) -> bool:
    """Return whether a run may use bfloat16 matrix products.

    This depends on the machine that the run began on, so that a resumed run computes as before.
    """
    return bool(run.read_json("run.json").get("bfloat16", fast_bfloat16()))


def _found_neighbours(run: Run, codec: Codec) -> list[Chosen]:
    """Find which numbers are near each other in the training rows; see `chosen_neighbours`."""
    stored = run.stored("tokens.safetensors", "")
    few = np.linspace(0, len(stored) - 1, min(len(stored), CHOICE_ROWS)).astype(np.int64)
    rows = stored[torch.from_numpy(few)].numpy()
    return chosen_neighbours(codec, rows)


def told_neighbours(run: Run) -> list[Chosen]:
    """Return the columns with neighbours of the run's teacher, with the neighbours of each."""
    kept = run.read_json("run.json").get("neighbours", [])
    return [
        (column, tuple(tuple((other, sign) for other, sign in terms) for terms in neighbours))
        for column, neighbours in kept
    ]


def smoothness_of(run: Run) -> Smoothness | None:
    """Return how smoothly the run's networks learn; None if the run predates smooth learning."""
    kept = run.read_json("run.json").get("smoothness")
    # A run from when only heads were smooth continues that way.
    return None if kept is None else Smoothness(**{"told": math.inf} | kept)


def recorded_choices(run: Run) -> list[object]:
    """Return what a run records about its networks beside their recipe, for their identity.

    These are its neighbours and its smoothness. A run that predates either lacks it, so that its
    identity stays what it was.
    """
    smoothness = smoothness_of(run)
    neighbours = told_neighbours(run)
    return [
        *([neighbours] if neighbours else []),
        *([] if smoothness is None else [asdict(smoothness)]),
    ]


def learnt_size(run: Run) -> tuple[int, int]:
    """Return the number of rows that the run's teacher was trained on, and of columns.

    Raises:
        RunIncomplete: no teacher was trained there.
    """
    columns = len(run.codec().schema.columns)
    if (rows := run.read_json("run.json").get("rows")) is None:
        raise RunIncomplete(
            f"{run.path('run.json')} does not say what was learnt from; run first: cascade fit "
            f"TABLE --out {run.folder}"
        )
    return int(rows), columns


def parts_of(run: Run, table: Stream) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return which rows of a table a run was trained on, and which it held out.

    Args:
        run: a run folder.
        table: the table given to `cascade fit`; only its length is used.

    Returns:
        Row indices of each; the second array is empty if the run held out a separate file, or
        nothing.

    Raises:
        OtherTable: the run was trained on a table of another length.
    """
    about = run.read_json("run.json").get("held_out", {})
    count = int(about.get("rows", 0)) if about.get("of_the_table", False) else 0
    seen = run.stored("tokens.safetensors", f"cascade fit TABLE --out {run.folder}")
    if table.rows != len(seen) + count:
        raise OtherTable(
            f"the table has {table.rows:,} rows, but {run.folder} learnt from one of "
            f"{len(seen) + count:,}; give the file that was learnt from"
        )
    return held_out.split(table.rows, count, int(about.get("seed", 0)))


def taken_from(run: Run, table: Stream, wanted: Sequence[NDArray[np.int64]]) -> tuple[Frame, ...]:
    """Take rows from the table that a run was trained on; reads all rows once to check them.

    Args:
        run: a run folder.
        table: the table given to `cascade fit`.
        wanted: for each frame to return, row indices, ascending.

    Raises:
        OtherTable: these are not the rows that the run was trained on.
    """
    codec, held = run.codec(), parts_of(run, table)[1]
    seen = run.stored("tokens.safetensors", "")
    found: list[list[Frame]] = [[] for _ in wanted]
    begin = learnt = 0
    for chunk in table.chunks():
        end = begin + len(chunk)
        here = np.ones(len(chunk), bool)
        here[held[slice(*np.searchsorted(held, [begin, end]))] - begin] = False
        try:
            tokens = codec.learnable(chunk.take(here))
        except CascadeTablesError as exc:
            raise OtherTable(f"this is not the table that {run.folder} learnt from: {exc}") from exc
        if not np.array_equal(tokens, seen[learnt : learnt + len(tokens)].numpy()):
            raise OtherTable(
                f"the table's rows are not those that {run.folder} learnt from, though as many; "
                "give the file that was learnt from"
            )
        learnt += len(tokens)
        for rows, parts in zip(wanted, found, strict=True):
            parts.append(chunk.take(rows[slice(*np.searchsorted(rows, [begin, end]))] - begin))
        begin = end
    return tuple(map(below_each_other, found))


def identity_of(run: Run, files: Sequence[str], *recipe: object) -> str:
    """Compute the identity that a checkpoint must match: the run's rows (of those files that exist)
    and the recipe.
    """
    data = {file: run.digest(file) for file in files if run.path(file).exists()}
    return fingerprint(data, *recipe)
