"""TensorRT's part of the API that is used, over ONNX Runtime on the CPU.

A plan is the graph, the profiles it was built with and the version that built it; an engine runs it
over the addresses that it is given. What the builder was asked for is kept for tests to read.
"""

from __future__ import annotations

import base64
import json
from enum import IntEnum
from types import SimpleNamespace
from typing import Any

import onnx
import onnxruntime as ort

NUMPY_OF = {1: "float32", 6: "int32", 7: "int64", 9: "bool"}


class Flag(IntEnum):
    TF32 = 1


class Network(IntEnum):
    STRONGLY_TYPED = 1


class Pool(IntEnum):
    WORKSPACE = 0


class Mode(IntEnum):
    INPUT = 1
    OUTPUT = 2


class Severity(IntEnum):
    INTERNAL_ERROR = 0
    ERROR = 1
    WARNING = 2


class Logger:
    Severity = Severity

    def __init__(self) -> None: ...

    def log(self, severity: Any, message: str) -> None: ...


class Profile:
    def __init__(self) -> None:
        self.shapes: dict[str, tuple[Any, Any, Any]] = {}

    def set_shape(self, name: str, least: Any, best: Any, most: Any) -> None:
        self.shapes[name] = (least, best, most)


class TimingCache:
    def __init__(self, content: bytes) -> None:
        self.content = content

    def serialize(self) -> bytes:
        return self.content


class Settings:
    def __init__(self, fake: FakeTensorRT) -> None:
        self.fake, self.profiles, self.flags = fake, [], {Flag.TF32}
        self.limits: dict[Pool, int] = {}
        self.builder_optimization_level = -1
        self.timings: TimingCache | None = None

    def add_optimization_profile(self, profile: Profile) -> None:
        self.profiles.append(profile)

    def set_flag(self, flag: Flag) -> None:
        self.flags.add(flag)

    def clear_flag(self, flag: Flag) -> None:
        self.flags.discard(flag)

    def set_memory_pool_limit(self, pool: Pool, size: int) -> None:
        self.limits[pool] = size

    def create_timing_cache(self, content: bytes) -> TimingCache:
        return TimingCache(content)

    def set_timing_cache(self, cache: TimingCache, ignore_mismatch: bool) -> bool:
        assert not ignore_mismatch
        if cache.content and not cache.content.startswith(self.fake.card.encode()):
            return False
        self.timings = cache
        return True

    def get_timing_cache(self) -> TimingCache | None:
        return self.timings


class FakeTensorRT:
    """A module; see above.

    Args:
        version: of the library.
        card: which timings and plans are good for.
        refuses: what the builder says instead of building.
        spoils: what is done to a graph before it is built, as a faulty kernel would.
    """

    def __init__(
        self,
        version: str = "10.13.3",
        card: str = "a card",
        refuses: str = "",
        spoils: Any = None,
    ) -> None:
        self.__version__, self.card, self.refuses, self.spoils = version, card, refuses, spoils
        self.built: list[Settings] = []
        self.network_flags: list[int] = []
        self.runs = 0
        self.ILogger = Logger
        self.BuilderFlag, self.NetworkDefinitionCreationFlag = Flag, Network
        self.MemoryPoolType = Pool

    def Builder(self, logger: Logger) -> Any:
        def create_network(flags: int) -> Any:
            self.network_flags.append(flags)
            return SimpleNamespace(model=b"")

        def build_serialized_network(network: Any, settings: Settings) -> bytes | None:
            self.built.append(settings)
            if self.refuses:
                logger.log(Severity.ERROR, self.refuses)
                return None
            if settings.timings is not None:
                settings.timings.content += f"{self.card}:{len(settings.profiles)};".encode()
            model = network.model if self.spoils is None else self.spoils(network.model)
            rows = [next(iter(p.shapes.values()))[1][0] for p in settings.profiles]
            content = {
                "version": self.__version__,
                "card": self.card,
                "rows": rows,
                "model": base64.b64encode(model).decode(),
            }
            return json.dumps(content).encode()

        return SimpleNamespace(
            create_network=create_network,
            create_builder_config=lambda: Settings(self),
            create_optimization_profile=Profile,
            build_serialized_network=build_serialized_network,
        )

    def OnnxParser(self, network: Any, logger: Logger) -> Any:
        errors: list[str] = []

        def parse(model: bytes) -> bool:
            if any(n.op_type == "If" for n in onnx.load_from_string(model).graph.node):
                errors.append("an If is not supported here")
                return False
            network.model = model
            return True

        parser = SimpleNamespace(parse=parse, get_error=lambda i: errors[i])
        parser.__dict__["num_errors"] = 0

        def counted(model: bytes) -> bool:
            done = parse(model)
            parser.num_errors = len(errors)
            return done

        parser.parse = counted
        return parser

    def Runtime(self, logger: Logger) -> Any:
        def deserialize_cuda_engine(plan: bytes) -> Engine | None:
            content = json.loads(plan)
            if (content["version"], content["card"]) != (self.__version__, self.card):
                logger.log(Severity.ERROR, "the engine was built for something else")
                return None
            return Engine(self, base64.b64decode(content["model"]), content["rows"])

        return SimpleNamespace(deserialize_cuda_engine=deserialize_cuda_engine)


class Engine:
    def __init__(self, fake: FakeTensorRT, model: bytes, rows: list[int]) -> None:
        self.fake, self.rows = fake, rows
        graph = onnx.load_from_string(model).graph
        self.tensors = [*graph.input, *graph.output]
        self.inputs = {each.name for each in graph.input}
        self.session = ort.InferenceSession(model, providers=["CPUExecutionProvider"])
        self.num_io_tensors = len(self.tensors)
        self.num_optimization_profiles = len(rows)

    def get_tensor_name(self, at: int) -> str:
        return str(self.tensors[at].name)

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        each = next(t for t in self.tensors if t.name == name)
        return tuple(-1 if d.dim_param else d.dim_value for d in each.type.tensor_type.shape.dim)

    def get_tensor_mode(self, name: str) -> Mode:
        return Mode.INPUT if name in self.inputs else Mode.OUTPUT

    def get_tensor_profile_shape(self, name: str, at: int) -> list[tuple[int, ...]]:
        return [(self.rows[at], *self.get_tensor_shape(name)[1:])] * 3

    def create_execution_context(self) -> Context:
        return Context(self)


class Context:
    def __init__(self, engine: Engine) -> None:
        self.engine, self.rows = engine, 0
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.addresses: dict[str, int] = {}

    def set_optimization_profile_async(self, at: int, stream: int) -> bool:
        self.rows = self.engine.rows[at]
        return True

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        if -1 in self.engine.get_tensor_shape(name):
            assert shape[0] == self.rows, "the shape is not of the profile"
        self.shapes[name] = shape
        return True

    def set_tensor_address(self, name: str, address: int) -> bool:
        self.addresses[name] = address
        return True

    def execute_async_v3(self, stream: int) -> bool:
        engine = self.engine
        assert self.addresses.keys() == {each.name for each in engine.tensors}
        engine.fake.runs += 1
        binding = engine.session.io_binding()
        for each in engine.tensors:
            bind = binding.bind_input if each.name in engine.inputs else binding.bind_output
            shape = tuple(self.rows if d == -1 else d for d in engine.get_tensor_shape(each.name))
            kind = NUMPY_OF[each.type.tensor_type.elem_type]
            bind(each.name, "cpu", 0, kind, shape, self.addresses[each.name])
        engine.session.run_with_iobinding(binding)
        return True
