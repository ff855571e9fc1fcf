"""How often marks are drawn, put right once a teacher is trained.

Dropout trains an average of thinner networks, and what the whole network says of a mark is off by
some points: of 59 % of the rows it says 57. Rows of which a relation holds in the wrong share are
what marks are there to prevent, so the marks' biases are fitted once more, without dropout and with
all else as it is: a convex problem of one number a mark.
"""

from __future__ import annotations

import torch
from torch import Tensor

from cascade_distill.models.teacher import Denoiser, random_observed
from cascade_distill.runs.token_store import StoredTokens

# Rows with their masks that are asked, and those of a part.
ASKED, PART = 16_384, 1_024
# Steps of Newton's method; it has nothing left to do after three or four.
STEPS = 8
# Apart from the streams of batches and of held-out rows.
MASKS = 0xCA1B


@torch.no_grad()
def calibrate_marks(model: Denoiser, rows: StoredTokens | Tensor, seed: int) -> Tensor:
    """Shift the biases of a teacher's marks until it expects them as often as they stand.

    Contexts count as sampling meets them: each column of a row once, with any number of others
    known before it.

    Args:
        model: a trained teacher; changed in place. Nothing is done to one without marks.
        rows: int64 [n, T + relations] that it was trained on, wherever they lie.
        seed: of which rows are looked at, and under which masks.

    Returns:
        float32 [M], what was added to the log-odds of each of the layout's marks.
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
    """Of a token against all others of its slot: [n] of logits [n, size]."""
    logits = logits.float()
    others = torch.cat([logits[:, :token], logits[:, token + 1 :]], dim=1)
    return logits[:, token] - others.logsumexp(dim=1)


def _shift(odds: Tensor, weights: Tensor, wanted: Tensor) -> Tensor:
    """What is to be added to log-odds so that their weighted probabilities sum to what is wanted.

    Args:
        odds, weights: [n, M].
        wanted: [M].

    Returns:
        [M]; 0 for a mark that stands nowhere, or wherever it may.
    """
    shift = torch.zeros_like(wanted)
    most = weights.sum(dim=0)
    # Sums of the same numbers in another order differ in their last bits.
    settled = (wanted <= 0) | (wanted >= most * (1 - 1e-5))
    for _ in range(STEPS):
        chance = torch.sigmoid(odds + shift)
        excess = (weights * chance).sum(dim=0) - wanted
        slope = (weights * chance * (1 - chance)).sum(dim=0).clamp(min=1e-6)
        shift = shift - (excess / slope).clamp(-1, 1)
    return torch.where(settled, 0.0, shift)
