"""How long and at which rate to train, and the randomness of each step: pure functions."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass

import torch

from cascade_distill.training.early_stopping import last_step


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
        evaluate_every: steps between two looks at the held-out rows, where there are any.
        patience: looks in a row that may be worse than the lowest before the learning rate falls to
            nothing, over a quarter more steps, and training ends; 0: any number.
        tolerance: by how much of the lowest loss of the held-out rows another may be above it and
            count as good; see `HeldOutLosses`.
        most_seconds: training ends after as many seconds of it; None: when its steps are done.
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
    evaluate_every: int = 100
    patience: int = 0
    tolerance: float = 0.0
    most_seconds: float | None = None


def step_generator(seed: int, step: int) -> torch.Generator:
    """The randomness of one step, independent of the steps before it."""
    digest = hashlib.blake2b(f"{seed}/{step}".encode(), digest_size=8).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest, "little") >> 1)


def learning_rate_at(step: int, config: TrainConfig, stalled: int | None = None) -> float:
    """Linear warm-up, then half a cosine to zero; from where the held-out loss has stalled, a
    straight line to zero.

    Args:
        step: of `config.steps`, from 0.
        stalled: the step at which the held-out loss did; None: it has not.
    """
    if stalled is not None and step >= stalled:
        last = last_step(config.steps, stalled)
        left = (last - step) / max(1, last - stalled)
        return learning_rate_at(stalled, config) * max(0.0, left)
    if step < config.warmup_steps:
        return config.learning_rate * (step + 1) / config.warmup_steps
    share = (step - config.warmup_steps) / max(1, config.steps - config.warmup_steps)
    return config.learning_rate * 0.5 * (1 + math.cos(math.pi * share))
