"""A GPU as this server uses it: memory, one stream and captured graphs, through cuda-bindings."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from math import prod
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import DTypeLike, NDArray

from cascade_server.errors import GpuError

NO_BINDINGS = (
    "the package cuda-bindings is not installed; run: pip install 'cascade-synthesis[gpu]' "
    "(it needs NVIDIA's driver, version 580 or later)"
)

Captured: TypeAlias = Any


@dataclass(frozen=True)
class Gpu:
    """A GPU's name and versions.

    Attributes:
        name: as the driver reports it, such as "NVIDIA H100 80GB HBM3".
        compute_capability: (major, minor).
        driver, cuda: the newest CUDA version that the driver supports, and the runtime's version,
            as 1000 x major + 10 x minor.
    """

    name: str
    compute_capability: tuple[int, int]
    driver: int
    cuda: int

    @property
    def sm(self) -> str:
        major, minor = self.compute_capability
        return f"sm_{major}{minor}"


class Device(Protocol):
    """The device that holds a lane's buffers; in tests it is the host itself.

    Attributes:
        kind: kind of its memory, as ONNX Runtime names it.
        stream: handle of its stream.
    """

    kind: str
    stream: int

    def allocate(self, size: int) -> int:
        """Allocate `size` zeroed bytes on the device and return their address."""

    def pinned(self, shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
        """Return a zeroed array in page-locked host memory, which copies do not wait for."""

    def copy_in(self, address: int, source: NDArray[Any]) -> None:
        """Queue a copy from a contiguous host array."""

    def copy_out(self, target: NDArray[Any], source: int) -> None:
        """Queue a copy to a contiguous host array."""

    def copy(self, target: int, source: int, size: int) -> None:
        """Queue a copy of `size` bytes on the device."""

    def capture(self, work: Callable[[], None]) -> Captured:
        """Return what `work` queues as one graph, without running it."""

    def launch(self, graph: Captured) -> None:
        """Queue a captured graph."""

    def synchronize(self) -> None:
        """Wait until everything in the queue is done."""

    def uniform(self, noise: Any, order: int, columns: int, rest: int) -> None:
        """Queue the generation of the numbers of a `philox.Uniform`.

        The first `columns` of each row go to `order` float32 [n, columns], the others to `rest`.
        """

    def reveal(self, reveal: Any, observed: int, order: int, passes: int) -> None:
        """Queue `sampling.reveal_passes` of a `kernels.Reveal`'s rows: int32 [n, T] at
        `passes`."""


class CudaDevice:
    """A GPU of this machine.

    Raises:
        GpuError: there is no GPU, or cuda-bindings or the driver is missing; says how to get it.
    """

    kind = "cuda"

    def __init__(self, ordinal: int = 0) -> None:
        self.ordinal = ordinal
        self._cuda = _runtime()
        self.gpu = gpu(ordinal)
        self._do("cudaSetDevice", ordinal)
        flag = self._cuda.cudaStreamNonBlocking
        self._stream = self._do("cudaStreamCreateWithFlags", flag)
        self.stream = int(self._stream)
        self._kernels: Any = None

    def _do(self, call: str, *arguments: Any) -> Any:
        return _checked(self._cuda, call, *arguments)

    def allocate(self, size: int) -> int:
        address = int(self._do("cudaMalloc", size))
        self._do("cudaMemset", address, 0, size)
        return address

    def pinned(self, shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
        kind = np.dtype(dtype)
        size = prod(shape) * kind.itemsize
        address = int(self._do("cudaHostAlloc", size, self._cuda.cudaHostAllocDefault))
        buffer: Any = (ctypes.c_byte * size).from_address(address)
        out: NDArray[Any] = np.frombuffer(buffer, kind).reshape(shape)
        out.fill(0)
        return out

    def copy_in(self, address: int, source: NDArray[Any]) -> None:
        kind = self._cuda.cudaMemcpyKind.cudaMemcpyHostToDevice
        self._do("cudaMemcpyAsync", address, source.ctypes.data, source.nbytes, kind, self._stream)

    def copy_out(self, target: NDArray[Any], source: int) -> None:
        kind = self._cuda.cudaMemcpyKind.cudaMemcpyDeviceToHost
        self._do("cudaMemcpyAsync", target.ctypes.data, source, target.nbytes, kind, self._stream)

    def copy(self, target: int, source: int, size: int) -> None:
        kind = self._cuda.cudaMemcpyKind.cudaMemcpyDeviceToDevice
        self._do("cudaMemcpyAsync", target, source, size, kind, self._stream)

    def capture(self, work: Callable[[], None]) -> Captured:
        # Other threads may call CUDA meanwhile: only this thread's calls go into the graph.
        mode = self._cuda.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
        self._do("cudaStreamBeginCapture", self._stream, mode)
        try:
            work()
        finally:
            graph = self._do("cudaStreamEndCapture", self._stream)
        return self._do("cudaGraphInstantiate", graph, 0)

    def launch(self, graph: Captured) -> None:
        self._do("cudaGraphLaunch", graph, self._stream)

    def synchronize(self) -> None:
        self._do("cudaStreamSynchronize", self._stream)

    def uniform(self, noise: Any, order: int, columns: int, rest: int) -> None:
        self._kernel().uniform(noise, order, columns, rest, self._stream)

    def reveal(self, reveal: Any, observed: int, order: int, passes: int) -> None:
        self._kernel().reveal(reveal, observed, order, passes, self._stream)

    def _kernel(self) -> Any:
        # The driver API needs a context, which a thread gets with its first runtime call.
        self._do("cudaSetDevice", self.ordinal)
        if self._kernels is None:
            from cascade_server.engines.gpu.kernels import Kernels

            self._kernels = Kernels(self.gpu)
        return self._kernels


def gpu(ordinal: int = 0) -> Gpu:
    """Return this machine's GPU.

    Raises:
        GpuError: there is no GPU, or a package that detects it is missing.
    """
    cuda = _runtime()
    try:
        count = int(_checked(cuda, "cudaGetDeviceCount"))
    except GpuError as exc:
        raise GpuError(f"no NVIDIA GPU can be used here: {exc}") from exc
    if ordinal >= count:
        raise GpuError(f"there is no GPU {ordinal}; this machine has {count}")
    properties = _checked(cuda, "cudaGetDeviceProperties", ordinal)
    name = properties.name
    return Gpu(
        name=name.decode().rstrip("\0") if isinstance(name, bytes) else str(name),
        compute_capability=(int(properties.major), int(properties.minor)),
        driver=int(_checked(cuda, "cudaDriverGetVersion")),
        cuda=int(_checked(cuda, "cudaRuntimeGetVersion")),
    )


def _runtime() -> Any:
    try:
        return import_module("cuda.bindings.runtime")
    except ModuleNotFoundError as exc:
        raise GpuError(NO_BINDINGS) from exc


def _checked(cuda: Any, call: str, *arguments: Any) -> Any:
    """Call a function of the CUDA runtime; return its result, or its results as a tuple.

    Raises:
        GpuError: the call failed; names the call and says why.
    """
    try:
        error, *results = getattr(cuda, call)(*arguments)
    except RuntimeError as exc:  # the driver's library is missing
        raise GpuError(f"{call}: {exc}") from exc
    if int(error) != 0:
        text = cuda.cudaGetErrorString(error)[1]
        said = text.decode() if isinstance(text, bytes) else str(text)
        raise GpuError(f"{call}: {said} ({getattr(error, 'name', error)})")
    return results[0] if len(results) == 1 else tuple(results)
