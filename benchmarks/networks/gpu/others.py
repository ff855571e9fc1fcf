"""What the ways on a GPU are held against: the CPU, whole servers, the card itself."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
from cascade_loadtest.servers import default_server, serving

from benchmarks.networks.gpu.problem import Problem, session
from benchmarks.networks.gpu.timing import alone, latency, seconds_of


def measure_cpu(problem: Problem, budget: float) -> dict[str, Any]:
    """The embedded runtime: ONNX Runtime on one thread, noise by NumPy."""
    figures: dict[str, Any] = {}
    student, teacher = session(problem.release.student, 1), session(problem.release.teacher, 1)
    rng = np.random.Generator(np.random.Philox(0))
    layout = problem.layout
    for rows in (1, problem.batch):
        shape = (rows, layout.slots)
        feed = {"tokens": np.zeros(shape, np.int32), "observed": np.zeros(shape, bool)}

        def call(feed=feed, rows=rows) -> None:
            noise = rng.random((rows, layout.student_noise), dtype=np.float32)
            student.run(None, {**feed, "noise": noise})

        middle = latency(figures, f"student_{'1' if rows == 1 else 'batch'}", call, budget)
        if rows > 1:
            figures["student_rows_per_s"] = round(rows / middle)
    noise = rng.random((problem.batch, layout.teacher_noise - layout.columns), dtype=np.float32)

    def one_pass() -> None:
        teacher.run(["drawn"], {**feed, "noise": noise})

    taken = seconds_of(one_pass, budget, 10)
    figures["teacher_rows_per_s"] = round(problem.batch / float(np.median(taken)) / layout.columns)
    return figures


def measure_server(problem: Problem, repository: Path, budget: float) -> dict[str, Any]:
    """`cascade serve --pool-mib 0` by either runtime: rows of a seed, and how fast they come."""
    from cascade_client import Client

    figures: dict[str, Any] = {}
    rows = {}
    table, count = problem.release.manifest.table, 20 * problem.batch
    for runtime in ("cpu", "cuda"):
        # Without a pool: what is asked for is the student, and whole rows are always in the pool.
        command = default_server(repository, "--runtime", runtime, "--pool-mib", "0")
        with serving(command) as server, Client(server.target) as client:
            client.wait_ready()
            name = f"server_{runtime}"
            some = client.generate(table, problem.batch, kind="rows", seed=1).data
            rows[runtime] = np.array([list(map(str, row.values())) for row in some])
            each = 1 if runtime == "cpu" else 20
            began = time.perf_counter()
            client.generate(table, count * each // 20, seed=2)
            seconds = time.perf_counter() - began
            figures[f"{name}_generate_rows_per_s"] = round(count * each / 20 / seconds)
            latency(
                figures,
                f"{name}_student",
                lambda c=client: c.synthesize(table, {}, fidelity="fast"),
                budget,
            )
    figures["server_rows_equal"] = float((rows["cpu"] == rows["cuda"]).all(axis=1).mean())
    return figures


def ceilings() -> dict[str, Any]:
    """What this card's memory and matrix units do, and its two floors are made of."""
    import torch

    figures: dict[str, Any] = {}
    wait = torch.cuda.synchronize
    source = torch.empty(2**30, dtype=torch.float32, device="cuda").normal_()
    target = torch.empty_like(source)
    each = alone(lambda t=target, s=source: t.copy_(s), wait, 0.3)
    figures["copy_gb_s"] = round(2 * source.nbytes / each / 1e3)
    del source, target
    for name, kind, tf32, size in (
        ("fp32", torch.float32, False, 4096),
        ("tf32", torch.float32, True, 8192),
        ("fp16", torch.float16, False, 8192),
        ("bf16", torch.bfloat16, False, 8192),
    ):
        torch.backends.cuda.matmul.allow_tf32 = tf32
        a, b = (torch.randn(size, size, device="cuda").to(kind) for _ in range(2))
        each = alone(lambda a=a, b=b: a @ b, wait, 0.2)
        figures[f"{name}_tflop_s"] = round(2 * size**3 / each / 1e6, 1)
    free = torch.cuda.get_device_properties(0)
    figures["card"] = free.name
    figures["sms"] = free.multi_processor_count
    return figures
