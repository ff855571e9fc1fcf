"""The steps are torch's own, and its compiler is not imported for them."""

from __future__ import annotations

import sys

import pytest
import torch
from cascade_distill.training.adamw import AdamW
from torch import Tensor


def parameters() -> list[Tensor]:
    made = torch.Generator().manual_seed(3)
    shapes = ((40, 9), (9,), (7, 5))
    return [torch.randn(shape, generator=made).requires_grad_() for shape in shapes]


def test_they_are_torch_s_to_the_bit() -> None:
    """Also of a parameter without a gradient in some steps, and with another rate in each."""
    ours, theirs = parameters(), parameters()
    mine = AdamW([([ours[0], ours[2]], 0.3), ([ours[1]], 0.0)], betas=(0.9, 0.99))
    its = torch.optim.AdamW(
        [
            {"params": [theirs[0], theirs[2]], "weight_decay": 0.3},
            {"params": [theirs[1]], "weight_decay": 0.0},
        ],
        betas=(0.9, 0.99),
        fused=True,
    )
    made = torch.Generator().manual_seed(4)
    for number in range(12):
        mine.zero_grad()
        for one, other in zip(ours, theirs, strict=True):
            gradient = torch.randn(one.shape, generator=made)
            skipped = one.shape == (9,) and number % 3 == 0
            one.grad, other.grad = (None, None) if skipped else (gradient, gradient.clone())
        rate = 1e-2 / (1 + number)
        for group in its.param_groups:
            group["lr"] = rate
        mine.step(rate)
        its.step()
    for one, other in zip(ours, theirs, strict=True):
        assert torch.equal(one, other)
        for key in ("exp_avg", "exp_avg_sq", "step"):
            assert torch.equal(mine.state[one][key], its.state[other][key])


def test_the_compiler_is_not_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch._dynamo", None)
    (one, *_) = parameters()
    optimizer = AdamW([([one], 0.1)])
    one.square().sum().backward()
    torch.nn.utils.clip_grad_norm_([one], 1.0)
    optimizer.step(0.1)
    optimizer.zero_grad()
    assert one.grad is None
