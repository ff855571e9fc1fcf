"""A teacher expects its marks as often as they stand, however wrong it was."""

from __future__ import annotations

import pytest
import torch
from cascade_distill.learning.calibration import _shift, calibrate_marks
from cascade_distill.models.teacher import Denoiser, TeacherConfig, random_observed
from torch import Tensor

from tests import ledgers
from tests.releases import every_kind

SIZE = TeacherConfig(width=16, hidden=16, blocks=1, fine_width=8)


def teacher(wrong: float) -> Denoiser:
    """One whose marks' logits are far off."""
    torch.manual_seed(1)
    model = Denoiser(ledgers.settlements_codec().layout, SIZE).eval()
    begin = dict(
        zip(model.slots, [0, *torch.tensor(sizes(model)).cumsum(0).tolist()], strict=False)
    )
    with torch.no_grad():
        for mark in model.layout.marks:
            model.head.bias[begin[mark.slot] + mark.token] += wrong
    return model


def sizes(model: Denoiser) -> list[int]:
    return [model.layout.sizes[slot] for slot in model.slots]


def rows(count: int, seed: int) -> Tensor:
    codec = ledgers.settlements_codec()
    return torch.from_numpy(codec.learnable(ledgers.settlements(count, seed))).long()


@torch.no_grad()
def expected_and_standing(model: Denoiser, tokens: Tensor) -> tuple[Tensor, Tensor]:
    """Of each mark, over contexts in which it may be drawn: its chance, and the share in which it
    stands, each column of a row counting once."""
    generator = torch.Generator().manual_seed(77)
    known = random_observed(len(tokens), model.layout, generator)
    taught = model.marks.teacher_rows(tokens, known, model.marks.ranks(len(tokens), generator))
    said = model.logits(model.trunk(taught, known), known, model.seen(taught, known))
    logits = dict(zip(model.slots, said, strict=True))
    hidden = ~model.marks.columns(known)
    chance, share = [], []
    for mark in model.layout.marks:
        may = hidden[:, mark.column] & ~hidden[:, list(mark.others)].any(dim=1)
        weight = may / hidden.sum(dim=1)
        chance.append(
            (weight * logits[mark.slot].softmax(dim=1)[:, mark.token]).sum() / weight.sum()
        )
        share.append((weight * (taught[:, mark.slot] == mark.token)).sum() / weight.sum())
    return torch.stack(chance), torch.stack(share)


@pytest.mark.parametrize("wrong", [-3.0, 8.0])
def test_marks_are_expected_as_often_as_they_stand(wrong: float) -> None:
    model, learnt = teacher(wrong), rows(4_000, 6)
    before = model.head.bias.clone()
    chance, share = expected_and_standing(model, learnt)
    assert ((chance - share).abs() > 0.2).all()
    calibrate_marks(model, learnt, seed=0)
    chance, share = expected_and_standing(model, learnt)
    # Some 700 contexts of each mark are looked at here: five standard errors.
    torch.testing.assert_close(chance, share, atol=5 * 0.5 / 700**0.5, rtol=0)
    assert int((model.head.bias != before).sum()) == len(model.layout.marks)


def test_a_teacher_without_marks_is_left_as_it_is() -> None:
    codec = every_kind()
    assert not codec.layout.marks
    model = Denoiser(codec.layout, SIZE)
    before = model.head.bias.clone()
    calibrate_marks(model, torch.zeros((8, len(codec.layout.sizes)), dtype=torch.long), seed=0)
    assert torch.equal(model.head.bias, before)


class TestShift:
    def test_of_equal_odds_it_is_exact(self) -> None:
        odds = torch.full((50, 3), 2.0)
        weights = torch.ones(50, 3)
        weights[25:, 2] = 0
        shift = _shift(odds, weights, torch.tensor([25.0, 40.0, 5.0]))
        expected = torch.logit(torch.tensor([0.5, 0.8, 0.2])) - 2
        torch.testing.assert_close(shift, expected, atol=1e-4, rtol=0)

    def test_marks_that_never_or_always_stand_stay(self) -> None:
        """No finite number would be right for them."""
        odds, weights = torch.zeros(10, 3), torch.ones(10, 3)
        weights[:, 2] = 0
        assert _shift(odds, weights, torch.tensor([0.0, 10.0, 0.0])).tolist() == [0, 0, 0]
