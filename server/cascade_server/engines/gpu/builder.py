"""Builds TensorRT plans: the builder's configuration and the call.

Networks are strongly typed. Both TensorRTs support that, and later versions support nothing else. A
precision is therefore in the graph (see `graphs.with_precision`) and not in a flag that the builder
may ignore. TF32, which rounds float32 products to ten bits, is off by default.
"""

from __future__ import annotations

import os
import tempfile
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx

from cascade_server.engines.gpu.trt import TensorRT
from cascade_server.errors import PlanError

# Batch sizes of the plans: a batch is padded to the next one.
BUCKETS = (1, 16, 128, 1024, 4096)
MIB = 2**20


@dataclass(frozen=True)
class BuildConfig:
    """The configuration of a build.

    Attributes:
        buckets: batch sizes, in increasing order. Each has a profile of its own for exactly that
            size, so that kernels are chosen for it and a CUDA graph can hold it.
        workspace_mib: the most memory that a kernel may use for itself.
        level: TensorRT's builder optimisation level, 0 to 5.
        tf32: whether float32 products may be rounded to TF32.
        timing_cache: file that keeps the timings, so that the next build is quick and chooses the
            same kernels; None keeps nothing.
    """

    buckets: tuple[int, ...] = BUCKETS
    workspace_mib: int = 1024
    level: int = 3
    tf32: bool = False
    timing_cache: Path | None = None

    def __post_init__(self) -> None:
        if not self.buckets or list(self.buckets) != sorted({*self.buckets}) or self.buckets[0] < 1:
            raise PlanError(
                f"buckets are {', '.join(map(str, self.buckets)) or 'none'}; "
                "allowed: whole numbers from 1, increasing"
            )
        if not 0 <= self.level <= 5:
            raise PlanError(f"level is {self.level}; allowed: 0 to 5")


def build(trt: TensorRT, model: bytes, config: BuildConfig, name: str) -> bytes:
    """Build a serialized plan of an ONNX graph whose first dimension "n" is the batch.

    Raises:
        PlanError: TensorRT cannot parse or build the graph, or does not know this GPU; the message
            quotes TensorRT.
    """
    module = trt.module
    said: list[str] = []
    logger = logger_of(module, said)
    builder = module.Builder(logger)
    if builder is None:
        raise PlanError(f"{trt.named} cannot be started: {last(said)}")
    flags = 1 << int(module.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
    network = builder.create_network(flags)
    parser = module.OnnxParser(network, logger)
    if not parser.parse(model):
        errors = [str(parser.get_error(i)) for i in range(parser.num_errors)]
        raise PlanError(f"{trt.named} cannot parse {name}: {'; '.join(errors) or last(said)}")
    settings = builder.create_builder_config()
    configure(module, builder, settings, model, config)
    with warnings.catch_warnings():
        # TensorRT-RTX times nothing when it builds, and warns that its cache is deprecated.
        warnings.simplefilter("ignore", DeprecationWarning)
        kept = _load_timings(module, settings, config)
        plan = builder.build_serialized_network(network, settings)
        if plan is None:
            raise PlanError(f"{trt.named} cannot build {name}: {last(said)}")
        _keep_timings(settings, config, kept)
    return bytes(plan)


def configure(module: Any, builder: Any, settings: Any, model: bytes, config: BuildConfig) -> None:
    """Set the profiles, flags and limits of a builder's configuration."""
    shapes = batch_inputs(model)
    for rows in config.buckets:
        profile = builder.create_optimization_profile()
        for name, rest in shapes.items():
            shape = (rows, *rest)
            profile.set_shape(name, shape, shape, shape)
        settings.add_optimization_profile(profile)
    settings.set_memory_pool_limit(module.MemoryPoolType.WORKSPACE, config.workspace_mib * MIB)
    settings.builder_optimization_level = config.level
    if config.tf32:
        settings.set_flag(module.BuilderFlag.TF32)
    else:
        settings.clear_flag(module.BuilderFlag.TF32)


def batch_inputs(model: bytes) -> dict[str, tuple[int, ...]]:
    """Return the inputs whose first dimension is the batch, with their other dimensions."""
    found = {}
    for each in onnx.load_from_string(model).graph.input:
        first, *rest = each.type.tensor_type.shape.dim
        if first.dim_param:
            found[each.name] = tuple(dim.dim_value for dim in rest)
    return found


def _load_timings(module: Any, settings: Any, config: BuildConfig) -> Any:
    """Give the builder the earlier timings; returns None if timings are not kept."""
    if config.timing_cache is None:
        return None
    path = config.timing_cache
    before = path.read_bytes() if path.exists() else b""
    cache = settings.create_timing_cache(before)
    if cache is None or not settings.set_timing_cache(cache, False):
        # Timings of another GPU or version: start anew, as TensorRT would refuse them.
        cache = settings.create_timing_cache(b"")
        settings.set_timing_cache(cache, False)
    return cache


def _keep_timings(settings: Any, config: BuildConfig, cache: Any) -> None:
    if config.timing_cache is None or cache is None:
        return
    content = bytes(settings.get_timing_cache().serialize())
    config.timing_cache.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=config.timing_cache.parent)
    with os.fdopen(handle, "wb") as file:
        file.write(content)
    os.replace(name, config.timing_cache)


def logger_of(module: Any, said: list[str]) -> Any:
    """Return a logger that keeps errors for our own messages instead of printing them."""

    class Logger(module.ILogger):
        def __init__(self) -> None:
            module.ILogger.__init__(self)

        def log(self, severity: Any, message: str) -> None:
            if int(severity) <= int(module.ILogger.Severity.ERROR):
                said.append(message)

    return Logger()


def last(said: Sequence[str]) -> str:
    """Return TensorRT's last message."""
    return said[-1].strip() if said else "it does not say why"
