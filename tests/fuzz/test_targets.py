"""What strangers may send: kept inputs, messages that are built, and inputs changed by chance.

`make fuzz` goes on from here for as long as it is given; see docs/fuzzing.md.
"""

from __future__ import annotations

import importlib
import random
from collections.abc import Callable
from functools import cache

import pytest
from cascade_tables.codecs.native.library import load_library
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fuzz import inputs
from tests.fuzz.building import messages
from tests.fuzz.changing import changed
from tests.fuzz.judging import Bounds, judge, listening
from tests.fuzz.registry import TARGETS
from tests.fuzz.targets.requests import NEXT
from tests.fuzz.targets.rpcs import TOLD

# How long an input takes is the machine's affair here; `make fuzz` looks at that.
UNBOUNDED = Bounds()
SOME = settings(
    max_examples=25, derandomize=True, database=None, deadline=None,
    suppress_health_check=list(HealthCheck),
)  # fmt: skip
CHANGES = 40


@cache
def opened(name: str) -> Callable[[bytes], None]:
    target = TARGETS[name]
    if target.native and isinstance(load_library(), str):
        pytest.skip("the compiled codec was not built")
    return target.opened()


def reads(name: str, *some: bytes) -> None:
    run = opened(name)
    with listening() as taken:
        for each in some:
            judge(run, each, taken, UNBOUNDED)


@pytest.mark.parametrize("name", TARGETS)
class TestEveryTarget:
    """Each reads what it is to read, what it has read before, and what nobody would send."""

    def test_what_is_in_order(self, name: str) -> None:
        seeds = TARGETS[name].seeds()
        assert seeds
        reads(name, *seeds, b"")

    def test_kept_inputs(self, name: str) -> None:
        reads(name, *inputs.kept(name))

    def test_some_changes(self, name: str) -> None:
        target, rng = TARGETS[name], random.Random(7)
        seeds = list(target.seeds())
        reads(name, *(
            changed(rng.choice(seeds), rng, target.words, seeds, target.most_bytes)
            for _ in range(CHANGES)
        ))  # fmt: skip


def service(module: str, name: str) -> list[tuple[int, str]]:
    """The methods of a service, and what each takes."""
    descriptor = importlib.import_module(module).DESCRIPTOR.services_by_name[name]
    return [(at, each.input_type.name) for at, each in enumerate(descriptor.methods)]


# Targets of whole services, with where their messages are described.
SERVICES = {
    "jobs": ("cascade_proto.jobs_pb2", service("cascade_proto.jobs_pb2", "Jobs")),
    "flight": ("cascade_proto.flight_pb2", service("cascade_proto.flight_pb2", "FlightService")),
    "open-inference": (
        "cascade_proto.inference_pb2",
        service("cascade_proto.inference_pb2", "GRPCInferenceService"),
    ),
    "releases": (
        "cascade_proto.synthesis_pb2", service("cascade_proto.synthesis_pb2", "Releases")
    ),
    "tables": (
        "cascade_proto.synthesis_pb2",
        [(at, f"{name}Request") for at, name in enumerate(TOLD)],
    ),
    "synthesize": ("cascade_proto.synthesis_pb2", [(-1, "SynthesizeRequest")]),
    "synthesize-stream": ("cascade_proto.synthesis_pb2", [(-1, "SynthesizeStreamRequest")]),
    "generate": ("cascade_proto.synthesis_pb2", [(-1, "GenerateRequest")]),
    "scan": ("cascade_proto.synthesis_pb2", [(-1, "SynthesizeRequest")]),
    "row-payments": ("cascade_proto.synthesis_pb2", [(-1, "Rows")]),
    "row-everything": ("cascade_proto.synthesis_pb2", [(-1, "Rows")]),
    "row-ledger": ("cascade_proto.synthesis_pb2", [(-1, "Rows")]),
}  # fmt: skip
CALLS = [
    (name, module, at, kind) for name, (module, kinds) in SERVICES.items() for at, kind in kinds
]


def test_every_method_has_a_target() -> None:
    """A method that is new is asked too: of these services all are, of this one those named."""
    whole = {"jobs", "flight", "open-inference", "releases"}
    assert whole <= SERVICES.keys()
    pb = importlib.import_module("cascade_proto.synthesis_pb2").DESCRIPTOR
    methods = {each.name for each in pb.services_by_name["Synthesis"].methods}
    assert methods == {"Synthesize", "SynthesizeStream", "Generate", *TOLD}
    assert set(pb.services_by_name) == {"Synthesis", "Releases"}


@pytest.mark.parametrize(("name", "module", "at", "kind"), CALLS)
def test_messages_that_are_built(name: str, module: str, at: int, kind: str) -> None:
    found = importlib.import_module(module)
    descriptor = found.DESCRIPTOR.message_types_by_name.get(kind)
    if descriptor is None:
        pytest.skip(f"{kind} is not of this file")
    built = messages(descriptor, tuple(TARGETS[name].words))
    before = b"" if at < 0 else bytes((at,))

    @SOME
    @given(st.lists(built.map(lambda each: each.SerializeToString()), min_size=1, max_size=2))
    def ask(some: list[bytes]) -> None:
        reads(name, before + NEXT.join(some))

    ask()


def test_inputs_are_kept_as_they_are(tmp_path: object) -> None:
    from pathlib import Path

    folder = Path(str(tmp_path))
    some = {b"": "nothing", b"\0\xff": "", b"a b": "two words"}
    inputs.write(folder, "any", some)
    assert inputs.read(folder, "any") == some


def test_what_is_kept_is_small() -> None:
    size = sum(path.stat().st_size for path in inputs.HERE.rglob("*.txt"))
    assert size < 1_000_000
