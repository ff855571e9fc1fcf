"""TensorRT plans of a release: their files, and the stamps that say which machine they fit.

A plan lies beside the graph it was built from, as `<table>_student/<version>/model.<stamp>.plan`,
with its stamp as JSON. A plan runs on the GPU model and the TensorRT version it was built with. On
others, TensorRT refuses it at best; at worst it runs although its parity was never measured there.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from cascade_server.engines.gpu.device import Gpu
from cascade_server.engines.gpu.trt import TensorRT
from cascade_server.errors import PlanError
from cascade_server.terms import Tier

FORMAT = 1
COMPILE = "run: cascade compile {table} --runtime tensorrt"


@dataclass(frozen=True)
class Stamp:
    """What a plan was built from, with and for.

    Attributes:
        tier: "student" or "teacher".
        graph: SHA-256 of the released ONNX graph.
        plan: SHA-256 of the plan.
        flavour, version: TensorRT's flavour and version.
        gpu: the GPU's name.
        compute_capability: (major, minor).
        driver, cuda: see `device.Gpu`.
        precision: precision of the large matrix products; see `graphs.with_precision`.
        buckets: batch sizes.
        parity: what the parity gate measured.
    """

    tier: str
    graph: str
    plan: str
    flavour: str
    version: str
    gpu: str
    compute_capability: tuple[int, int]
    driver: int
    cuda: int
    precision: str
    buckets: tuple[int, ...]
    parity: Mapping[str, float] = field(default_factory=dict)
    format: int = FORMAT

    @property
    def name(self) -> str:
        """The TensorRT version and the GPU, for file names."""
        return stem(self.flavour, self.version, self.gpu, self.compute_capability)


def stem(flavour: str, version: str, gpu: str, compute_capability: tuple[int, int]) -> str:
    """Return the stamp in a plan's file name."""
    card = re.sub(r"[^a-z0-9]+", "-", gpu.lower()).strip("-")
    major, minor = compute_capability
    return f"{flavour}-{version}.{card}.sm{major}{minor}"


def stamp_of(
    tier: Tier,
    graph: bytes,
    plan: bytes,
    trt: TensorRT,
    gpu: Gpu,
    precision: str,
    buckets: tuple[int, ...],
    parity: Mapping[str, float],
) -> Stamp:
    """Return the stamp of a plan that was built on this machine."""
    return Stamp(
        tier=str(tier),
        graph=digest(graph),
        plan=digest(plan),
        flavour=trt.flavour,
        version=trt.version,
        gpu=gpu.name,
        compute_capability=gpu.compute_capability,
        driver=gpu.driver,
        cuda=gpu.cuda,
        precision=precision,
        buckets=buckets,
        parity=parity,
    )


def digest(content: bytes) -> str:
    """Return the SHA-256 of a plan's bytes as hexadecimal digits, as in the stamp."""
    return hashlib.sha256(content).hexdigest()


def unfit(stamp: Stamp, trt: TensorRT, gpu: Gpu, graph: bytes) -> str:
    """Return why a plan cannot be used here; "" if it can."""
    if stamp.graph != digest(graph):
        return "it was made of another graph than the release's"
    if (stamp.flavour, stamp.version) != (trt.flavour, trt.version):
        made = TensorRT(stamp.flavour, stamp.version, None).named
        return f"it was made by {made}, and here is {trt.named}"
    if (stamp.gpu, stamp.compute_capability) != (gpu.name, gpu.compute_capability):
        return (
            f"it was made for {_card(stamp.gpu, stamp.compute_capability)}, "
            f"and here is {_card(gpu.name, gpu.compute_capability)}"
        )
    if gpu.driver < stamp.cuda:
        return (
            f"it was made with CUDA {_cuda(stamp.cuda)}, and the driver here knows CUDA up to "
            f"{_cuda(gpu.driver)}"
        )
    return ""


def folder_of(repository: Path, table: str, version: int, tier: Tier) -> Path:
    """Return the folder of a tier's graph and plans."""
    return repository / f"{table}_{tier}" / str(version)


def write_plan(folder: Path, stamp: Stamp, plan: bytes) -> Path:
    """Write a plan and its stamp, each by a rename and the stamp last; return the plan's path.

    Readers look for stamps: a plan without a stamp is ignored.
    """
    path = folder / f"model.{stamp.name}.plan"
    content = (json.dumps(asdict(stamp), indent=2) + "\n").encode()
    for target, data in ((path, plan), (path.with_suffix(".json"), content)):
        part = target.with_name(f".{target.name}.part")
        part.write_bytes(data)
        os.replace(part, target)
    return path


def find_plan(
    folder: Path, trt: TensorRT, gpu: Gpu, graph: bytes, table: str
) -> tuple[Stamp, bytes]:
    """Return the plan of a folder that fits this machine.

    Raises:
        PlanError: there is none, or it is damaged; lists what the existing plans were built for.
    """
    again = COMPILE.format(table=table)
    reasons = []
    for path in sorted(folder.glob("model.*.json")):
        stamp = read_stamp(path)
        reason = unfit(stamp, trt, gpu, graph)
        if reason:
            reasons.append(f"{path.with_suffix('.plan').name} cannot be used: {reason}")
            continue
        plan = path.with_suffix(".plan")
        try:
            content = plan.read_bytes()
        except OSError as exc:
            raise PlanError(f"{plan} cannot be read: {exc.strerror}; {again}") from exc
        if digest(content) != stamp.plan:
            raise PlanError(
                f"{plan} is damaged or was changed: its SHA-256 is {digest(content)[:12]}…, "
                f"its stamp expects {stamp.plan[:12]}…; {again}"
            )
        return stamp, content
    if reasons:
        raise PlanError(f"{folder} has no plan for this machine: {'; '.join(reasons)}; {again}")
    raise PlanError(f"{folder} has no TensorRT plan; {again}")


def read_stamp(path: Path) -> Stamp:
    """Read a stamp's file.

    Raises:
        PlanError: the file is not a stamp; names the file.
    """
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if content["format"] != FORMAT:
            raise PlanError(
                f"{path}: format is {content['format']}; this version reads format {FORMAT}"
            )
        major, minor = content["compute_capability"]
        return Stamp(
            **{
                **content,
                "compute_capability": (int(major), int(minor)),
                "buckets": tuple(content["buckets"]),
            }
        )
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as exc:
        raise PlanError(f"{path} is not the stamp of a plan: {exc!r}") from exc


def _card(name: str, compute_capability: tuple[int, int]) -> str:
    major, minor = compute_capability
    return f"{name} (compute capability {major}.{minor})"


def _cuda(number: int) -> str:
    return f"{number // 1000}.{number % 1000 // 10}"
