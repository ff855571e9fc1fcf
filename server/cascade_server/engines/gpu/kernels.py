"""Two small CUDA kernels: a seed's noise, and the pass that reveals each slot.

NVRTC compiles them for the GPU at hand when a runtime is created. `uniform` is `philox.blocks`,
`reveal` is `cascade_tables.sampling.reveal_passes`; their results equal NumPy's bit by bit.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cascade_server.engines.gpu.device import Gpu
from cascade_server.engines.philox import BLOCK, MULTIPLIERS, ROUNDS, WEYL, Uniform
from cascade_server.errors import GpuError

THREADS = 128
SOURCE = f"""
typedef unsigned long long u64;
typedef unsigned int u32;

extern "C" __global__ void uniform(
    u64 seed, u64 chunk, u64 first_block, u64 start, u64 count, int width, int columns,
    float* order, float* rest)
{{
  u64 block = first_block + (u64)blockIdx.x * blockDim.x + threadIdx.x;
  if (block * {BLOCK} >= start + count) return;
  u64 c0 = block + 1, c1 = 0, c2 = 0, c3 = 0, k0 = seed, k1 = chunk;
  for (int round = 0; round < {ROUNDS}; ++round) {{
    u64 high0 = __umul64hi({MULTIPLIERS[0]}ULL, c0), low0 = {MULTIPLIERS[0]}ULL * c0;
    u64 high1 = __umul64hi({MULTIPLIERS[1]}ULL, c2), low1 = {MULTIPLIERS[1]}ULL * c2;
    c0 = high1 ^ c1 ^ k0; c1 = low1; c2 = high0 ^ c3 ^ k1; c3 = low0;
    k0 += {WEYL[0]}ULL; k1 += {WEYL[1]}ULL;
  }}
  u64 word[4] = {{c0, c1, c2, c3}};
  for (int j = 0; j < {BLOCK}; ++j) {{
    u64 at = block * {BLOCK} + j;
    if (at < start || at >= start + count) continue;
    u32 bits = j & 1 ? (u32)(word[j >> 1] >> 32) : (u32)word[j >> 1];
    float value = (float)(bits >> 8) * (1.0f / 16777216.0f);
    u64 row = (at - start) / width;
    int column = (int)((at - start) % width);
    if (column < columns) order[row * columns + column] = value;
    else rest[row * (width - columns) + column - columns] = value;
  }}
}}

extern "C" __global__ void reveal(
    int rows, int columns, int slots, int steps, int leading, const int* first_slot,
    const int* column_of_slot, const unsigned char* observed, const float* order, int* at)
{{
  int index = blockIdx.x * blockDim.x + threadIdx.x;
  if (index >= rows * slots) return;
  int row = index / slots, mine = column_of_slot[index % slots];
  const unsigned char* known = observed + (u64)row * slots;
  const float* key = order + (u64)row * columns;
  if (known[first_slot[mine]]) {{ at[index] = -1; return; }}
  bool leads = first_slot[mine] < leading;
  int count = 0, rank = 0;
  for (int other = 0; other < columns; ++other) {{
    if (known[first_slot[other]]) continue;
    ++count;
    bool before = key[other] < key[mine] || (key[other] == key[mine] && other < mine);
    bool other_leads = first_slot[other] < leading;
    rank += other_leads == leads ? before : other_leads;
  }}
  int passes = count < steps ? count : steps;
  at[index] = rank * passes / count;
}}
"""


@dataclass(frozen=True)
class Reveal:
    """Rows to find the revealing passes of.

    Attributes:
        rows: n.
        steps: the most passes.
        columns, slots: C and T.
        leading: how many of the first slots are of columns that lead; see `TokenLayout`.
        first_slot: int32 [C], on the device.
        column_of_slot: int32 [T], on the device.
    """

    rows: int
    steps: int
    columns: int
    slots: int
    leading: int
    first_slot: int
    column_of_slot: int


class Kernels:
    """The kernels, compiled for one GPU.

    Raises:
        GpuError: NVRTC is missing or refuses; quotes its message.
    """

    def __init__(self, gpu: Gpu) -> None:
        try:
            self._driver: Any = import_module("cuda.bindings.driver")
            image = _compiled(gpu.sm)
            module = self._checked(self._driver.cuModuleLoadData(image))
            self._uniform, self._reveal = (
                self._checked(self._driver.cuModuleGetFunction(module, name))
                for name in (b"uniform", b"reveal")
            )
        except RuntimeError as exc:  # a library is missing
            raise GpuError(f"the noise kernel cannot be compiled: {exc}") from exc

    def uniform(self, noise: Uniform, order: int, columns: int, rest: int, stream: Any) -> None:
        """Queue the generation of a stream's numbers; see `device.Device.uniform`."""
        count = noise.rows * noise.width
        first = noise.start // BLOCK
        blocks = -(-(noise.start + count) // BLOCK) - first
        arguments = (
            (noise.seed, noise.chunk, first, noise.start, count, noise.width, columns, order, rest),
            (*(ctypes.c_uint64,) * 5, *(ctypes.c_int,) * 2, *(ctypes.c_void_p,) * 2),
        )
        self._launch(self._uniform, blocks, arguments, stream)

    def reveal(self, reveal: Reveal, observed: int, order: int, passes: int, stream: Any) -> None:
        """Queue the search for each slot's revealing pass; see `device.Device.reveal`."""
        arguments = (
            (
                *(reveal.rows, reveal.columns, reveal.slots, reveal.steps, reveal.leading),
                *(reveal.first_slot, reveal.column_of_slot, observed, order, passes),
            ),
            (*(ctypes.c_int,) * 5, *(ctypes.c_void_p,) * 5),
        )
        self._launch(self._reveal, reveal.rows * reveal.slots, arguments, stream)

    def _launch(self, function: Any, threads: int, arguments: Any, stream: Any) -> None:
        grid = -(-threads // THREADS)
        done = self._driver.cuLaunchKernel(
            function, grid, 1, 1, THREADS, 1, 1, 0, int(stream), arguments, 0
        )
        self._checked(done)

    def _checked(self, results: tuple[Any, ...]) -> Any:
        error, *values = results
        if int(error) != 0:
            raise GpuError(f"the CUDA driver says {getattr(error, 'name', error)}")
        return values[0] if values else None


def _compiled(sm: str) -> NDArray[np.uint8]:
    """The kernels' machine code."""
    nvrtc: Any = import_module("cuda.bindings.nvrtc")

    def checked(results: tuple[Any, ...]) -> Any:
        error, *values = results
        if int(error) != 0:
            size = nvrtc.nvrtcGetProgramLogSize(program)[1]
            log = b" " * int(size)
            nvrtc.nvrtcGetProgramLog(program, log)
            raise GpuError(f"NVRTC says {getattr(error, 'name', error)}: {log.decode().strip()}")
        return values[0] if values else None

    program = nvrtc.nvrtcCreateProgram(SOURCE.encode(), b"cascade.cu", 0, [], [])[1]
    options = [f"--gpu-architecture={sm}".encode(), b"--fmad=false"]
    checked(nvrtc.nvrtcCompileProgram(program, len(options), options))
    image = b" " * int(checked(nvrtc.nvrtcGetCUBINSize(program)))
    checked(nvrtc.nvrtcGetCUBIN(program, image))
    return np.frombuffer(image, np.uint8)
