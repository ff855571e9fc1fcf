"""AdamW by torch's fused kernel, and nothing round it.

`torch.optim` imports torch's compiler when the first optimiser is made, only to say that it is not
to be compiled: nearly as long as importing torch itself takes, before a small table's first step.
Here nothing is compiled. Steps are those of `torch.optim.AdamW(fused=True)`, bit for bit.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


class AdamW:
    """Decoupled weight decay (Loshchilov and Hutter, 2019, algorithm 2).

    Args:
        groups: parameters, each with the weight decay of all of them.
        betas: decay of the averages of gradients and of their squares.
        eps: is added to the square root.

    Attributes:
        state: of each parameter that has had a gradient: "exp_avg" and "exp_avg_sq", of its shape,
            and "step", a scalar; may be written, to go on from an earlier state.
    """

    def __init__(
        self,
        groups: Sequence[tuple[Sequence[Tensor], float]],
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
    ) -> None:
        self._groups, self._betas, self._eps = groups, betas, eps
        self.state: dict[Tensor, dict[str, Tensor]] = {
            parameter: {} for parameters, _ in groups for parameter in parameters
        }

    def zero_grad(self) -> None:
        """Forget all gradients."""
        for parameter in self.state:
            parameter.grad = None

    @torch.no_grad()
    def step(self, rate: float) -> None:
        """One step of every parameter that has a gradient.

        Args:
            rate: the learning rate.
        """
        for parameters, weight_decay in self._groups:
            moved = [each for each in parameters if each.grad is not None]
            if not moved:
                continue
            gradients = [each.grad for each in moved if each.grad is not None]
            states = [self._state_of(each) for each in moved]
            steps = [each["step"] for each in states]
            torch._foreach_add_(steps, 1)
            torch._fused_adamw_(
                moved,
                gradients,
                [each["exp_avg"] for each in states],
                [each["exp_avg_sq"] for each in states],
                [],
                steps,
                lr=rate,
                beta1=self._betas[0],
                beta2=self._betas[1],
                weight_decay=weight_decay,
                eps=self._eps,
                amsgrad=False,
                maximize=False,
            )

    def _state_of(self, parameter: Tensor) -> dict[str, Tensor]:
        state = self.state[parameter]
        if not state:
            state["step"] = torch.zeros((), dtype=torch.float32, device=parameter.device)
            state["exp_avg"] = torch.zeros_like(parameter)
            state["exp_avg_sq"] = torch.zeros_like(parameter)
        return state
