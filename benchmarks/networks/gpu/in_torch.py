"""torch with the very same graphs."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
from cascade_tables.sampling import reveal_passes

from benchmarks.networks.gpu.problem import Problem
from benchmarks.networks.gpu.timing import alone, latency, seconds_of


def measure_torch(problem: Problem, way: str, device: str, budget: float) -> dict[str, Any]:
    """torch with the same graphs: eager, as one CUDA graph, or compiled."""
    import torch

    from benchmarks.peers.torch_graph import OnnxModule

    torch.set_float32_matmul_precision("highest")
    torch.backends.cuda.matmul.allow_tf32 = False
    figures: dict[str, Any] = {}
    layout, batch = problem.layout, problem.batch
    wait = torch.cuda.synchronize if device == "cuda" else (lambda: None)
    pin = device == "cuda"

    def prepared(module: OnnxModule, inputs: list[Any]) -> Callable[[], Any]:
        """One run over fixed inputs."""
        if way == "torch-compile":
            mode = "reduce-overhead" if device == "cuda" else "default"
            compiled = torch.compile(module, mode=mode, dynamic=False)

            def run() -> Any:
                if device == "cuda":
                    torch.compiler.cudagraph_mark_step_begin()
                return compiled(*inputs)

        else:

            def run() -> Any:
                return module(*inputs)

        for _ in range(3):
            run()
        wait()
        if way != "torch-graph" or device != "cuda":
            return run
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            out = run()

        def replay() -> Any:
            graph.replay()
            return out

        return replay

    with torch.inference_mode():
        for rows in (1, batch):
            shape = (rows, layout.slots)
            host = [torch.zeros(shape, dtype=k, pin_memory=pin) for k in (torch.int32, torch.bool)]
            back = torch.zeros(shape, dtype=torch.int32, pin_memory=pin)
            tokens, observed = (each.to(device) for each in host)
            noise = torch.rand((rows, layout.student_noise), device=device)
            module = OnnxModule(problem.straight, device)
            began = time.perf_counter()
            run = prepared(module, [tokens, observed, noise])
            name = "1" if rows == 1 else "batch"
            figures[f"student_{name}_prepare_s"] = round(time.perf_counter() - began, 2)

            def call(
                tokens=tokens, observed=observed, noise=noise, run=run, host=host, back=back
            ) -> None:
                tokens.copy_(host[0], non_blocking=True)
                observed.copy_(host[1], non_blocking=True)
                noise.uniform_()
                back.copy_(run()[0], non_blocking=True)
                wait()

            middle = latency(figures, f"student_{name}", call, budget)
            figures[f"student_{name}_alone_us"] = alone(run, wait, budget / 4)
            if rows == batch:
                figures["student_rows_per_s"] = round(rows / middle)

                def draw(
                    given: np.ndarray,
                    mask: np.ndarray,
                    index: int,
                    tokens=tokens,
                    observed=observed,
                    noise=noise,
                    run=run,
                ) -> np.ndarray:
                    n = len(given)
                    tokens[:n].copy_(torch.from_numpy(given))
                    observed[:n].copy_(torch.from_numpy(mask))
                    made = problem.noise("student", index, n).array()
                    noise[:n].copy_(torch.from_numpy(made))
                    return run()[0][:n].cpu().numpy()

                figures["student_equal"] = problem.equal("student", draw)
        shape = (batch, layout.slots)
        tokens = torch.zeros(shape, dtype=torch.int32, device=device)
        at = torch.zeros(shape, dtype=torch.int32, device=device)
        step = torch.zeros(1, dtype=torch.int32, device=device)
        width = layout.teacher_noise - layout.columns
        noise = torch.rand((batch, width), device=device)
        column = torch.from_numpy(problem.column).long().to(device)
        leads = torch.from_numpy(layout.first_slot < layout.leading).float().to(device)
        back = torch.zeros(shape, dtype=torch.int32, pin_memory=pin)
        module = OnnxModule(problem.whole_pass, device)
        began = time.perf_counter()
        run = prepared(module, [tokens, at, step, noise])
        figures["teacher_prepare_s"] = round(time.perf_counter() - began, 2)

        def passes(count: int) -> None:
            step.zero_()
            for _ in range(count):
                drawn, following = run()
                tokens.copy_(drawn)
                step.copy_(following)

        def generate() -> None:
            tokens.zero_()
            noise.uniform_()
            order = torch.rand((batch, layout.columns), device=device) - leads
            at.copy_(order.argsort(1).argsort(1)[:, column])
            passes(layout.columns)
            back.copy_(tokens, non_blocking=True)
            wait()

        taken = seconds_of(generate, budget)
        figures["teacher_rows_per_s"] = round(batch / float(np.median(taken)))
        figures["teacher_pass_alone_us"] = alone(run, wait, budget / 4)

        def complete(given: np.ndarray, mask: np.ndarray, index: int) -> np.ndarray:
            n, columns = len(given), layout.columns
            made = problem.noise("teacher", index, n).array()
            when = reveal_passes(
                mask, made[:, :columns], problem.column.tolist(), layout.leading, columns
            )
            tokens[:n].copy_(torch.from_numpy(np.where(mask, given, 0).astype(np.int32)))
            at[:n].copy_(torch.from_numpy(when.astype(np.int32)))
            noise[:n].copy_(torch.from_numpy(made[:, columns:]))
            passes(int(when.max()) + 1)
            return tokens[:n].cpu().numpy()

        figures["teacher_equal"] = problem.equal("teacher", complete)
    return figures
