"""Training length, learning rate, and the randomness of each step, as pure functions."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass

import torch

from cascade_distill.training.early_stopping import last_step


@dataclass(frozen=True)
class TrainConfig:
    """Configuration of a training run.

    Attributes:
        steps: total optimiser steps.
        batch_rows: rows per step, drawn with replacement.
        learning_rate: peak of a linear warm-up and cosine decay to zero.
        warmup_steps: steps to the peak.
        weight_decay: AdamW's, on matrices only.
        ema: decay per step of the averaged parameters, which are the ones kept.
        gradient_norm: gradients are clipped to this norm.
        bfloat16: compute matrix products in bfloat16; parameters, their average and the optimiser's
            state stay float32. Three times as fast on CPUs with AVX-512 BF16 and on GPUs.
        seed: of initialisation, batches and masks.
        checkpoint_seconds: longest time between checkpoints.
        evaluate_every: steps between evaluations of the held-out rows, if there are any.
        patience: evaluations in a row that may be worse than the lowest before the learning rate
            falls to zero, over a quarter more steps, and training ends; 0: any number.
        tolerance: how far a held-out loss may be above the lowest and count as equally good,
            relative to the lowest; see `HeldOutLosses`.
        most_seconds: limit of training time; None: train until all steps are done.
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
    """Return the random generator of one step, independent of the steps before it."""
    digest = hashlib.blake2b(f"{seed}/{step}".encode(), digest_size=8).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest, "little") >> 1)


def learning_rate_at(step: int, config: TrainConfig, stalled: int | None = None) -> float:
    """Return the learning rate: linear warm-up, then half a cosine to zero.

    Once the held-out loss has stalled, the rate falls in a straight line to zero.

    Args:
        step: of `config.steps`, from 0.
        stalled: the step at which the held-out loss stalled; None: it has not.
    """
    if stalled is not None and step >= stalled:
        last = last_step(config.steps, stalled)
        left = (last - step) / max(1, last - stalled)
        return learning_rate_at(stalled, config) * max(0.0, left)
    if step < config.warmup_steps:
        return config.learning_rate * (step + 1) / config.warmup_steps
    share = (step - config.warmup_steps) / max(1, config.steps - config.warmup_steps)
    return config.learning_rate * 0.5 * (1 + math.cos(math.pi * share))
