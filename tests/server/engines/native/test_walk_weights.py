"""What a graph has to have, and to say of neighbours, before the walk follows it."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
from cascade_distill.models.neighbours import neighbours_of
from cascade_server.engines.native.walk_nearness import NEARNESS
from cascade_server.engines.native.walk_weights import NotThisStudent, read_walk_weights
from cascade_tables import load_release
from cascade_tables.releases.weights import metadata

from tests.releases import write_untaught
from tests.server.engines.native.compiled import BUNDLED, LIBRARY, NEIGHBOURS, bills_codec

pytestmark = pytest.mark.skipif(isinstance(LIBRARY, str), reason=str(LIBRARY))


def varint(value: int) -> bytes:
    """A number as protobuf has it."""
    out = b""
    while value >= 128:
        out, value = out + bytes([value & 127 | 128]), value >> 7
    return out + bytes([value])


def field(number: int, content: bytes) -> bytes:
    """A field of protobuf that has a length."""
    return varint(number << 3 | 2) + varint(len(content)) + content


def tensor(name: str, kind: int, values: np.ndarray) -> bytes:
    """An initialiser of a graph."""
    dims = b"".join(b"\x08" + varint(each) for each in values.shape)
    content = dims + b"\x10" + varint(kind) + field(8, name.encode())
    return field(5, content + field(9, values.tobytes()))


class TestWeights:
    """What a graph has to have."""

    def test_other_slots_are_refused(self) -> None:
        release = load_release(BUNDLED, "credit", 1)
        sizes = release.codec.layout.sizes
        for other in (sizes[:-1], (*sizes, 2), (sizes[0] + 1, *sizes[1:]), sizes[::-1]):
            with pytest.raises(NotThisStudent, match="its weights are not those of a student"):
                read_walk_weights(release.student, other)

    def test_what_cannot_be_read_is_refused(self) -> None:
        release = load_release(BUNDLED, "credit", 1)
        for model in (b"\xff", release.student[:1000], b""):
            with pytest.raises(NotThisStudent):
                read_walk_weights(model, release.codec.layout.sizes)

    @pytest.mark.parametrize(
        ("name", "shape"),
        [
            ("barred_0", [1]),
            ("barred_" + "1" * 5000, [1]),
            ("embedding_1", [1] * 65),
            ("embedding_1", [2**62, 0]),
            ("embedding_1", [2**64 - 1, 0]),
        ],
    )
    def test_odd_weights_are_passed_over_or_refused(self, name: str, shape: list[int]) -> None:
        """Whatever ONNX Runtime may run all the same must not fail here in another way."""
        release = load_release(BUNDLED, "credit", 1)
        dims = b"".join(b"\x08" + varint(each) for each in shape)
        raw = b"" if 0 in shape else bytes(4)
        tensor = dims + b"\x10\x01" + field(8, name.encode()) + field(9, raw)
        model = release.student + field(7, field(5, tensor))
        with suppress(NotThisStudent):
            read_walk_weights(model, release.codec.layout.sizes)

    @pytest.mark.parametrize(
        ("at", "shape"),
        [
            ([[0, 5]], [3, 5]),
            ([[-1, 0]], [3, 5]),
            ([[0]], [3, 5]),
            ([[0, 0]], [2**40, 2**40]),
            ([[0, 0]], [0, 5]),
            ([[0, 0], [1, 1]], [3, 5]),
        ],
    )
    def test_values_that_lie_nowhere_are_refused(
        self, at: list[list[int]], shape: list[int]
    ) -> None:
        """A weight of which the file has what is not zero."""

        release = load_release(BUNDLED, "credit", 1)
        parts = (
            tensor("barred_9_values", 1, np.ones(1, np.float32)),
            tensor("barred_9_at", 7, np.array(at, np.int64)),
            tensor("barred_9_shape", 7, np.array(shape, np.int64)),
        )
        model = release.student + field(7, b"".join(parts))
        with pytest.raises(NotThisStudent, match=r"'barred_9' has values that do not lie in it"):
            read_walk_weights(model, release.codec.layout.sizes)

    def test_what_is_made_of_little_has_a_bound_together(self) -> None:
        """A small file does not ask for gigabytes."""
        release = load_release(BUNDLED, "credit", 1)
        parts = b""
        for name in ("barred_8", "barred_9"):
            parts += tensor(f"{name}_values", 1, np.ones(1, np.float32))
            parts += tensor(f"{name}_at", 7, np.zeros((1, 1), np.int64))
            parts += tensor(f"{name}_shape", 7, np.array([2**26 - 8], np.int64))
        with pytest.raises(NotThisStudent, match=r"'barred_9' has values that do not lie in it"):
            read_walk_weights(release.student + field(7, parts), release.codec.layout.sizes)

    @pytest.mark.parametrize("which", [[0, 2], [-1, 0], [[0, 1]]])
    def test_blocks_that_are_not_there_are_refused(self, which: list[int]) -> None:
        """A weight in which blocks repeat."""

        release = load_release(BUNDLED, "credit", 1)
        parts = (
            tensor("near_codes_9_blocks", 5, np.zeros((2, 8), np.int16)),
            tensor("near_codes_9_which", 5, np.array(which, np.int16)),
        )
        model = release.student + field(7, b"".join(parts))
        with pytest.raises(NotThisStudent, match="'near_codes_9' is of blocks that it has not"):
            read_walk_weights(model, release.codec.layout.sizes)

    def test_a_slot_without_tokens_is_refused(self) -> None:
        release = load_release(BUNDLED, "credit", 1)
        sizes = release.codec.layout.sizes
        with pytest.raises(NotThisStudent, match="a slot has no tokens"):
            read_walk_weights(release.student, (0, *sizes[1:]))

    def test_weights_that_are_no_numbers_are_refused(self, monkeypatch: pytest.MonkeyPatch) -> None:
        from cascade_server.engines.native import walk_weights

        release = load_release(BUNDLED, "credit", 1)
        true = walk_weights.model_weights(release.student)
        name = next(name for name in true if name.startswith("weight_in"))
        broken = {**true, name: np.full_like(true[name], np.nan)}
        monkeypatch.setattr(walk_weights, "model_weights", lambda _: broken)
        with pytest.raises(NotThisStudent, match="not finite"):
            read_walk_weights(release.student, release.codec.layout.sizes)


@pytest.fixture(scope="module")
def graph(tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, tuple[int, ...]]:
    """A student whose numbers have neighbours, and the sizes of its slots."""
    folder, codec = tmp_path_factory.mktemp("releases"), bills_codec()
    write_untaught(folder, codec, "untaught", 1, 3, neighbours_of(codec, NEIGHBOURS))
    return load_release(folder, "untaught", 1).student, codec.layout.sizes


class TestNearness:
    """What a graph says of neighbours is checked before the walk follows it."""

    def told(self, graph: bytes, change: Callable[[dict[str, Any]], Any]) -> bytes:
        """The graph with other metadata, which come last and count."""
        said = json.loads(metadata(graph)[NEARNESS])
        changed = change(said)
        text = changed if isinstance(changed, str) else json.dumps(changed or said)
        return graph + field(14, field(1, NEARNESS.encode()) + field(2, text.encode()))

    def test_it_is_read(self, graph: tuple[bytes, tuple[int, ...]]) -> None:
        nearness = read_walk_weights(*graph).nearness
        assert nearness is not None
        assert [number.slot for number in nearness.numbers] == [0, 2, 4]
        assert [len(number.kernel) for number in nearness.numbers] == [3, 3, 1]
        for number in nearness.numbers:
            assert (np.diff(number.between) >= 0).all()
            assert (np.diff(number.inside) >= 0).all()

    @pytest.mark.parametrize(
        "change",
        [
            lambda said: "{",
            lambda said: "[" * 100_000,
            lambda said: [1],
            lambda said: said | {"numbers": 3},
            lambda said: said | {"codes": "nowhere"},
            lambda said: said | {"codes": ""},
            lambda said: said | {"steps": said["codes"]},
            lambda said: said["numbers"][0].update(slot=1_000),
            lambda said: said["numbers"][0].update(slot=-1),
            lambda said: said["numbers"][0].update(slot=float("inf")),
            lambda said: said["numbers"][0].update(numbers=[0, 2]),
            lambda said: said["numbers"][0].update(numbers=[2]),
            lambda said: said["numbers"][0].update(bins_from=60),
            lambda said: said["numbers"][0].update(masses=said["numbers"][0]["bins_from"]),
            lambda said: said["numbers"][0].update(codes_begin=[-1, 0]),
            lambda said: said["numbers"][0].update(codes_begin=[10**9, 0]),
            lambda said: said["numbers"][0].update(signs=[[1, 2]]),
            lambda said: said["numbers"][0].update(signs=[]),
            lambda said: said["numbers"][0].update(sums=[[]], signs=[[]], values_begin=[[]]),
            lambda said: said["numbers"][0].update(sums=[[2]], signs=[[1]], values_begin=[[0]]),
            lambda said: said["numbers"][1].update(numbers=[1, 0]),
            lambda said: said["numbers"][1].update(numbers=[3, 0]),
            lambda said: said | {"codes": said["numbers"][0]["inside"]},
            lambda said: said | {"values": said["numbers"][0]["inside"]},
            lambda said: said["numbers"][0].update(kernel=said["numbers"][0]["gate"]),
        ],
    )
    def test_what_is_odd_is_refused(
        self, graph: tuple[bytes, tuple[int, ...]], change: Callable[[dict[str, Any]], Any]
    ) -> None:
        model, sizes = graph
        with pytest.raises(NotThisStudent):
            read_walk_weights(self.told(model, change), sizes)
