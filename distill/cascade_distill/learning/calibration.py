"""Calibration of mark probabilities after a teacher is trained.

Dropout trains an average of thinner networks, so the probabilities that the whole network gives to
marks are off by some points: 57 % where the rows show 59 %. Marks exist to keep the share of rows
in which a relation holds correct, so their biases are fitted once more, without dropout and with
all other weights fixed. This is a convex problem with one parameter per mark.
"""

from __future__ import annotations

import torch
from torch import Tensor

from cascade_distill.models.teacher import Denoiser, random_observed
from cascade_distill.runs.token_store import StoredTokens

# Rows (each with a mask) to evaluate, and rows per batch.
ASKED, PART = 16_384, 1_024
# Steps of Newton's method; it converges after three or four.
STEPS = 8
# Separates this random stream from those of batches and of held-out rows.
MASKS = 0xCA1B


@torch.no_grad()
def calibrate_marks(model: Denoiser, rows: StoredTokens | Tensor, seed: int) -> Tensor:
    """Shift the biases of a teacher's marks until their expected frequency equals the observed one.

    Contexts are weighted as in sampling: each column of a row once, with any number of other
    columns known before it.

    Args:
        model: a trained teacher; changed in place. Unchanged if it has no marks.
        rows: int64 [n, T + relations], its training rows, on any device.
        seed: selects the rows and the masks.

    Returns:
        float32 [M], the shift added to the log-odds of each of the layout's marks.
    """
    marks = model.layout.marks
    if not marks or not len(rows):
        return torch.zeros(len(marks))
    generator = torch.Generator().manual_seed(MASKS + seed)
    device = model.head.bias.device
    wanted = [torch.zeros(len(marks), device=device)]
    weights: list[Tensor] = []
    odds: list[Tensor] = []
    for _ in range(0, ASKED, PART):
        picked = torch.randint(len(rows), (PART,), generator=generator)
        observed = random_observed(PART, model.layout, generator)
        rank = model.marks.ranks(PART, generator).to(device)
        part, known = rows[picked.to(device)].to(device), observed.to(device)
        tokens = model.marks.teacher_rows(part, known, rank)
        said = model.logits(model.trunk(tokens, known), known, model.seen(tokens, known))
        logits = dict(zip(model.slots, said, strict=True))
        hidden = ~model.marks.columns(known)
        weight = 1 / hidden.sum(dim=1, keepdim=True)
        may = hidden[:, model.marks.column] & ~hidden[:, model.marks.others].any(dim=2)
        weights.append(may * weight)
        stands = tokens[:, model.marks.slot] == model.marks.token
        wanted.append((weights[-1] * stands).sum(dim=0))
        odds.append(torch.stack([_log_odds(logits[m.slot], m.token) for m in marks], dim=1))
    shift = _shift(torch.cat(odds), torch.cat(weights), torch.stack(wanted).sum(dim=0))
    model.shift_marks(shift)
    return shift.float().cpu()


def _log_odds(logits: Tensor, token: int) -> Tensor:
    """Return the log-odds of a token against all others of its slot: [n] from logits [n, size]."""
    logits = logits.float()
    others = torch.cat([logits[:, :token], logits[:, token + 1 :]], dim=1)
    return logits[:, token] - others.logsumexp(dim=1)


def _shift(odds: Tensor, weights: Tensor, wanted: Tensor) -> Tensor:
    """Find the shift of log-odds that makes their weighted probabilities sum to `wanted`.

    Args:
        odds, weights: [n, M].
        wanted: [M].

    Returns:
        [M]; 0 for a mark that never occurs, or occurs wherever it can.
    """
    shift = torch.zeros_like(wanted)
    most = weights.sum(dim=0)
    # Allow for rounding: sums of the same numbers in another order differ in their last bits.
    settled = (wanted <= 0) | (wanted >= most * (1 - 1e-5))
    for _ in range(STEPS):
        chance = torch.sigmoid(odds + shift)
        excess = (weights * chance).sum(dim=0) - wanted
        slope = (weights * chance * (1 - chance)).sum(dim=0).clamp(min=1e-6)
        shift = shift - (excess / slope).clamp(-1, 1)
    return torch.where(settled, 0.0, shift)
