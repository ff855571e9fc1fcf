"""The student's loss and its gradients, by hand: slot after slot, forward and backward at once.

Where each slot's state is the one before it plus a little, and its loss needs nothing of the other
slots, the chain rule can be followed while walking: what a slot needs stays in the processor's
cache, and nothing is kept of it but its gradients. Left to autograd, the states and hidden units of
all slots are written to memory and read back several times, which takes three times as long and
grows with rows times slots. `Student.logits` is the plain way, which tests hold this to.

The walk. With e_t the embedding of a row's token at slot t and o_t whether it is observed,

    state_t = start + sum_{s<t} e_s + sum_{s>t} o_s e_s
            = state_{t-1} + e_{t-1} - o_t e_t,

and with g_t the gradient of the loss with respect to state_t, that with respect to e_t is

    sum_{s>t} g_s + o_t sum_{s<t} g_s = sum_s g_s - g_t - (1 - o_t) sum_{s<t} g_s.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from cascade_distill.models.student_nearness import StudentNearness

# Arguments of `_Walk.apply` before the parameters; they have no gradients.
NOT_PARAMETERS = 8


def walk_loss(
    nearness: StudentNearness | None,
    tokens: Tensor,
    observed: Tensor,
    offsets: Tensor,
    targets: Tensor,
    conditionals: Mapping[int, Tensor],
    barred: Mapping[int, Tensor],
    parameters: tuple[Tensor, ...],
) -> Tensor:
    """Mean over rows of -ln p(slot | prefix, observed suffix), summed over unobserved slots; nats.

    Observed slots are left out, since they are never drawn; the slots of one column are observed
    together.

    Args:
        nearness: adds a bias to the logits of numbers that have neighbours; None: none have.
        tokens: int64 [n, T], the inputs: each slot sees those before it, and the observed ones
            after it.
        observed: bool [n, T], which tokens are known.
        offsets: int64 [T], each slot's first row of the embedding.
        targets: int64 [n, T], the token that each slot is to draw.
        conditionals: probabilities [n, size] to learn in place of the target, by slot.
        barred: an addend [n, size] to the logits, by slot; it forbids marks.
        parameters: of the student: embedding, start, weight_in, bias_in, then each slot's output
            weight, then each slot's output bias, then those of `nearness`.

    Returns:
        A scalar with a gradient.
    """
    differentiated = torch.is_grad_enabled()
    loss: Tensor = _Walk.apply(
        nearness,
        tokens,
        observed,
        offsets,
        targets,
        conditionals,
        barred,
        differentiated,
        *parameters,
    )
    return loss


class _Walk(torch.autograd.Function):
    """Computes the gradients together with the loss; `backward` only scales them."""

    @staticmethod
    def forward(
        ctx: Any,
        nearness: StudentNearness | None,
        tokens: Tensor,
        observed: Tensor,
        offsets: Tensor,
        targets: Tensor,
        conditionals: Mapping[int, Tensor],
        barred: Mapping[int, Tensor],
        differentiated: bool,
        *parameters: Tensor,
    ) -> Tensor:
        loss, gradients = _walk(
            nearness,
            tokens,
            observed,
            offsets,
            targets,
            conditionals,
            barred,
            differentiated,
            parameters,
        )
        ctx.save_for_backward(*gradients)
        return loss

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor | None, ...]:
        gradients = (gradient * upstream[0] for gradient in ctx.saved_tensors)
        return (*(None for _ in range(NOT_PARAMETERS)), *gradients)


def _walk(
    nearness: StudentNearness | None,
    tokens: Tensor,
    observed: Tensor,
    offsets: Tensor,
    targets: Tensor,
    conditionals: Mapping[int, Tensor],
    barred: Mapping[int, Tensor],
    differentiated: bool,
    parameters: tuple[Tensor, ...],
) -> tuple[Tensor, list[Tensor]]:
    """Compute the loss and, where `differentiated`, its gradients in the order of the parameters.

    The names are those of the module's docstring: `state` is state_t, `own` e_t, `at_state` g_t,
    and `before` the sum of g_s over s < t. Matrix products follow autocast; all sums are float32.
    """
    embedding, start, weight_in, bias_in, *out = parameters
    rows, slots = tokens.shape
    weight_out, bias_out = out[:slots], out[slots : 2 * slots]
    near_slots = frozenset() if nearness is None else nearness.told
    if nearness is not None:
        seen = nearness.seen(tokens, observed, in_turn=True)
    index = (tokens + offsets).T.contiguous()
    known = observed.T.to(embedding.dtype).unsqueeze(-1)
    is_drawn = 1 - known

    gradients = [torch.empty_like(p) for p in parameters] if differentiated else []
    if differentiated:
        gradients[0].zero_()
    nearness_gradients = gradients[4 + 2 * slots :]
    before = torch.zeros(rows, len(start), dtype=start.dtype, device=start.device)
    total = torch.zeros((), dtype=start.dtype, device=start.device)

    suffix = observed.to(embedding.dtype)
    state = start + F.embedding_bag(
        index.T, embedding, mode="sum", per_sample_weights=suffix.contiguous()
    )
    own = F.embedding(index[0], embedding)
    state.addcmul_(own, known[0], value=-1)
    for slot in range(slots):
        if slot:
            state += own
            own = F.embedding(index[slot], embedding)
            state.addcmul_(own, known[slot], value=-1)
        hidden = torch.addmm(bias_in[slot], state, weight_in[slot]).relu_()
        logits = torch.addmm(bias_out[slot], hidden, weight_out[slot].T).to(state.dtype)
        if nearness is not None and slot in near_slots:
            with torch.set_grad_enabled(differentiated):
                leaves = _bias_leaves(nearness, slot, hidden, start.dtype)
                bias = nearness.bias(slot, leaves[0], seen, tokens[:, slot - 1], leaves[1:])
            logits = logits + bias.detach()
        if slot in barred:
            logits = logits + barred[slot]
        log_p = F.log_softmax(logits, dim=1)
        said = conditionals.get(slot)
        target = targets[:, slot : slot + 1] if said is None else said.to(log_p.dtype)
        total -= _log_likelihood(log_p, target, is_drawn[slot])
        if not differentiated:
            continue
        at_logits = _at_logits(log_p, target, is_drawn[slot] / rows)
        at_relu = at_logits @ weight_out[slot]
        if nearness is not None and slot in near_slots:
            at_leaves = torch.autograd.grad(bias, leaves, at_logits)
            at_relu = at_relu + at_leaves[0].to(at_relu.dtype)
            first, number = nearness.parameters_of(slot)
            for place, gradient in enumerate(at_leaves[1:], first):
                nearness_gradients[place][number].copy_(gradient)
        at_hidden = torch.ops.aten.threshold_backward(at_relu, hidden, 0)
        at_state = (at_hidden @ weight_in[slot].T).to(state.dtype)
        gradients[2][slot] = state.T @ at_hidden
        gradients[3][slot] = at_hidden.sum(dim=0)
        gradients[4 + slot].copy_(at_logits.T @ hidden)
        gradients[4 + slots + slot].copy_(at_logits.sum(dim=0))
        gradients[0].index_add_(0, index[slot], before * (known[slot] - 1) - at_state)
        before += at_state
    if differentiated:
        for slot in range(slots):
            gradients[0].index_add_(0, index[slot], before)
        gradients[1].copy_(before.sum(dim=0))
    return total / rows, gradients


def _bias_leaves(
    nearness: StudentNearness, slot: int, hidden: Tensor, dtype: torch.dtype
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """What a slot's bias is computed of, cut off from what that was computed of: its few small
    operations are left to autograd.

    Returns:
        The slot's hidden units [n, head], and its weights as of `StudentNearness.weights_of`.
    """
    gate, gate_bias, of_gates = nearness.weights_of(slot)
    return (
        hidden.detach().to(dtype).requires_grad_(),
        gate.detach().to(dtype).requires_grad_(),
        gate_bias.detach().to(dtype).requires_grad_(),
        of_gates.detach().to(dtype).requires_grad_(),
    )


def _log_likelihood(log_p: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """Sum of ln p(target) over rows.

    Args:
        log_p: of a slot's tokens [n, size].
        target: tokens, int64 [n, 1], or probabilities of all tokens [n, size].
        weight: of each row [n, 1].
    """
    if target.is_floating_point():
        return (target * log_p * weight).sum()
    return (log_p.gather(1, target) * weight).sum()


def _at_logits(log_p: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """The gradient of cross-entropy with respect to the logits, p - target [n, size]; it takes the
    memory of `log_p`.

    Args:
        log_p, target, weight: as of `_log_likelihood`.
    """
    p = log_p.exp_()
    if target.is_floating_point():
        p -= target
    else:
        p.scatter_add_(1, target, p.new_full(target.shape, -1.0))
    p *= weight
    return p
