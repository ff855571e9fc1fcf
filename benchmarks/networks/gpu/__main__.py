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
import subprocess
import sys
import tempfile
import time
import traceback
from importlib import metadata
from pathlib import Path
from typing import Any

import onnxruntime as ort
from cascade_server.engines.gpu import graphs
from cascade_server.engines.gpu.builder import BuildConfig, build
from cascade_server.engines.gpu.device import CudaDevice
from cascade_server.engines.gpu.engines import PlanProgram
from cascade_server.engines.gpu.lanes import Program
from cascade_server.engines.gpu.providers import CUDA, TENSORRT, SessionProgram
from cascade_server.engines.gpu.trt import tensorrt
from cascade_tables import list_releases, load_release

from benchmarks.networks.gpu.in_torch import measure_torch
from benchmarks.networks.gpu.lanes import measure_lanes
from benchmarks.networks.gpu.others import ceilings, measure_cpu, measure_server
from benchmarks.networks.gpu.problem import Problem, work
from benchmarks.tables import ROOT

WAYS = (
    *("cpu", "torch-eager", "torch-graph", "torch-compile"),
    *("cuda:fp32", "cuda:tf32", "cuda:fp16", "cuda:bf16", "tensorrt-ep:fp32"),
    *("tensorrt:fp32", "tensorrt:tf32", "tensorrt:fp16", "tensorrt:bf16", "server"),
)


def measure(problem: Problem, way: str, device: str, budget: float) -> dict[str, Any]:
    """The figures of one way to run a network on the GPU."""
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
