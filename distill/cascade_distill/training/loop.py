"""The training loop of teacher and student: EMA, early stopping, checkpoints, resume.

Each step's randomness comes from a generator seeded by (seed, step) alone. A checkpoint holds the
parameters, their average, the best average so far with its losses, and the optimiser's state. A run
that was killed and resumed therefore ends with the same weights, bit for bit, as an uninterrupted
one (same machine, same thread count). A run that runs out of time depends on the clock.
"""

from __future__ import annotations

import copy
import hashlib
import json
import math
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from cascade_distill.errors import CheckpointMismatch, TrainingDiverged, TrainingStopped
from cascade_distill.export.graph import LARGE
from cascade_distill.runs.checkpoint import load_tensors, save_tensors
from cascade_distill.training.early_stopping import (
    Ending,
    Evaluation,
    HeldOutLosses,
    ending,
)
from cascade_distill.training.schedule import TrainConfig, learning_rate_at, step_generator


class Progress(Protocol):
    """Receiver of a training run's progress."""

    def update(self, step: int, steps: int, loss: float) -> None:
        """Report that `step` of `steps` are done; `loss` is a running mean, in nats per row."""

    def held_out(self, losses: HeldOutLosses) -> None:
        """Report one more evaluation of the held-out rows."""


@dataclass(frozen=True)
class Outcome:
    """How a training run ended.

    Attributes:
        steps: steps done.
        ending: why training ended.
        best: the kept state; None without held-out rows, in which case the last state is kept.
    """

    steps: int
    ending: Ending
    best: Evaluation | None

    def described(self, loss: str = "the held-out loss") -> str:
        """Describe the ending in a sentence for the user; `loss` names the measured loss."""
        said = f"ended after {self.steps:,} steps: {self.ending.value}"
        if self.best is None:
            return f"{said}; the last state was kept, since no rows are held out"
        return (
            f"{said}; the state of step {self.best.step:,} was kept, the last where {loss} was as "
            f"good as at its lowest: {self.best.loss:.3f} nats a row"
        )


# CPU capabilities that mean native bfloat16, as torch names them.
FAST_BFLOAT16 = ("avx512_bf16", "amx_tile")

# Maps the generator of a step to the loss of one batch.
BatchLoss = Callable[[torch.Generator], Tensor]
# Computes the mean loss of the held-out rows, with the same rows and masks at every call.
HeldOutLoss = Callable[[], Tensor]
# Steps to time before a run, and warm-up steps before these.
TIMED_STEPS, WARM_STEPS = 5, 2


def best_device() -> torch.device:
    """Return the GPU if there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def fast_bfloat16() -> bool:
    """Return whether this machine multiplies bfloat16 matrices natively.

    Otherwise they are emulated, and take several times as long as float32 ones.
    """
    if torch.cuda.is_available():
        return torch.cuda.is_bf16_supported(including_emulation=False)
    known = (getattr(torch.cpu, f"_is_{name}_supported", bool) for name in FAST_BFLOAT16)
    return any(has() for has in known)


def fingerprint(*parts: Any) -> str:
    """Return the SHA-256 of JSON-able parts, which identifies a training run."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()


class _Run:
    """Parameters, their average and the optimiser, saved and restored together."""

    def __init__(self, model: nn.Module, config: TrainConfig) -> None:
        self.model, self.config, self.step = model, config, 0
        self.seconds = 0.0
        self.losses = HeldOutLosses(tolerance=config.tolerance)
        self.names = [name for name, _ in model.named_parameters()]
        self.parameters = [p for _, p in model.named_parameters()]
        self.average = [p.detach().clone() for p in self.parameters]
        self.best: list[Tensor] = []
        decay = [p for p in self.parameters if p.ndim >= 2]
        rest = [p for p in self.parameters if p.ndim < 2]
        self.optimizer = torch.optim.AdamW(
            [
                {"params": decay, "weight_decay": config.weight_decay},
                {"params": rest, "weight_decay": 0.0},
            ],
            betas=(0.9, 0.99),
            fused=True,
        )

    @property
    def learning_rate(self) -> float:
        """Learning rate of the next step; see `learning_rate_at`."""
        stalled = self.losses.stalled_at(self.config.patience)
        return learning_rate_at(self.step, self.config, stalled)

    def advance(self, loss: Tensor) -> None:
        rate = self.learning_rate
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.parameters, self.config.gradient_norm)
        self.optimizer.step()
        self.step += 1
        # Let early averages forget the initialisation quickly.
        decay = min(self.config.ema, (1 + self.step) / (10 + self.step))
        torch._foreach_lerp_(self.average, [p.detach() for p in self.parameters], 1 - decay)

    @torch.no_grad()
    def evaluate(self, loss: HeldOutLoss) -> None:
        """Evaluate the averaged parameters on the held-out rows, and keep them if they are the
        best.
        """
        trained = [parameter.data for parameter in self.parameters]
        self.use(self.average)
        value = float(loss())
        for parameter, data in zip(self.parameters, trained, strict=True):
            parameter.data = data
        if not math.isfinite(value):
            raise TrainingDiverged(self.step, self.learning_rate)
        self.losses = self.losses.with_one_more(self.step, value)
        if self.losses.last_is_best:
            self.best = [average.clone() for average in self.average]
        if self.losses.stalled_at(self.config.patience) == self.step:
            self._back_to_best()

    @torch.no_grad()
    def _back_to_best(self) -> None:
        """Restore the best state: later states have begun to memorise rows."""
        for parameter, average, best in zip(self.parameters, self.average, self.best, strict=True):
            parameter.copy_(best)
            average.copy_(best)

    def ending(self, seconds: float) -> Ending | None:
        config = self.config
        return ending(
            self.step, config.steps, self.losses, config.patience, seconds, config.most_seconds
        )

    def tensors(self) -> dict[str, Tensor]:
        out: dict[str, Tensor] = {}
        for name, parameter, average in zip(self.names, self.parameters, self.average, strict=True):
            state = self.optimizer.state[parameter]
            out[f"parameter/{name}"] = parameter
            out[f"average/{name}"] = average
            for key in ("exp_avg", "exp_avg_sq", "step"):
                if key in state:
                    out[f"{key}/{name}"] = state[key]
        for name, best in zip(self.names, self.best, strict=bool(self.best)):
            out[f"best/{name}"] = best
        return out

    def metadata(self) -> dict[str, str]:
        return {
            "step": str(self.step),
            "seconds": repr(self.seconds),
            "held_out": self.losses.to_text(),
        }

    def restore(self, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
        self.step = int(metadata["step"])
        self.seconds = float(metadata["seconds"])
        self.losses = HeldOutLosses.from_text(metadata["held_out"], self.config.tolerance)
        if self.losses.best is not None:
            self.best = [
                tensors[f"best/{name}"].to(average.device)
                for name, average in zip(self.names, self.average, strict=True)
            ]
        for name, parameter, average in zip(self.names, self.parameters, self.average, strict=True):
            parameter.data.copy_(tensors[f"parameter/{name}"])
            average.copy_(tensors[f"average/{name}"])
            keys = [k for k in ("exp_avg", "exp_avg_sq", "step") if f"{k}/{name}" in tensors]
            self.optimizer.state[parameter] = {
                key: tensors[f"{key}/{name}"].to(parameter.device) for key in keys
            }

    def use(self, values: list[Tensor]) -> None:
        """Make these tensors the model's parameters, without copying."""
        for parameter, value in zip(self.parameters, values, strict=True):
            parameter.data = value


@contextmanager
def _interrupt_asked() -> Iterator[threading.Event]:
    """Turn Ctrl-C into a flag, so that it never interrupts an optimiser step."""
    asked = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield asked
        return
    before = signal.signal(signal.SIGINT, lambda *_: asked.set())
    try:
        yield asked
    finally:
        signal.signal(signal.SIGINT, before)


@torch.no_grad()
def round_weights(model: nn.Module) -> None:
    """Round large weights to half precision, the format in which releases store them.

    Arithmetic stays float32. Rounding the network itself keeps it equal to its exported graph.
    """
    for parameter in model.parameters():
        if parameter.numel() >= LARGE:
            parameter.copy_(parameter.half().float())


def seconds_a_step(
    model: nn.Module,
    batch_loss: Callable[[nn.Module, torch.Generator], Tensor],
    config: TrainConfig,
    clock: Callable[[], float] = time.perf_counter,
) -> float:
    """Measure the time per step on this machine, with a few steps on a copy of the model.

    Args:
        model: the model before training; it is not changed.
        batch_loss: computes the loss of one batch with the given model.
        config: of the run to come.
        clock: returns seconds.
    """
    run = _Run(copy.deepcopy(model).train(), config)
    device = next(run.model.parameters()).device.type
    began = 0.0
    for step in range(WARM_STEPS + TIMED_STEPS):
        if step == WARM_STEPS:
            began = clock()
        with torch.autocast(device, torch.bfloat16, enabled=config.bfloat16):
            loss = batch_loss(run.model, step_generator(config.seed, step))
        run.advance(loss)
    # Reading the result waits for asynchronous work on a GPU.
    loss.item()
    return (clock() - began) / TIMED_STEPS


def train(
    model: nn.Module,
    batch_loss: BatchLoss,
    config: TrainConfig,
    checkpoint: Path,
    identity: str,
    progress: Progress | None = None,
    finish: Callable[[], None] | None = None,
    held_out: HeldOutLoss | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> Outcome:
    """Train `model` in place to the end, resuming from `checkpoint` if it exists.

    Afterwards the model holds the averaged parameters (see `round_weights`): the last ones whose
    held-out loss was as good as the lowest, or without held-out rows the final ones. `checkpoint`
    holds the finished run, so that calling again returns at once.

    Args:
        model: moved to its device, freshly initialised from the run's seed.
        batch_loss: computes the loss of one batch made from the given generator.
        config: see `TrainConfig`.
        checkpoint: a safetensors file; its folder is created.
        identity: fingerprint of data and configuration, kept in the checkpoint.
        progress: receives occasional reports.
        finish: called on the averaged parameters before they are rounded.
        held_out: computes the mean loss of held-out rows, with the same rows and masks at every
            call.
        clock: seconds, for the intervals of checkpoints and `config.most_seconds`.

    Raises:
        CheckpointMismatch: `checkpoint` belongs to another run.
        TrainingStopped: Ctrl-C; the state was saved.
        TrainingDiverged: the loss is not finite.
        DiskFull: a checkpoint could not be written; the previous one is intact.
    """
    run, saved_step = _Run(model, config), -1
    if checkpoint.exists():
        tensors, metadata = load_tensors(checkpoint)
        if metadata.get("identity") != identity:
            raise CheckpointMismatch(checkpoint, metadata.get("identity", "unknown"), identity)
        run.restore(tensors, metadata)
        saved_step = run.step
    before = run.seconds
    began = clock()

    def save() -> None:
        metadata = {"identity": identity, "train": json.dumps(asdict(config))}
        save_tensors(checkpoint, run.tensors(), metadata | run.metadata())

    model.train()
    device = next(model.parameters()).device.type

    def look() -> None:
        if held_out is None:
            return
        with torch.autocast(device, torch.bfloat16, enabled=config.bfloat16):
            run.evaluate(held_out)
        if progress is not None:
            progress.held_out(run.losses)

    saved_at, mean = began, None
    with _interrupt_asked() as interrupt:
        while (ended := run.ending(run.seconds)) is None:
            with torch.autocast(device, torch.bfloat16, enabled=config.bfloat16):
                loss = batch_loss(step_generator(config.seed, run.step))
            run.advance(loss)
            now = clock()
            run.seconds = before + now - began
            if run.step % 20 == 0 or run.step == config.steps:
                value = loss.item()
                if not math.isfinite(value):
                    raise TrainingDiverged(run.step, run.learning_rate)
                mean = value if mean is None else 0.9 * mean + 0.1 * value
                if progress is not None:
                    progress.update(run.step, config.steps, mean)
            # Evaluate the last state, whatever ends the run.
            if run.step % config.evaluate_every == 0 or run.ending(run.seconds) is not None:
                look()
            if interrupt.is_set():
                save()
                raise TrainingStopped(run.step, config.steps, checkpoint)
            if now - saved_at >= config.checkpoint_seconds:
                save()
                saved_at = now
    # Leave the file of an ended run unchanged: results about it are kept by its digest.
    if run.step != saved_step:
        save()
    run.use(run.best or run.average)
    if finish is not None:
        finish()
    round_weights(model)
    model.eval()
    return Outcome(run.step, ended, run.losses.best)
