"""The training loop that teacher and student share: EMA, checkpoints, resume, progress.

Each step's randomness comes from a generator seeded by (seed, step) alone, and a checkpoint holds
parameters, their average and the optimiser's state. A run that was killed and resumed therefore
ends with the same weights, bit for bit, as one that was not (same machine, same thread count).
"""

from __future__ import annotations

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

from cascade_distill.checkpoint import load_tensors, save_tensors
from cascade_distill.errors import CheckpointMismatch, TrainingDiverged, TrainingStopped
from cascade_distill.export.graph import LARGE


@dataclass(frozen=True)
class TrainConfig:
    """How to train.

    Attributes:
        steps: optimiser steps in all.
        batch_rows: rows a step, drawn with replacement.
        learning_rate: peak of a linear warm-up and cosine decay to zero.
        warmup_steps: steps to the peak.
        weight_decay: AdamW's, on matrices only.
        ema: decay a step of the averaged parameters, which are what is kept.
        gradient_norm: gradients are clipped to this norm.
        bfloat16: matrix products in bfloat16; parameters, their average and the optimiser's state
            stay float32. Three times as fast on CPUs with AVX-512 BF16 and on GPUs.
        seed: of initialisation, batches and masks.
        checkpoint_seconds: a checkpoint at least this often.
    """

    steps: int
    batch_rows: int = 1024
    learning_rate: float = 2e-3
    warmup_steps: int = 200
    weight_decay: float = 1e-4
    ema: float = 0.999
    gradient_norm: float = 1.0
    bfloat16: bool = True
    seed: int = 0
    checkpoint_seconds: float = 60.0


class Progress(Protocol):
    """What a training run tells whoever watches."""

    def update(self, step: int, steps: int, loss: float) -> None:
        """`step` of `steps` are done; `loss` is a running mean, in nats a row."""


# (model, generator of this step) -> loss of one batch
BatchLoss = Callable[[torch.Generator], Tensor]


def best_device() -> torch.device:
    """The GPU if there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def fingerprint(*parts: Any) -> str:
    """SHA-256 of JSON-able parts: tells one training run from another."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()


def step_generator(seed: int, step: int) -> torch.Generator:
    """The randomness of one step, independent of the steps before it."""
    digest = hashlib.blake2b(f"{seed}/{step}".encode(), digest_size=8).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest, "little") >> 1)


def learning_rate_at(step: int, config: TrainConfig) -> float:
    """Linear warm-up, then half a cosine to zero."""
    if step < config.warmup_steps:
        return config.learning_rate * (step + 1) / config.warmup_steps
    share = (step - config.warmup_steps) / max(1, config.steps - config.warmup_steps)
    return config.learning_rate * 0.5 * (1 + math.cos(math.pi * share))


class _Run:
    """Parameters, their average and the optimiser, saved and restored as one."""

    def __init__(self, model: nn.Module, config: TrainConfig) -> None:
        self.model, self.config, self.step = model, config, 0
        self.names = [name for name, _ in model.named_parameters()]
        self.parameters = [p for _, p in model.named_parameters()]
        self.average = [p.detach().clone() for p in self.parameters]
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

    def advance(self, loss: Tensor) -> None:
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate_at(self.step, self.config)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.parameters, self.config.gradient_norm)
        self.optimizer.step()
        self.step += 1
        # Early averages forget the initialisation quickly.
        decay = min(self.config.ema, (1 + self.step) / (10 + self.step))
        torch._foreach_lerp_(self.average, [p.detach() for p in self.parameters], 1 - decay)

    def tensors(self) -> dict[str, Tensor]:
        out: dict[str, Tensor] = {}
        for name, parameter, average in zip(self.names, self.parameters, self.average, strict=True):
            state = self.optimizer.state[parameter]
            out[f"parameter/{name}"] = parameter
            out[f"average/{name}"] = average
            for key in ("exp_avg", "exp_avg_sq", "step"):
                if key in state:
                    out[f"{key}/{name}"] = state[key]
        return out

    def restore(self, tensors: Mapping[str, Tensor], step: int) -> None:
        self.step = step
        for name, parameter, average in zip(self.names, self.parameters, self.average, strict=True):
            parameter.data.copy_(tensors[f"parameter/{name}"])
            average.copy_(tensors[f"average/{name}"])
            keys = [k for k in ("exp_avg", "exp_avg_sq", "step") if f"{k}/{name}" in tensors]
            self.optimizer.state[parameter] = {
                key: tensors[f"{key}/{name}"].to(parameter.device) for key in keys
            }

    def use_average(self) -> None:
        for parameter, average in zip(self.parameters, self.average, strict=True):
            parameter.data.copy_(average)


@contextmanager
def _interrupt_asked() -> Iterator[threading.Event]:
    """Turn Ctrl-C into a flag, so that it never falls in the middle of an optimiser step."""
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
    """Round large weights to half precision, in which releases store them.

    Arithmetic stays float32. Rounding the network itself keeps it and its exported graph equal.
    """
    for parameter in model.parameters():
        if parameter.numel() >= LARGE:
            parameter.copy_(parameter.half().float())


def train(
    model: nn.Module,
    batch_loss: BatchLoss,
    config: TrainConfig,
    checkpoint: Path,
    identity: str,
    progress: Progress | None = None,
    finish: Callable[[], None] | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> None:
    """Train `model` in place, to the end, resuming from `checkpoint` if it is there.

    Afterwards the model holds the averaged parameters (see `round_weights`), and `checkpoint` the
    finished run, so that calling again returns at once.

    Args:
        model: moved to its device, freshly initialised from the run's seed.
        batch_loss: the loss of one batch made from the given generator.
        config: see `TrainConfig`.
        checkpoint: a safetensors file; its folder is made.
        identity: fingerprint of data and configuration, kept in the checkpoint.
        progress: told now and then.
        finish: called on the averaged parameters before they are rounded.
        clock: seconds, for the pace of checkpoints.

    Raises:
        CheckpointMismatch: `checkpoint` belongs to another run.
        TrainingStopped: Ctrl-C; the state was saved.
        TrainingDiverged: the loss is not finite.
        DiskFull: a checkpoint could not be written; the one before is intact.
    """
    run = _Run(model, config)
    if checkpoint.exists():
        tensors, metadata = load_tensors(checkpoint)
        if metadata.get("identity") != identity:
            raise CheckpointMismatch(checkpoint, metadata.get("identity", "unknown"), identity)
        run.restore(tensors, int(metadata["step"]))

    def save() -> None:
        metadata = {
            "identity": identity,
            "step": str(run.step),
            "train": json.dumps(asdict(config)),
        }
        save_tensors(checkpoint, run.tensors(), metadata)

    model.train()
    device = next(model.parameters()).device.type
    saved_at, mean = clock(), None
    with _interrupt_asked() as interrupt:
        while run.step < config.steps:
            with torch.autocast(device, torch.bfloat16, enabled=config.bfloat16):
                loss = batch_loss(step_generator(config.seed, run.step))
            run.advance(loss)
            if run.step % 20 == 0 or run.step == config.steps:
                value = loss.item()
                if not math.isfinite(value):
                    raise TrainingDiverged(run.step, learning_rate_at(run.step, config))
                mean = value if mean is None else 0.9 * mean + 0.1 * value
                if progress is not None:
                    progress.update(run.step, config.steps, mean)
            if interrupt.is_set():
                save()
                raise TrainingStopped(run.step, config.steps, checkpoint)
            if clock() - saved_at >= config.checkpoint_seconds:
                save()
                saved_at = clock()
    save()
    run.use_average()
    if finish is not None:
        finish()
    round_weights(model)
    model.eval()
