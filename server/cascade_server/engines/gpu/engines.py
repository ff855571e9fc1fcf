"""TensorRT plans as programs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cascade_server.engines.gpu.builder import last, logger_of
from cascade_server.engines.gpu.device import Device
from cascade_server.engines.gpu.lanes import Binding
from cascade_server.engines.gpu.trt import TensorRT
from cascade_server.errors import PlanError


class PlanProgram:
    """A plan, ready to be bound to buffers; each batch size is one of its profiles.

    Raises:
        PlanError: TensorRT refuses the plan; quotes TensorRT's message.
    """

    capturable = True

    def __init__(self, trt: TensorRT, plan: bytes, device: Device, name: str) -> None:
        self._said: list[str] = []
        self._device, self._name, self._named = device, name, trt.named
        self._module: Any = trt.module
        # The runtime must outlive its engine.
        self._logger = logger_of(trt.module, self._said)
        self._runtime: Any = trt.module.Runtime(self._logger)
        self._engine: Any = self._runtime.deserialize_cuda_engine(plan)
        if self._engine is None:
            raise PlanError(f"{trt.named} refuses the plan of {name}: {last(self._said)}")
        self._batched = next(
            name
            for name in map(self._engine.get_tensor_name, range(self._engine.num_io_tensors))
            if -1 in tuple(self._engine.get_tensor_shape(name))
        )

    @property
    def buckets(self) -> tuple[int, ...]:
        """Batch sizes that the plan was built for."""
        count = self._engine.num_optimization_profiles
        shapes = (self._engine.get_tensor_profile_shape(self._batched, i)[2] for i in range(count))
        return tuple(int(shape[0]) for shape in shapes)

    def bind(self, rows: int, tensors: Mapping[str, Binding]) -> PlanRun:
        """See `lanes.Program`.

        Raises:
            PlanError: the plan was not built for batches of `rows`.
        """
        if rows not in self.buckets:
            have = ", ".join(map(str, self.buckets))
            raise PlanError(f"the plan of {self._name} has batch sizes {have}, not {rows}")
        context = self._engine.create_execution_context(*self._settings())
        if context is None:
            raise PlanError(f"{self._named} cannot run {self._name}: {last(self._said)}")
        stream = self._device.stream
        context.set_optimization_profile_async(self.buckets.index(rows), stream)
        for name, each in tensors.items():
            if self._is_input(name):
                context.set_input_shape(name, each.shape)
            context.set_tensor_address(name, each.address)
        return PlanRun(context, stream, self._name, self._said)

    def _settings(self) -> tuple[Any, ...]:
        """TensorRT-RTX compiles kernels for each new shape.

        It must do so at once, not in the background, so that a captured graph holds the final
        kernels.
        """
        if not hasattr(self._engine, "create_runtime_config"):
            return ()
        settings = self._engine.create_runtime_config()
        kinds = getattr(self._module, "DynamicShapesKernelSpecializationStrategy", None)
        if kinds is None:
            return ()
        settings.dynamic_shapes_kernel_specialization_strategy = kinds.EAGER
        return (settings,)

    def _is_input(self, name: str) -> bool:
        return "INPUT" in str(self._engine.get_tensor_mode(name))


class PlanRun:
    """An execution context over given buffers; see `lanes.Bound`."""

    def __init__(self, context: Any, stream: int, name: str, said: list[str]) -> None:
        self._context, self._stream, self._name, self._said = context, stream, name, said

    def enqueue(self) -> None:
        """Queue one run.

        Raises:
            PlanError: TensorRT refuses to run.
        """
        if not self._context.execute_async_v3(self._stream):
            raise PlanError(f"{self._name} cannot be run: {last(self._said)}")
