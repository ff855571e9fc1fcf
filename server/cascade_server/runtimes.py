"""Chooses the runtime of a release's networks: ONNX Runtime, TensorRT or compiled code.

A runtime requested by name is used, or an error says what is missing and how to install it. Only
`auto` falls back to another one, and reports which it passed over and why. This module decides;
`engines.gpu.opening` detects what the machine has, and opens the chosen runtime.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from cascade_server.addresses import FORM
from cascade_server.errors import ConfigError, GpuError

CUDA_PROVIDER, TENSORRT_PROVIDER = "CUDAExecutionProvider", "TensorrtExecutionProvider"
# The values of `--runtime`, and their meanings.
RUNTIMES = {
    "auto": "plans that fit this GPU, else ONNX Runtime on the GPU, else the CPU",
    "cpu": "on the CPU: the student in compiled code where it was built, the rest by ONNX Runtime",
    "onnxruntime": "ONNX Runtime on the CPU, for the student too",
    "cuda": "ONNX Runtime's CUDA provider",
    "tensorrt-ep": "ONNX Runtime's TensorRT provider, which builds its engines when it starts",
    "tensorrt": "TensorRT plans of the release, which `cascade compile` made for this GPU",
}
ON_CPU = ("cpu", "onnxruntime")
GET_ONNXRUNTIME = (
    "run: pip uninstall onnxruntime && pip install 'cascade-synthesis[gpu]' "
    "(onnxruntime and onnxruntime-gpu are the same module; only one may be installed)"
)


@dataclass(frozen=True)
class Available:
    """The runtimes that are available on this machine.

    Attributes:
        providers: execution providers of the installed ONNX Runtime.
        no_gpu: why no GPU can be used; empty if one can.
        no_tensorrt: why TensorRT cannot be used; empty if it can.
        no_plans: why the release's TensorRT plans cannot be used; empty if they fit.
    """

    providers: Sequence[str]
    no_gpu: str = ""
    no_tensorrt: str = ""
    no_plans: str = ""


@dataclass(frozen=True)
class Choice:
    """The runtime that was chosen for a release.

    Attributes:
        runtime: one of `RUNTIMES`, never "auto".
        passed_over: the runtimes that `auto` would have preferred, each with why it was not usable.
    """

    runtime: str
    passed_over: tuple[str, ...] = field(default=())


def check(asked: str) -> str:
    """Return `asked` if it names a runtime.

    Raises:
        ConfigError: it does not; lists those that are allowed.
    """
    if asked not in RUNTIMES:
        raise ConfigError(f"runtime is {asked!r}; allowed: {', '.join(RUNTIMES)} and {FORM}")
    return asked


def missing(runtime: str, available: Available) -> str:
    """Say what a runtime lacks on this machine and how to get it; empty if it can be used."""
    if runtime in ON_CPU:
        return ""
    if available.no_gpu:
        return available.no_gpu
    if runtime == "tensorrt":
        return available.no_tensorrt or available.no_plans
    wanted = CUDA_PROVIDER if runtime == "cuda" else TENSORRT_PROVIDER
    if wanted not in available.providers:
        have = ", ".join(available.providers)
        return f"ONNX Runtime has no {wanted} here, only {have}; {GET_ONNXRUNTIME}"
    return ""


def choose_runtime(asked: str, available: Available) -> Choice:
    """Choose the runtime of a release.

    Args:
        asked: one of `RUNTIMES`; `auto` takes the fastest one that can be used.
        available: what the machine has.

    Raises:
        ConfigError: there is no such runtime.
        GpuError: it cannot be used here; says what is missing and how to get it.
    """
    if check(asked) != "auto":
        lacks = missing(asked, available)
        if lacks:
            raise GpuError(f"runtime {asked!r} was asked for, but {lacks}")
        return Choice(asked)
    passed_over: list[str] = []
    # tensorrt-ep builds for minutes for every new table, so it is used only on request.
    for runtime in ("tensorrt", "cuda"):
        lacks = missing(runtime, available)
        if not lacks:
            return Choice(runtime, tuple(passed_over))
        passed_over.append(f"{runtime}: {lacks}")
    return Choice("cpu", tuple(passed_over))
