"""The teacher: a masked (absorbing-state) diffusion over a row's tokens.

Training hides a random set of columns and predicts each of them from the rest, so that the teacher
knows p(column | any other columns). Sampling reveals columns in random order. See Austin et al.,
"Structured Denoising Diffusion Models in Discrete State-Spaces", NeurIPS 2021 (absorbing state),
and Hoogeboom et al., "Autoregressive Diffusion Models", ICLR 2022 (the any-order view).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from cascade_tables import TokenLayout
from torch import Tensor, nn
from torch.nn import functional as F

from cascade_distill.models.features import (
    WIDTH,
    embedding_rows,
    feature_table,
    fine_slot_of,
    numeric_slots,
)
from cascade_distill.models.marks import FORBIDDEN, Marks
from cascade_distill.models.nearness import MIXTURE, Nearness
from cascade_distill.models.neighbours import Target

# The largest mean of a slot's weights that counts as centred. Rounding to half precision leaves
# means far below it, and means below it do not take logits near the ends of float32's exp.
CENTRED = 0.01


@dataclass(frozen=True)
class TeacherConfig:
    """Size of the denoiser.

    Attributes:
        width: width of the residual stream.
        hidden: width inside a residual block.
        blocks: number of residual blocks.
        fine_width: width of the head that places a number inside its coarse bin.
        input_dropout, dropout: dropout rates of the stream and of the blocks.
    """

    width: int = 256
    hidden: int = 512
    blocks: int = 2
    fine_width: int = 48
    input_dropout: float = 0.1
    dropout: float = 0.2


class Block(nn.Module):
    """One residual branch: normalise, widen, SiLU, narrow; zero at first."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.into = nn.Linear(width, hidden)
        self.out = nn.Linear(hidden, width)
        nn.init.zeros_(self.out.weight)

    def forward(self, x: Tensor, dropout: float, generator: torch.Generator | None) -> Tensor:
        """Return the update to add to x [n, width]."""
        y: Tensor = self.out(_drop(F.silu(self.into(self.norm(x))), dropout, generator))
        return y


def _drop(x: Tensor, share: float, generator: torch.Generator | None) -> Tensor:
    """Apply dropout with masks from `generator`, so that a resumed run draws the same masks; None:
    off.
    """
    if generator is None or share == 0:
        return x
    kept = torch.empty(x.shape).bernoulli_(1 - share, generator=generator)
    return x * (kept / (1 - share)).to(x.device, x.dtype)


class Denoiser(nn.Module):
    """Logits of every slot given the observed columns.

    A residual MLP whose input is the sum of an embedding per known token (see `embedding_rows`)
    and, for numbers, the Fourier features of their rank. A small head predicts the fine slot from
    the same pass, given the coarse token, so that a number costs one pass instead of two.
    """

    def __init__(
        self, layout: TokenLayout, config: TeacherConfig, targets: Sequence[Target] = ()
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
        self.row_of_token: Tensor
        self.hidden_index: Tensor
        sizes = layout.sizes
        self.slots = tuple(s for s, role in enumerate(layout.role) if role != "fine")
        self.coarse = tuple(s for s in self.slots if fine_slot_of(layout, s) is not None)
        self.numeric = numeric_slots(layout)
        width = config.width

        offsets = np.concatenate([[0], np.cumsum(sizes)])
        self.register_buffer("offsets", torch.tensor(offsets[:-1]), persistent=False)
        rows = embedding_rows(layout)
        self.register_buffer("row_of_token", torch.from_numpy(rows), persistent=False)
        # After the tokens' rows comes one "hidden" row per slot.
        total = int(rows.max()) + 1
        self.register_buffer("hidden_index", total + torch.arange(len(sizes)), persistent=False)
        self.embedding = nn.Embedding(total + len(sizes), width)
        nn.init.normal_(self.embedding.weight, std=0.5 / len(sizes) ** 0.5)
        tables = [feature_table(layout, s) for s in self.numeric]
        for index, table in enumerate(tables):
            self.register_buffer(f"features_{index}", torch.from_numpy(table), persistent=False)
        self.from_features = nn.Linear(max(1, len(tables)) * WIDTH, width)

        self.residuals = nn.ModuleList(Block(width, config.hidden) for _ in range(config.blocks))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, sum(sizes[s] for s in self.slots))
        nn.init.normal_(self.head.weight, std=0.02)
        fine = len(self.coarse)
        self.fine_size = max((sizes[s + 1] for s in self.coarse), default=1)
        if fine:
            self.fine_in = nn.Linear(width, fine * config.fine_width)
            most = max(sizes[s] for s in self.coarse)
            self.fine_coarse = nn.Parameter(torch.randn(fine, most, config.fine_width) * 0.5)
            self.fine_out = nn.Parameter(
                torch.randn(fine, config.fine_width, self.fine_size) * config.fine_width**-0.5
            )
            self.fine_bias = nn.Parameter(torch.zeros(fine, self.fine_size))
        self.nearness = None
        if targets:
            self.nearness = Nearness(layout, targets, width, MIXTURE, config.fine_width)
            # Indices among the fine heads.
            self.near_fine = [self.coarse.index(slot) for slot in self.nearness.slots]
            # Indices among the logits of all value slots.
            self.near_tokens: Tensor
            split = torch.arange(self.head.out_features).split([sizes[s] for s in self.slots])
            tokens = torch.cat([split[self.slots.index(slot)] for slot in self.nearness.slots])
            self.register_buffer("near_tokens", tokens, persistent=False)
        self.marks = Marks(layout)
        self.padding: Tensor
        self.forbidden: Tensor
        self.register_buffer("padding", self._padding(), persistent=False)
        self.register_buffer("forbidden", self._forbidden(), persistent=False)

    def _padding(self) -> Tensor:
        """Return what prevents a fine slot from drawing tokens that it does not have: [fine,
        fine_size].
        """
        token = torch.arange(self.fine_size)
        size = torch.tensor([self.layout.sizes[s + 1] for s in self.coarse], dtype=torch.long)
        return torch.where(token >= size[:, None], FORBIDDEN, 0.0)

    def _forbidden(self) -> Tensor:
        """Return what each hidden column adds to value slots' logits: [C, sum of their sizes]."""
        every = self.marks.forbidden(before=True).split(list(self.layout.sizes), dim=1)
        return torch.cat([every[slot] for slot in self.slots], dim=1)

    @property
    def blocks(self) -> list[Block]:
        """The residual branches, in order."""
        return [block for block in self.residuals if isinstance(block, Block)]

    def trunk(
        self, tokens: Tensor, observed: Tensor, generator: torch.Generator | None = None
    ) -> Tensor:
        """Map tokens int64 [n, T] and observed bool [n, T] to the final normalised stream [n,
        width].

        With a generator, training's dropout is drawn from it.
        """
        rows = self.row_of_token[tokens + self.offsets]
        index = torch.where(observed, rows, self.hidden_index)
        # Sums rows of the embedding directly, without copying them first.
        x = F.embedding_bag(index, self.embedding.weight, mode="sum")
        if self.numeric:
            x = x + self.from_features(self.number_features(tokens, observed))
        x = _drop(x, self.config.input_dropout, generator)
        for block in self.blocks:
            x = x + block(x, self.config.dropout, generator)
        normalised: Tensor = self.norm(x)
        return normalised

    def number_features(self, tokens: Tensor, observed: Tensor) -> Tensor:
        """Return Fourier features [n, numeric * WIDTH] of observed numbers, zero where hidden."""
        parts = []
        for index, slot in enumerate(self.numeric):
            entry = tokens[:, slot]
            fine = fine_slot_of(self.layout, slot)
            if fine is not None:
                entry = entry * self.layout.sizes[fine] + tokens[:, fine]
            table: Tensor = getattr(self, f"features_{index}")
            parts.append(table[entry] * observed[:, slot, None])
        return torch.cat(parts, dim=1)

    def seen(self, tokens: Tensor, observed: Tensor) -> Tensor | None:
        """Return where the neighbours of numbers lie, for the same rows as `trunk`; see
        `Nearness.seen`.
        """
        return None if self.nearness is None else self.nearness.seen(tokens, observed)

    def logits(self, x: Tensor, observed: Tensor, seen: Tensor | None) -> tuple[Tensor, ...]:
        """Return the logits of each value or coarse slot, in slot order: [n, size] each.

        A mark is possible only if the other columns of its relation are observed, bool [n, T].
        """
        joined: Tensor = self.head(x)
        if self.marks.count:
            joined = joined + self.barred(observed).to(joined.dtype)
        if self.nearness is not None and seen is not None:
            joined = joined.float().index_add(1, self.near_tokens, self.nearness.coarse(x, seen))
        return joined.split([self.layout.sizes[s] for s in self.slots], dim=1)

    def barred(self, observed: Tensor) -> Tensor:
        """Return what prevents marks that lack a column from being drawn: [n, sum of the slots'
        sizes].
        """
        return (~self.marks.columns(observed)).float() @ self.forbidden

    @torch.no_grad()
    def centred_head(self) -> tuple[Tensor, Tensor]:
        """Return the head's weight and bias with each slot's logits shifted to mean zero.

        This changes no probability, and lets the exported graph exponentiate logits without
        subtracting each slot's maximum. A head that was centred before it was rounded to half
        precision is returned as it is, so that its graph can store it in half precision.
        """
        weight, bias = self.head.weight, self.head.bias
        sizes = [self.layout.sizes[slot] for slot in self.slots]
        means = torch.stack([each.mean(dim=0) for each in weight.split(sizes)])
        offsets = torch.stack([each.mean() for each in bias.split(sizes)])
        if max(means.abs().max().item(), offsets.abs().max().item()) < CENTRED:
            return weight, bias
        of_row = torch.repeat_interleave(torch.tensor(sizes, device=weight.device))
        return weight - means[of_row], bias - offsets[of_row]

    @torch.no_grad()
    def centre_head(self) -> None:
        """Shift each slot's logits to mean zero in place; see `centred_head`."""
        weight, bias = self.centred_head()
        self.head.weight.copy_(weight)
        self.head.bias.copy_(bias)

    @torch.no_grad()
    def shift_marks(self, shifts: Tensor) -> None:
        """Add to the log-odds of each of the layout's marks: [M]."""
        begins = np.cumsum([0, *(self.layout.sizes[slot] for slot in self.slots)])
        begin = dict(zip(self.slots, begins.tolist(), strict=False))
        for mark, added in zip(self.layout.marks, shifts, strict=True):
            self.head.bias[begin[mark.slot] + mark.token] += added

    def fine_logits(self, x: Tensor, coarse: Tensor, seen: Tensor | None) -> Tensor:
        """Logits [n, fine, fine_size] inside the given coarse tokens [n, fine]."""
        stream = self.fine_in(x).unflatten(1, (len(self.coarse), self.config.fine_width))
        told = self.fine_coarse[torch.arange(len(self.coarse)), coarse]
        if self.nearness is not None and seen is not None:
            near = self.nearness.fine(seen, coarse[:, self.near_fine])
            index = torch.tensor(self.near_fine, device=near.device)
            told = told.index_add(1, index, near.to(told.dtype))
        out = torch.einsum("nfw,fwo->nfo", F.silu(stream + told), self.fine_out)
        return out + (self.fine_bias + self.padding)

    def fine_logits_of(self, x: Tensor, coarse: Tensor, index: int, seen: Tensor | None) -> Tensor:
        """Return the logits of one fine head: [n, fine_size] inside the coarse tokens [n]."""
        width = self.config.fine_width
        own = slice(index * width, (index + 1) * width)
        stream = F.linear(x, self.fine_in.weight[own], self.fine_in.bias[own])
        told = self.fine_coarse[index, coarse]
        if self.nearness is not None and seen is not None and index in self.near_fine:
            place = self.near_fine.index(index)
            told = told + self.nearness.fine_of(seen[:, place], coarse, place)
        return F.silu(stream + told) @ self.fine_out[index] + self.fine_bias[index]

    def conditional(self, tokens: Tensor, observed: Tensor, column: int) -> dict[int, Tensor]:
        """Return p(token | observed) of one column by slot: [n, size]; the column must not be
        observed.

        The fine slot is also conditioned on the row's own coarse token.
        """
        x = self.trunk(tokens, observed)
        slot = self.layout.column.index(column)
        start = sum(self.layout.sizes[s] for s in self.slots if s < slot)
        rows = slice(start, start + self.layout.sizes[slot])
        logits = F.linear(x, self.head.weight[rows], self.head.bias[rows])
        if self.marks.count:
            logits = logits + self.barred(observed)[:, rows].to(logits.dtype)
        seen = self.seen(tokens, observed)
        if self.nearness is not None and seen is not None and slot in self.nearness.slots:
            place = self.nearness.slots.index(slot)
            logits = logits + self.nearness.coarse_of(x, seen[:, place], place)
        out = {slot: logits.softmax(dim=1)}
        if slot in self.coarse:
            index = self.coarse.index(slot)
            fine = self.fine_logits_of(x, tokens[:, slot], index, seen)
            out[slot + 1] = fine[:, : self.layout.sizes[slot + 1]].softmax(dim=1)
        return out

    def log_prob(
        self, tokens: Tensor, observed: Tensor, generator: torch.Generator | None = None
    ) -> Tensor:
        """Return ln p(token | observed) of each slot [n, T] in nats; 0 where observed."""
        x, seen = self.trunk(tokens, observed, generator), self.seen(tokens, observed)
        terms = torch.zeros(tokens.shape, dtype=x.dtype, device=x.device)
        columns: list[Tensor | None] = [None] * tokens.shape[1]
        for slot, logits in zip(self.slots, self.logits(x, observed, seen), strict=True):
            columns[slot] = -F.cross_entropy(logits, tokens[:, slot], reduction="none")
        if self.coarse:
            coarse = list(self.coarse)
            fine = self.fine_logits(x, tokens[:, coarse], seen)
            target = tokens[:, [s + 1 for s in coarse]]
            score = -F.cross_entropy(fine.transpose(1, 2), target, reduction="none")
            for index, slot in enumerate(coarse):
                columns[slot + 1] = score[:, index]
        terms = torch.stack([c for c in columns if c is not None], dim=1)
        return terms * ~observed

    def loss(
        self, rows: Tensor, observed: Tensor, generator: torch.Generator | None = None
    ) -> Tensor:
        """Compute the mean over rows of (the number of columns times the mean -ln p over hidden
        columns).

        With the number of hidden columns uniform over 1..C this is an unbiased estimate of the
        order-averaged negative log-likelihood (Hoogeboom et al., eq. 5).

        Args:
            rows: int64 [n, T + relations]; see `Marks`.
            observed: bool [n, T].
            generator: for dropout and for the order in which columns became known; None: no
                dropout, and the table's order.
        """
        rank = self.marks.ranks(len(rows), generator).to(rows.device)
        tokens = self.marks.teacher_rows(rows, observed, rank)
        column = torch.as_tensor(self.layout.column, device=tokens.device)
        first = [
            i for i, c in enumerate(self.layout.column) if i == 0 or self.layout.column[i - 1] != c
        ]
        hidden = (~observed[:, first]).sum(dim=1).clamp(min=1)
        total = -self.log_prob(tokens, observed, generator).sum(dim=1)
        return (total / hidden).mean() * int(column.max() + 1)

    @torch.inference_mode()
    def draw(self, tokens: Tensor, observed: Tensor, noise: Tensor) -> Tensor:
        """Draw every unobserved slot once by the Gumbel-max trick; the reference for the graph.

        tokens int64 [n, T], observed bool [n, T], noise uniform [n, sum(sizes)], slot after slot.
        """
        x, seen = self.trunk(tokens, observed), self.seen(tokens, observed)
        gumbel = (-torch.log(-torch.log(noise))).split(list(self.layout.sizes), dim=1)
        drawn = tokens.clone()
        for slot, logits in zip(self.slots, self.logits(x, observed, seen), strict=True):
            drawn[:, slot] = (logits + gumbel[slot]).argmax(dim=1)
        drawn = torch.where(observed, tokens, drawn)
        if self.coarse:
            fine = [s + 1 for s in self.coarse]
            logits = self.fine_logits(x, drawn[:, list(self.coarse)], seen)
            noisy = [F.pad(gumbel[s], (0, self.fine_size - self.layout.sizes[s])) for s in fine]
            drawn[:, fine] = (logits + torch.stack(noisy, dim=1)).argmax(dim=2)
        return torch.where(observed, tokens, drawn)


def random_observed(rows: int, layout: TokenLayout, generator: torch.Generator) -> Tensor:
    """Return bool [rows, T] that hides a uniformly random set of k columns, k uniform over 1..C."""
    columns = max(layout.column) + 1
    rank = torch.rand(rows, columns, generator=generator).argsort(dim=1).argsort(dim=1)
    hidden = torch.randint(1, columns + 1, (rows, 1), generator=generator)
    return (rank >= hidden)[:, list(layout.column)]
