"""The student: an additive autoregressive model that runs as one graph, without a loop.

The state h is a bias plus the sum of an embedding per known token. Slot after slot, in the layout's
order, a small head reads h and draws the slot's token by the Gumbel-max trick, and the token's
embedding is added to h. When a slot is drawn, everything before it is known (observed or just
drawn), and a later slot is known only if it was observed. Training covers exactly those
conditionals: the whole prefix and a random subset of the suffix. NADE (Uria et al., JMLR 2016)
shares hidden units in the same way; masks over the suffix allow any subset to be observed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from cascade_tables import TokenLayout
from torch import Tensor, nn
from torch.nn import functional as F

from cascade_distill.models.marks import Marks
from cascade_distill.models.neighbours import Target
from cascade_distill.models.student_loss import walk_loss
from cascade_distill.models.student_nearness import StudentNearness


@dataclass(frozen=True)
class StudentConfig:
    """Size of the student.

    Attributes:
        width: width of the additive state.
        head_width: hidden units of each slot's head.
        unconditional_share: share of training rows with nothing observed beyond the prefix.
    """

    width: int = 128
    head_width: int = 128
    unconditional_share: float = 0.5


class Student(nn.Module):
    """Heads over an additive state; see the module's docstring."""

    def __init__(
        self, layout: TokenLayout, config: StudentConfig, targets: Sequence[Target] = ()
    ) -> None:
        """Create an untrained network.

        Args:
            layout: of the rows.
            config: its size.
            targets: numbers that are told where their neighbours lie; see `neighbours_of`.
        """
        super().__init__()
        self.layout, self.config = layout, config
        self.offsets: Tensor
        slots, width, head = len(layout.sizes), config.width, config.head_width
        offsets = np.concatenate([[0], np.cumsum(layout.sizes)])
        self.register_buffer("offsets", torch.tensor(offsets[:-1]), persistent=False)
        self.embedding = nn.Embedding(int(offsets[-1]), width)
        nn.init.normal_(self.embedding.weight, std=1.0 / slots**0.5)
        self.start = nn.Parameter(torch.zeros(width))
        self.weight_in = nn.Parameter(torch.randn(slots, width, head) * (2.0 / width) ** 0.5)
        self.bias_in = nn.Parameter(torch.zeros(slots, head))
        self.out = nn.ModuleList(nn.Linear(head, size) for size in layout.sizes)
        for linear in self.heads:
            nn.init.normal_(linear.weight, std=0.02)
        self.nearness = None
        if targets:
            self.nearness = StudentNearness(layout, targets, head)
        self.marks = Marks(layout)
        self.forbidden: Tensor
        self.register_buffer("forbidden", self.marks.forbidden(before=False), persistent=False)
        self.marked = tuple(sorted({mark.slot for mark in layout.marks}))

    @property
    def heads(self) -> list[nn.Linear]:
        """Each slot's last layer."""
        return [linear for linear in self.out if isinstance(linear, nn.Linear)]

    def logits(self, tokens: Tensor, observed: Tensor) -> list[Tensor]:
        """Return each slot's logits given its whole prefix and the observed part of its suffix.

        tokens int64 [n, T], observed bool [n, T]; returns T tensors [n, size].
        """
        embedded = F.embedding(tokens + self.offsets, self.embedding.weight)
        suffix = embedded * observed.unsqueeze(-1)
        before = embedded.cumsum(dim=1) - embedded
        after = suffix.sum(dim=1, keepdim=True) - suffix.cumsum(dim=1)
        state = self.start + before + after
        hidden = torch.einsum("ntw,twh->tnh", state, self.weight_in) + self.bias_in.unsqueeze(1)
        hidden = F.relu(hidden)
        out = [linear(h) for linear, h in zip(self.heads, hidden.unbind(0), strict=True)]
        near = self.nearness
        if near is not None:
            seen = near.seen(tokens, observed, in_turn=True)
            for slot in near.told:
                before, weights = tokens[:, slot - 1], near.weights_of(slot)
                out[slot] = out[slot] + near.bias(slot, hidden[slot], seen, before, weights)
        for slot in self.marked:
            out[slot] = out[slot] + self.barred(observed, slot).to(out[slot].dtype)
        return out

    def barred(self, observed: Tensor, slot: int) -> Tensor:
        """Return what prevents a slot's marks from being drawn if a later column is missing: [n,
        size] for observed, bool [n, T].
        """
        begin = int(self.offsets[slot])
        forbidden = self.forbidden[:, begin : begin + self.layout.sizes[slot]]
        return (~self.marks.columns(observed)).float() @ forbidden

    def loss(
        self, rows: Tensor, observed: Tensor, conditionals: Mapping[int, Tensor] | None = None
    ) -> Tensor:
        """Compute the mean over rows of -ln p(slot | prefix, observed suffix), summed over the
        slots that are not observed, in nats.

        Args:
            rows: int64 [n, T + relations], made by the teacher; see `Marks`.
            observed: bool [n, T], the known part of the suffix.
            conditionals: by slot, the teacher's own p(slot | prefix, observed suffix) [n, size]. A
                row's token is a single draw from it, so the distribution is the better target.
        """
        heads = self.heads
        return walk_loss(
            self.nearness,
            self.marks.student_inputs(rows, observed, None),
            observed,
            self.offsets,
            self.marks.student_targets(rows, observed),
            conditionals or {},
            {slot: self.barred(observed, slot) for slot in self.marked},
            (
                *(self.embedding.weight, self.start, self.weight_in, self.bias_in),
                *(linear.weight for linear in heads),
                *(linear.bias for linear in heads),
                *(() if self.nearness is None else self.nearness.parameters()),
            ),
        )

    @torch.no_grad()
    def shift_marks(self, shifts: Tensor) -> None:
        """Add to the log-odds of each of the layout's marks: [M]."""
        heads = self.heads
        for mark, added in zip(self.layout.marks, shifts, strict=True):
            heads[mark.slot].bias[mark.token] += added

    @torch.inference_mode()
    def draw(self, tokens: Tensor, observed: Tensor, noise: Tensor) -> Tensor:
        """Complete tokens [n, T] from uniform noise [n, sum(size + 1)]; the reference for the
        graph.

        Each slot uses one noise value per token and skips one, which the graph uses for its
        "already known" token (see `export_student`).
        """
        gumbel = -torch.log(-torch.log(noise))
        index = tokens + self.offsets
        state = self.start + (self.embedding(index) * observed.unsqueeze(-1)).sum(dim=1)
        drawn, near = tokens.clone(), self.nearness
        start = 0
        for slot, size in enumerate(self.layout.sizes):
            hidden = F.relu(state @ self.weight_in[slot] + self.bias_in[slot])
            logits = self.heads[slot](hidden) + gumbel[:, start : start + size]
            if near is not None and slot in near.told:
                seen = near.seen(drawn, observed, in_turn=True)
                before, weights = drawn[:, slot - 1], near.weights_of(slot)
                logits = logits + near.bias(slot, hidden, seen, before, weights)
            if slot in self.marked:
                logits = logits + self.barred(observed, slot)
            choice = logits.argmax(dim=1)
            start += size + 1
            missing = ~observed[:, slot]
            drawn[:, slot] = torch.where(missing, choice, tokens[:, slot])
            added = self.embedding.weight[choice + self.offsets[slot]]
            state = state + added * missing.unsqueeze(-1)
        return drawn


def random_suffix(
    rows: int, layout: TokenLayout, config: StudentConfig, generator: torch.Generator
) -> Tensor:
    """Return bool [rows, T]: a random subset of columns that are known beyond the prefix."""
    columns = max(layout.column) + 1
    share = torch.rand(rows, 1, generator=generator)
    known = torch.rand(rows, columns, generator=generator) < share
    known &= torch.rand(rows, 1, generator=generator) >= config.unconditional_share
    return known[:, list(layout.column)]
