"""How fast a release runs on a GPU by several ways, and whether it draws the CPU's tokens.

    python -m benchmarks.gpu --table credit --out docs/figures/gpu-credit.json

Each way is measured in a process of its own, so that one that fails says so and takes no other with
it. Latency is from tokens and mask on the host to tokens on the host, noise made on the device.
"Alone" is the network by itself, queued again and again. The last line is one JSON object; with
--out it is merged into what the file has of ways not measured now.
"""

from __future__ import annotations

import argparse
import json
import platform
import re
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from cascade_server.engines.gpu import graphs
from cascade_server.engines.gpu.builder import BuildConfig, build
from cascade_server.engines.gpu.device import CudaDevice, Device
from cascade_server.engines.gpu.engines import PlanProgram
from cascade_server.engines.gpu.lanes import Layout, Program, StudentLane, TeacherLane
from cascade_server.engines.gpu.providers import CPU, CUDA, TENSORRT, SessionProgram
from cascade_server.engines.gpu.trt import tensorrt
from cascade_server.engines.philox import Uniform
from cascade_tables import Release, list_releases, load_release
from cascade_tables.sampling import reveal_passes, sample_teacher

ROOT = Path(__file__).parent.parent
WAYS = (
    *("cpu", "torch-eager", "torch-graph", "torch-compile"),
    *("cuda:fp32", "cuda:tf32", "cuda:fp16", "cuda:bf16", "tensorrt-ep:fp32"),
    *("tensorrt:fp32", "tensorrt:tf32", "tensorrt:fp16", "tensorrt:bf16", "server"),
)
SEEDS = {"student": 1, "teacher": 2}


class Problem:
    """Rows to complete, half of them with nothing known, and what the CPU makes of them."""

    def __init__(self, release: Release, folder: Path, rows: int, batch: int) -> None:
        self.release, self.folder, self.rows, self.batch = release, folder, rows, batch
        layout = release.codec.layout
        self.column = np.asarray(layout.column, np.int32)
        columns = int(self.column.max()) + 1
        self.layout = Layout(
            slots=len(layout.sizes),
            columns=columns,
            student_noise=sum(layout.sizes) + len(layout.sizes),
            teacher_noise=sum(layout.sizes) + columns,
            column_of_slot=self.column,
            first_slot=np.unique(self.column, return_index=True)[1].astype(np.int32),
        )
        self.straight = graphs.straight(release.student)
        self.whole_pass = graphs.teacher_pass(release.teacher)

    def noise(self, tier: str, batch: int, rows: int) -> Uniform:
        width = self.layout.student_noise if tier == "student" else self.layout.teacher_noise
        return Uniform(SEEDS[tier], batch, 0, rows, width)

    def masks(self, batch: int, rows: int) -> np.ndarray:
        rng = np.random.default_rng(batch)
        known = rng.random((rows, self.layout.columns)) < rng.random((rows, 1))
        known &= rng.random((rows, 1)) < 0.5
        return known[:, self.column]

    def batches(self) -> list[int]:
        return [min(self.batch, self.rows - at) for at in range(0, self.rows, self.batch)]

    def make(self, threads: int) -> None:
        """Write the rows and what the CPU draws for them."""
        student, teacher = (
            session(model, threads) for model in (self.release.student, self.release.teacher)
        )
        columns, made = self.layout.columns, []
        for index, rows in enumerate(self.batches()):
            shape = (rows, self.layout.slots)
            noise = Uniform(3, index, 0, rows, self.layout.student_noise).array()
            feed = {"tokens": np.zeros(shape, np.int32), "observed": np.zeros(shape, bool)}
            tokens = student.run(None, {**feed, "noise": noise})[0]
            observed = self.masks(index, rows)
            noise = self.noise("student", index, rows).array()
            drawn = student.run(None, {"tokens": tokens, "observed": observed, "noise": noise})[0]

            def denoise(tokens: Any, observed: Any, noise: Any) -> Any:
                feed = {"tokens": tokens, "observed": observed, "noise": noise}
                return teacher.run(["drawn"], feed)[0]

            noise = self.noise("teacher", index, rows).array()
            completed = sample_teacher(
                denoise, tokens, observed, noise, self.column.tolist(), columns
            )
            made.append((tokens, observed, drawn, completed))
        parts = [np.concatenate(each) for each in zip(*made, strict=True)]
        np.savez(self.folder / "rows.npz", *parts)

    def load(self) -> None:
        with np.load(self.folder / "rows.npz") as file:
            self.tokens, self.observed, drawn, completed = (file[name] for name in file.files)
        self.expected = {"student": drawn, "teacher": completed}

    def equal(self, tier: str, draw: Callable[[np.ndarray, np.ndarray, int], np.ndarray]) -> float:
        """Share of rows that are equal, all tokens; `draw` takes tokens, mask and batch number."""
        equal = at = 0
        for index, rows in enumerate(self.batches()):
            part = slice(at, at + rows)
            drawn = draw(self.tokens[part], self.observed[part], index)
            equal += int((drawn == self.expected[tier][part]).all(axis=1).sum())
            at += rows
        return equal / self.rows


def session(model: bytes, threads: int) -> Any:
    options = ort.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = threads, 3
    return ort.InferenceSession(model, options, providers=[CPU])


def seconds_of(call: Callable[[], Any], budget: float, most: int = 5000) -> np.ndarray:
    """Seconds of each call, after warm-up."""
    began = time.perf_counter()
    while time.perf_counter() - began < 0.2 * budget:
        call()
    taken: list[float] = []
    began = time.perf_counter()
    while len(taken) < 5 or (time.perf_counter() - began < budget and len(taken) < most):
        at = time.perf_counter()
        call()
        taken.append(time.perf_counter() - at)
    return np.array(taken)


def latency(figures: dict[str, Any], name: str, call: Callable[[], Any], budget: float) -> float:
    """Keep the quantiles of a call, in microseconds; returns its median in seconds."""
    taken = seconds_of(call, budget)
    figures[f"{name}_p50_us"] = round(1e6 * float(np.median(taken)), 1)
    figures[f"{name}_p99_us"] = round(1e6 * float(np.quantile(taken, 0.99)), 1)
    return float(np.median(taken))


def alone(queue: Callable[[], None], wait: Callable[[], None], budget: float) -> float:
    """Microseconds of one of many runs that are queued without waiting between them."""
    for _ in range(5):
        queue()
    wait()
    count, began = 20, time.perf_counter()
    for _ in range(count):
        queue()
    wait()
    each = (time.perf_counter() - began) / count
    count = max(20, int(budget / each))
    began = time.perf_counter()
    for _ in range(count):
        queue()
    wait()
    return round(1e6 * (time.perf_counter() - began) / count, 2)


def measure_lanes(
    problem: Problem,
    device: Device,
    programs: Callable[[bytes, str], Program],
    budget: float,
    watch_idle: bool,
) -> dict[str, Any]:
    """The server's own way: lanes over ONNX Runtime or TensorRT."""
    figures: dict[str, Any] = {}
    layout, batch = problem.layout, problem.batch
    began = time.perf_counter()
    student = programs(problem.straight, "student")
    figures["student_build_s"] = round(time.perf_counter() - began, 2)
    for rows in (1, batch):
        lane = StudentLane(device, student, layout, rows)
        shape = (rows, layout.slots)
        tokens, observed = np.zeros(shape, np.int32), np.zeros(shape, bool)
        noise = problem.noise("student", 0, rows)
        middle = latency(
            figures,
            f"student_{'1' if rows == 1 else 'batch'}",
            lambda lane=lane, t=tokens, o=observed, n=noise: lane.draw(t, o, n),
            budget,
        )
        figures[f"student_{'1' if rows == 1 else 'batch'}_alone_us"] = alone(
            lane.queue, device.synchronize, budget / 4
        )
        if rows == 1 and watch_idle:
            figures.update(
                idle(lambda lane=lane, t=tokens, o=observed, n=noise: lane.draw(t, o, n))
            )
        if rows == batch:
            figures["student_rows_per_s"] = round(rows / middle)
            figures["student_equal"] = problem.equal(
                "student",
                lambda t, o, i, lane=lane: lane.draw(t, o, problem.noise("student", i, len(t))),
            )
    began = time.perf_counter()
    teacher = programs(problem.whole_pass, "teacher")
    figures["teacher_build_s"] = round(time.perf_counter() - began, 2)
    whole = TeacherLane(device, teacher, layout, batch)
    tokens = np.zeros((batch, layout.slots), np.int32)
    observed = np.zeros(tokens.shape, bool)
    noise = problem.noise("teacher", 0, batch)
    steps = layout.columns
    seeded = [(noise, steps)]
    taken = seconds_of(lambda: whole.generate(tokens, observed, seeded), budget)
    figures["teacher_rows_per_s"] = round(batch / float(np.median(taken)))
    figures["teacher_pass_alone_us"] = round(
        alone(whole.queue, device.synchronize, budget / 4) / 2, 2
    )

    def complete(tokens: np.ndarray, observed: np.ndarray, index: int) -> np.ndarray:
        noise = problem.noise("teacher", index, len(tokens))
        return whole.generate(tokens, observed, [(noise, steps)])

    figures["teacher_equal"] = problem.equal("teacher", complete)

    def with_host_noise(tokens: np.ndarray, observed: np.ndarray, index: int) -> np.ndarray:
        noise = problem.noise("teacher", index, len(tokens)).array()
        at = reveal_passes(observed, noise[:, :steps], problem.column.tolist(), steps)
        given = np.where(observed, tokens, 0)
        return whole.complete(given, at, noise[:, steps:], int(at.max()) + 1)

    rows = slice(0, problem.batches()[0])
    first = problem.tokens[rows], problem.observed[rows]
    # The noise and the order of the device are the host's: the same rows, bit by bit.
    figures["device_noise_equal"] = bool((complete(*first, 0) == with_host_noise(*first, 0)).all())
    return figures


def idle(call: Callable[[], Any], pause: float = 4.0, every: float = 0.25) -> dict[str, Any]:
    """What a first call after a pause takes, with nothing and with ticks in it, µs."""
    out = {}
    for name, ticks in (("idle", False), ("ticked", True)):
        firsts = []
        for _ in range(3):
            until = time.perf_counter() + pause
            while (left := until - time.perf_counter()) > 0:
                time.sleep(min(every if ticks else left, left))
                if ticks:
                    call()
            at = time.perf_counter()
            call()
            firsts.append(1e6 * (time.perf_counter() - at))
        out[f"first_after_{name}_us"] = round(float(np.median(firsts)), 1)
    return out


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
            order = torch.rand((batch, layout.columns), device=device)
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
            when = reveal_passes(mask, made[:, :columns], problem.column.tolist(), columns)
            tokens[:n].copy_(torch.from_numpy(np.where(mask, given, 0).astype(np.int32)))
            at[:n].copy_(torch.from_numpy(when.astype(np.int32)))
            noise[:n].copy_(torch.from_numpy(made[:, columns:]))
            passes(int(when.max()) + 1)
            return tokens[:n].cpu().numpy()

        figures["teacher_equal"] = problem.equal("teacher", complete)
    return figures


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
    """`cascade serve` by either runtime: rows of a seed, and how fast they come."""
    from cascade_client import Client

    figures: dict[str, Any] = {}
    rows = {}
    table, count = problem.release.manifest.table, 20 * problem.batch
    for runtime in ("cpu", "cuda"):
        program = "from cascade_server.commands import serve; serve()"
        options = ("--port", "0", "--repository", str(repository), "--pool-mib", "0")
        command = [sys.executable, "-c", program, *options, "--runtime", runtime]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
            try:
                assert server.stdout is not None
                found = None
                for line in server.stdout:
                    if found := re.search(r"serving on (\S+:\d+)", line):
                        break
                if found is None:
                    raise RuntimeError(f"serve --runtime {runtime} ended without serving")
                with Client(found[1]) as client:
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
            finally:
                server.terminate()
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


def work(problem: Problem) -> dict[str, Any]:
    """What a row costs at least: operations of its matrix products, bytes in and out."""
    layout = problem.layout
    given = 4 * layout.slots + layout.slots  # tokens and mask
    return {
        "student_flop": graphs.operations(problem.straight),
        "student_weight_bytes": graphs.weight_bytes(problem.straight),
        "student_row_bytes": given + 4 * layout.student_noise + 4 * layout.slots,
        "teacher_flop": graphs.operations(problem.whole_pass) * layout.columns,
        "teacher_pass_weight_bytes": graphs.weight_bytes(problem.whole_pass),
        # A pass reads tokens, when each is revealed, and the noise, and writes tokens.
        "teacher_row_bytes": layout.columns * 4 * (3 * layout.slots + layout.teacher_noise),
        "passes": layout.columns,
    }


def measure(problem: Problem, way: str, device: str, budget: float) -> dict[str, Any]:
    """One way's figures."""
    problem.load()
    name, _, precision = way.partition(":")
    if name == "cpu":
        return measure_cpu(problem, budget)
    if name.startswith("torch"):
        return measure_torch(problem, name, device, budget)
    tf32 = precision == "tf32"
    exact = "fp32" if tf32 else precision
    gpu = CudaDevice()
    found: dict[str, Any] = {}

    def programs(model: bytes, tier: str) -> Program:
        model = graphs.with_precision(model, exact)
        if name != "tensorrt":
            provider = {"cuda": CUDA, "tensorrt-ep": TENSORRT}[name]
            found["version"] = f"onnxruntime {ort.__version__}"
            return SessionProgram(model, provider, gpu, tier, tf32=tf32)
        trt = tensorrt()
        found["version"] = trt.named
        config = BuildConfig(buckets=(1, problem.batch), tf32=tf32)
        plan = build(trt, model, config, tier)
        found[f"{tier}_plan_bytes"] = len(plan)
        return PlanProgram(trt, plan, gpu, tier)

    found.update(measure_lanes(problem, gpu, programs, budget, precision == "fp32"))
    return found


def main() -> None:
    """Measure every way, each in a process of its own."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gpu", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--table", required=True)
    parser.add_argument("--repository", type=Path, default=ROOT / "model_repository")
    parser.add_argument("--ways", default=",".join(WAYS), help="some of them, with commas between")
    parser.add_argument("--rows", type=int, default=100_000, help="that are compared")
    parser.add_argument("--batch", type=int, default=4096)
    parser.add_argument("--seconds", type=float, default=1.0, help="of each timing")
    parser.add_argument("--threads", type=int, default=0, help="that make what is compared with")
    parser.add_argument("--device", default="cuda", help="torch's; cpu tries the program out")
    parser.add_argument("--folder", type=Path, help="keeps what is compared with between runs")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--way", help=argparse.SUPPRESS)
    options = parser.parse_args()
    version = list_releases(options.repository)[options.table][-1]
    release = load_release(options.repository, options.table, version)
    folder = options.folder or Path(tempfile.mkdtemp(prefix="cascade-gpu-"))
    folder.mkdir(parents=True, exist_ok=True)
    problem = Problem(release, folder, options.rows, options.batch)
    if options.way == "ceilings":
        print(json.dumps(ceilings()))
        return
    if options.way == "server":
        print(json.dumps(measure_server(problem, options.repository, options.seconds)))
        return
    if options.way:
        try:
            print(json.dumps(measure(problem, options.way, options.device, options.seconds)))
        except Exception as exc:
            traceback.print_exc()
            print(json.dumps({"error": f"{type(exc).__name__}: {exc}"[:600]}))
        return
    if not (folder / "rows.npz").exists():
        began = time.perf_counter()
        problem.make(options.threads)
        print(f"made {options.rows:,} rows in {time.perf_counter() - began:.1f} s", flush=True)
    figures: dict[str, Any] = {
        "table": options.table,
        "version": version,
        "rows": options.rows,
        "batch": options.batch,
        "work": work(problem),
        "python": platform.python_version(),
        "torch": metadata.version("torch"),
    }
    if options.out and options.out.exists():
        figures = {**json.loads(options.out.read_text()), **figures}
    ways: dict[str, Any] = figures.setdefault("ways", {})
    wanted = options.ways.split(",")
    if options.device == "cuda" and "card" not in figures:
        figures.update(child("ceilings"))
        print(json.dumps(figures), flush=True)
    for way in wanted:
        began = time.perf_counter()
        ways[way] = child(way)
        ways[way]["wall_s"] = round(time.perf_counter() - began, 1)
        print(way, json.dumps(ways[way]), flush=True)
        if options.out:
            options.out.write_text(json.dumps(figures, indent=2) + "\n")
    print(json.dumps(figures))


def child(way: str) -> dict[str, Any]:
    """What this program, called for one way, printed last."""
    arguments = [*sys.argv[1:], "--way", way]
    if "--folder" not in arguments and way != "ceilings":
        sys.exit("--folder is needed where several ways are measured")
    command = [sys.executable, "-m", "benchmarks.gpu", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    sys.stderr.write(done.stderr[-3000:])
    try:
        return dict(json.loads(done.stdout.splitlines()[-1]))
    except (IndexError, ValueError):
        return {"error": f"ended with {done.returncode}: {done.stderr.strip()[-500:]}"}


if __name__ == "__main__":
    main()
