"""Training of a teacher: the run's rows, a time limit, training, and the release graph.

Finished steps are not repeated, and interrupted ones are resumed.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict
from functools import partial

import torch
from cascade_tables import Codec
from torch import Tensor, nn

from cascade_distill.export.teacher_graph import export_teacher
from cascade_distill.learning import held_out
from cascade_distill.learning.calibration import calibrate_marks
from cascade_distill.learning.rows import (
    TEACHER_CHECKPOINT,
    identity_of,
    recorded_choices,
    smoothness_of,
    told_neighbours,
)
from cascade_distill.learning.settled_marks import settle_once
from cascade_distill.models.neighbours import neighbours_of
from cascade_distill.models.smooth_bins import fold, smooth
from cascade_distill.models.teacher import Denoiser, TeacherConfig, random_observed
from cascade_distill.recipes import (
    TeacherRecipe,
    within,
)
from cascade_distill.runs.checkpoint import load_tensors, save_tensors, write_atomic
from cascade_distill.runs.finished import LEARNT_FROM, note_teacher, teacher_graph
from cascade_distill.runs.run import Run
from cascade_distill.runtime import TeacherSampler
from cascade_distill.training.loop import Outcome, Progress, best_device, seconds_a_step, train

TEACHER_FILES = ("tokens.safetensors", "held_out.safetensors")


class _Teaching:
    """A freshly initialised teacher and its training rows."""

    def __init__(self, run: Run, recipe: TeacherRecipe) -> None:
        command = f"cascade fit TABLE --out {run.folder}"
        device = best_device()
        codec = run.codec()
        self._layout = codec.layout
        self._rows, self._device = recipe.train.batch_rows, device
        self.rows = run.stored("tokens.safetensors", command).to(device)
        torch.manual_seed(recipe.train.seed)
        self.model = _untaught(run, codec, recipe.model)
        if (smoothness := smoothness_of(run)) is not None:
            smooth(self.model, smoothness)
        self.model.to(device)
        self.held_out: Callable[[], Tensor] | None = None
        if run.path("held_out.safetensors").exists():
            others = run.tokens("held_out.safetensors", command).to(device)
            self.held_out = held_out.held_out_loss(self.model, others, recipe.train.seed)

    def loss(self, model: nn.Module, generator: torch.Generator) -> Tensor:
        """Compute the loss of one batch, with a model that may be a copy of this one."""
        assert isinstance(model, Denoiser)
        picked = torch.randint(len(self.rows), (self._rows,), generator=generator)
        observed = random_observed(self._rows, self._layout, generator).to(self._device)
        return model.loss(self.rows[picked.to(self._device)], observed, generator)


def _untaught(run: Run, codec: Codec, config: TeacherConfig) -> Denoiser:
    """Return a teacher with random weights, which uses the run's neighbours."""
    return Denoiser(codec.layout, config, neighbours_of(codec, told_neighbours(run)))


def untaught_teacher(run: Run, recipe: TeacherRecipe) -> Denoiser:
    """Return an untrained teacher, to estimate how long training takes."""
    return _Teaching(run, recipe).model


def pace(run: Run, recipe: TeacherRecipe) -> float:
    """Measure the seconds per training step of this teacher on this machine; the results are
    discarded.
    """
    teaching = _Teaching(run, recipe)
    return seconds_a_step(teaching.model, teaching.loss, recipe.train)


def bounded(run: Run, recipe: TeacherRecipe, minutes: float) -> TeacherRecipe:
    """Return the recipe that trains for at most some minutes on this machine.

    The recipe is chosen once: a resumed run keeps the number of steps that it began with, even if
    the machine is faster or slower by then.
    """
    key = identity_of(run, TEACHER_FILES, asdict(recipe), minutes)
    kept = run.read_json("run.json").get("bound", {})
    if kept.get("identity") == key:
        seconds = float(kept["seconds_a_step"])
    else:
        seconds = pace(run, recipe)
        run.update(bound={"identity": key, "minutes": minutes, "seconds_a_step": seconds})
    return within(recipe, minutes, seconds)


def fit_teacher(
    run: Run,
    recipe: TeacherRecipe,
    progress: Progress | None = None,
    settling: Callable[[int, int], None] | None = None,
) -> Outcome:
    """Train the teacher on the run's rows and export it to teacher.onnx; return how training ended.

    Args:
        run: the run folder.
        recipe: the network's size and training.
        progress: receives training progress.
        settling: called with the number of rows drawn to correct how often relations hold, and of
            all rows to draw.
    """
    teaching = _Teaching(run, recipe)
    model = teaching.model
    started = time.monotonic()
    identity = identity_of(run, TEACHER_FILES, asdict(recipe), *recorded_choices(run))
    checkpoint = run.path(TEACHER_CHECKPOINT)

    codec, threads = run.codec(), torch.get_num_threads()

    def sampler() -> TeacherSampler:
        return TeacherSampler(export_teacher(model), codec.layout, threads)

    def finish() -> None:
        seed = recipe.train.seed
        settle_once(
            run,
            TEACHER_CHECKPOINT,
            model,
            teaching.rows,
            sampler,
            seed,
            recipe.train.most_seconds,
            partial(calibrate_marks, model, teaching.rows, seed),
            settling,
        )
        fold(model)
        # Before the weights are rounded, so that the graph can store the head in half precision.
        model.centre_head()

    outcome = train(
        model,
        partial(teaching.loss, model),
        recipe.train,
        checkpoint,
        identity,
        progress,
        finish=finish,
        held_out=teaching.held_out,
    )
    run.add_seconds("teacher", time.monotonic() - started)
    note_teacher(run)
    save_tensors(run.path("teacher.safetensors"), model.cpu().state_dict(), {"identity": identity})
    write_atomic(run.path("teacher.onnx"), export_teacher(model))
    rows = run.read_json("run.json").get("data")
    run.update(teacher=asdict(recipe) | {"outcome": asdict(outcome), LEARNT_FROM: rows})
    return outcome


def load_teacher(run: Run) -> Denoiser:
    """Load the finished teacher of a run folder as a network."""
    teacher_graph(run)
    path = run.require("teacher.safetensors", f"cascade fit TABLE --out {run.folder}")
    config = TeacherConfig(**run.read_json("run.json")["teacher"]["model"])
    model = _untaught(run, run.codec(), config)
    model.load_state_dict(load_tensors(path)[0])
    return model.requires_grad_(False)
