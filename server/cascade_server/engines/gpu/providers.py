"""ONNX Runtime's GPU providers as programs, bound to our buffers and our stream."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import onnxruntime as ort

from cascade_server.engines.gpu.device import Device
from cascade_server.engines.gpu.lanes import Binding
from cascade_server.errors import GpuError

CUDA, TENSORRT, CPU = "CUDAExecutionProvider", "TensorrtExecutionProvider", "CPUExecutionProvider"


class SessionProgram:
    """An ONNX graph on one of ONNX Runtime's providers.

    Args:
        model: a graph without branches; see `graphs`.
        provider: the provider's name.
        device: provides the stream and the memory.
        name: for messages.
        cache: folder that keeps TensorRT's engines and timings.
        tf32: whether float32 products may be rounded to TF32.

    Raises:
        GpuError: the graph cannot run there, or ONNX Runtime would run a part of it elsewhere.
    """

    capturable = False  # ONNX Runtime allocates and waits at any time

    def __init__(
        self,
        model: bytes,
        provider: str,
        device: Device,
        name: str,
        cache: Path | None = None,
        tf32: bool = False,
    ) -> None:
        self._device, self._name, self._bound = device, name, 0
        options = ort.SessionOptions()
        options.log_severity_level = 3
        # Otherwise ONNX Runtime silently moves what a provider cannot do to the CPU.
        options.add_session_config_entry(
            "session.disable_cpu_ep_fallback", str(int(provider != CPU))
        )
        chosen = provider_options(provider, device.stream, cache, tf32)
        try:
            self._session: Any = ort.InferenceSession(model, options, providers=chosen)
        except Exception as exc:  # onnxruntime's errors share no base class of their own
            raise GpuError(f"{name} cannot be run by ONNX Runtime's {provider}: {exc}") from exc
        used = self._session.get_providers()
        if used[0] != provider:
            raise GpuError(
                f"{name} was to run by ONNX Runtime's {provider}, but it chose {used[0]}; "
                "its log says which library is missing"
            )

    def bind(self, rows: int, tensors: Mapping[str, Binding]) -> SessionRun:
        binding = self._session.io_binding()
        inputs = {each.name for each in self._session.get_inputs()}
        for name, each in tensors.items():
            bind = binding.bind_input if name in inputs else binding.bind_output
            bind(name, self._device.kind, 0, each.dtype, each.shape, each.address)
        self._bound += 1
        return SessionRun(self._session, binding, self._bound)


class SessionRun:
    """A session over given buffers; see `lanes.Bound`."""

    def __init__(self, session: Any, binding: Any, number: int) -> None:
        self._session, self._binding = session, binding
        self._options = ort.RunOptions()
        # ONNX Runtime captures a separate CUDA graph for each set of buffers.
        self._options.add_run_config_entry("gpu_graph_id", str(number))
        # The stream is ours, and we do the waiting.
        self._options.add_run_config_entry("disable_synchronize_execution_providers", "1")

    def enqueue(self) -> None:
        """Queue one run on the bound buffers, in our stream, without waiting."""
        self._session.run_with_iobinding(self._binding, self._options)


def provider_options(
    provider: str, stream: int, cache: Path | None, tf32: bool
) -> list[str | tuple[str, dict[str, str]]]:
    """Return ONNX Runtime's provider list: one provider with its options.

    ONNX Runtime's own CUDA graphs stay off: a session captures them for one set of buffers, and
    ours alternate.
    """
    if provider == CUDA:
        return [
            (
                CUDA,
                {
                    "device_id": "0",
                    "user_compute_stream": str(stream),
                    "use_tf32": str(int(tf32)),
                    "enable_cuda_graph": "1",
                },
            )
        ]
    if provider == TENSORRT:
        options = {"device_id": "0", "user_compute_stream": str(stream)}
        if cache is not None:
            options |= {
                "trt_engine_cache_enable": "1",
                "trt_engine_cache_path": str(cache),
                "trt_timing_cache_enable": "1",
                "trt_timing_cache_path": str(cache),
            }
        return [(TENSORRT, options)]
    return [provider]
