"""The student in compiled code draws what its graph draws, and says what it cannot take."""

from __future__ import annotations

import ctypes
import json
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cascade_distill.models.neighbours import Chosen, neighbours_of
from cascade_server.engines.native import walk as module
from cascade_server.engines.native.library import PATH, VERSION, Library, load_library
from cascade_server.engines.native.walk import Mask, Noise, StudentWalk, Tokens, open_walk
from cascade_server.engines.native.walk_nearness import NEARNESS
from cascade_server.engines.native.walk_weights import (
    NotThisStudent,
    WalkWeights,
    read_walk_weights,
)
from cascade_server.engines.runtime import Runtime
from cascade_tables import Codec, infer_schema, load_release
from cascade_tables.releases.weights import metadata

from tests.distill.bills import bills
from tests.ledgers import codec as claims_codec
from tests.releases import every_kind, write_untaught

BUNDLED = Path(__file__).parents[4] / "model_repository"
LIBRARY = load_library()
pytestmark = pytest.mark.skipif(isinstance(LIBRARY, str), reason=str(LIBRARY))

# Of tokens whose logits are equal to the last bits, either is right.
MAY_DIFFER = 0.002


# Of three months' bills: others, and sums whose parts are before a number, behind it and both.
NEIGHBOURS: tuple[Chosen, ...] = (
    (0, (((1, 1),), ((2, 1),), ((1, 1), (2, -1)))),
    (1, (((2, 1),), ((0, 1),), ((0, -1), (2, 1)))),
    (2, (((0, 1), (1, 1)),)),
)


def bills_codec() -> Codec:
    frame = bills()
    return Codec.fit(infer_schema(frame), frame)


@dataclass(frozen=True)
class Both:
    """A release's student, by ONNX Runtime and compiled."""

    graph: Runtime
    walk: StudentWalk
    weights: WalkWeights

    def rows(self, count: int, seed: int = 0) -> tuple[Tokens, Mask, Noise]:
        """Rows of which everything, nothing or any part is known."""
        rng = np.random.default_rng(seed)
        sizes, column = np.array(self.graph.layout.sizes), np.array(self.graph.layout.column)
        tokens = (rng.random((count, len(sizes))) * sizes).astype(np.int32)
        known = rng.random((count, column.max() + 1)) < rng.choice([0, 0.5, 0.9, 1], (count, 1))
        noise = rng.random((count, self.graph.student_noise), np.float32)
        return tokens, known[:, column], noise


def both(folder: Path, table: str) -> Both:
    assert not isinstance(LIBRARY, str)
    release = load_release(folder, table, 1)
    weights = read_walk_weights(release.student, release.codec.layout.sizes)
    return Both(Runtime(release, compiled=False), StudentWalk(LIBRARY, weights), weights)


@pytest.fixture(scope="module", params=["credit", "adult", "every kind", "marks", "neighbours"])
def students(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Both:
    if request.param in ("credit", "adult"):
        return both(BUNDLED, request.param)
    folder = tmp_path_factory.mktemp("releases")
    codecs = {"every kind": every_kind, "marks": claims_codec, "neighbours": bills_codec}
    codec = codecs[request.param]()
    chosen = NEIGHBOURS if request.param == "neighbours" else ()
    write_untaught(folder, codec, "untaught", 1, 3, neighbours_of(codec, chosen))
    return both(folder, "untaught")


@pytest.mark.parametrize("count", [0, 1, 3, 4, 5, 500])
def test_the_same_rows_as_the_graph(students: Both, count: int) -> None:
    given = students.rows(count)
    drawn = students.walk(*given)
    assert drawn.dtype == np.int32
    differ = (drawn != students.graph.draw_student(*given)).any(axis=1)
    assert differ.sum() <= MAY_DIFFER * count


def test_a_row_is_the_same_whoever_shares_its_batch(students: Both) -> None:
    tokens, observed, noise = students.rows(70, seed=1)
    alone = [
        students.walk(tokens[i : i + 1], observed[i : i + 1], noise[i : i + 1]) for i in range(70)
    ]
    assert (students.walk(tokens, observed, noise) == np.concatenate(alone)).all()


@pytest.mark.parametrize("count", [1, 2, 5, 7, 97, 300])
def test_half_precision_in_memory_changes_nothing(students: Both, count: int) -> None:
    assert not isinstance(LIBRARY, str)
    wide = StudentWalk(replace(LIBRARY, half=False), students.weights)
    given = students.rows(count, seed=7)
    assert (students.walk(*given) == wide(*given)).all()


def test_weights_that_are_no_half_precision_numbers_are_kept(students: Both) -> None:
    """An older graph has such: they are not rounded."""
    weights = students.weights
    odd = replace(
        weights,
        embedding=weights.embedding * np.float32(1 / 3),
        weight_in=[weight * np.float32(1 / 3) for weight in weights.weight_in],
        weight_out=[weight * np.float32(7e4) for weight in weights.weight_out],
    )
    assert not isinstance(LIBRARY, str)
    given = students.rows(40, seed=8)
    wide = StudentWalk(replace(LIBRARY, half=False), odd)
    assert (StudentWalk(LIBRARY, odd)(*given) == wide(*given)).all()


@pytest.mark.parametrize("count", [1, 5, 100])
def test_a_processor_that_can_do_nothing_more(students: Both, count: int) -> None:
    """The variant for such draws the same, but of logits that are equal to the last bits."""
    assert not isinstance(LIBRARY, str)
    plain = ctypes.CDLL(str(PATH)).cascade_student_walk_plain
    plain.restype, plain.argtypes = LIBRARY.holding.restype, LIBRARY.holding.argtypes
    walk = StudentWalk(Library(plain, plain, half=False), students.weights)
    given = students.rows(count, seed=9)
    differ = (walk(*given) != students.walk(*given)).any(axis=1)
    assert differ.sum() <= MAY_DIFFER * count


def test_what_is_known_comes_back_and_nothing_else_is_read(students: Both) -> None:
    tokens, observed, noise = students.rows(40, seed=2)
    drawn = students.walk(tokens, observed, noise)
    assert (drawn[observed] == tokens[observed]).all()
    blank = np.where(observed, tokens, -(2**31)).astype(np.int32)
    assert (students.walk(blank, observed, noise) == drawn).all()


def test_a_uniform_number_of_zero_is_never_drawn(students: Both) -> None:
    """Its Gumbel noise is minus infinity, in the graph as here."""
    sizes = students.graph.layout.sizes
    rng = np.random.default_rng(4)
    only = [int(rng.integers(size)) for size in sizes]
    begin = np.cumsum([0, *(size + 1 for size in sizes)])[:-1]
    noise = np.zeros((1, students.graph.student_noise), np.float32)
    noise[0, begin + only] = 0.5
    nothing = np.zeros((1, len(sizes)), bool)
    drawn = students.walk(np.zeros((1, len(sizes)), np.int32), nothing, noise)
    assert drawn[0].tolist() == only


def test_arrays_of_other_strides_and_types(students: Both) -> None:
    tokens, observed, noise = students.rows(6, seed=5)
    drawn = students.walk(tokens, observed, noise)
    turned = students.walk(
        np.asfortranarray(tokens), np.asfortranarray(observed), noise.repeat(2, axis=0)[::2]
    )
    assert (turned == drawn).all()


def test_arrays_that_cannot_be_written_to(students: Both) -> None:
    given = students.rows(6, seed=5)
    drawn = students.walk(*given)
    before = [each.copy() for each in given]
    for each in given:
        each.flags.writeable = False
    assert (students.walk(*given) == drawn).all()
    assert all((each == was).all() for each, was in zip(given, before, strict=True))


@pytest.mark.parametrize("token", [-1, 2**31 - 1])
def test_a_token_that_is_none_is_named(students: Both, token: int) -> None:
    tokens, observed, noise = students.rows(9, seed=6)
    observed[7], tokens[7, 2] = True, token
    with pytest.raises(ValueError, match=f"row 7 has token {token} in slot 2; allowed: 0 to "):
        students.walk(tokens, observed, noise)


@pytest.mark.parametrize("argument", [0, 1, 2])
def test_arrays_of_other_shapes_are_refused(students: Both, argument: int) -> None:
    given = list(students.rows(4))
    given[argument] = given[argument][:, :-1]
    with pytest.raises(ValueError, match="the student takes tokens and observed"):
        students.walk(*given)


def test_threads_do_not_disturb_each_other(students: Both) -> None:
    batches = [students.rows(30, seed) for seed in range(24)]
    one_by_one = [students.walk(*batch) for batch in batches]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda batch: students.walk(*batch), batches))
    assert all((a == b).all() for a, b in zip(one_by_one, together, strict=True))


@pytest.fixture(scope="module")
def runtime() -> Runtime:
    return Runtime(load_release(BUNDLED, "credit", 1), compiled=False)


class TestOpening:
    """What cannot be compiled, or draws otherwise, is left to ONNX Runtime, which says why."""

    def test_the_default_is_compiled(self) -> None:
        release = load_release(BUNDLED, "credit", 1)
        assert Runtime(release).student_by == "compiled code"
        assert Runtime(release, compiled=False).student_by == "ONNX Runtime"
        assert Runtime(release, tiers=()).student_by == ""

    def test_a_student_that_draws_otherwise(
        self, runtime: Runtime, caplog: pytest.LogCaptureFixture
    ) -> None:
        def other(tokens: Tokens, observed: Mask, noise: Noise) -> Tokens:
            return runtime.draw_student(tokens, observed, noise[:, ::-1].copy())

        opened = open_walk(runtime.release.student, runtime.layout, other, "credit v1's student")
        assert opened is None
        assert "credit v1's student is run by ONNX Runtime: compiled it drew oth" in caplog.text

    def test_a_graph_that_fails_for_some_rows(
        self, runtime: Runtime, caplog: pytest.LogCaptureFixture
    ) -> None:
        """What it does with a request is for whoever judges releases to see."""

        def failing(tokens: Tokens, observed: Mask, noise: Noise) -> Tokens:
            raise RuntimeError("index out of bounds")

        assert open_walk(runtime.release.student, runtime.layout, failing, "it") is None
        assert "it is run by ONNX Runtime, where it failed for some rows (Runtime" in caplog.text

    def test_another_graph(self, runtime: Runtime, caplog: pytest.LogCaptureFixture) -> None:
        teacher = runtime.release.teacher
        assert open_walk(teacher, runtime.layout, runtime.draw_student, "it") is None
        assert "it is run by ONNX Runtime, not compiled: its weights are not" in caplog.text

    def test_no_library(
        self,
        runtime: Runtime,
        caplog: pytest.LogCaptureFixture,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        caplog.set_level(logging.INFO, "cascade.server")
        missing = load_library(Path("nowhere.so"))
        monkeypatch.setattr(module, "load_library", lambda: missing)
        student = runtime.release.student
        assert open_walk(student, runtime.layout, runtime.draw_student, "it") is None
        assert "it is run by ONNX Runtime: the compiled student is not there" in caplog.text
        assert "C compiler" in caplog.text

    def test_a_file_that_is_no_library(self, tmp_path: Path) -> None:
        (tmp_path / "it.so").write_bytes(b"no library")
        assert "it.so cannot be loaded" in str(load_library(tmp_path / "it.so"))

    def test_a_library_of_another_version(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from cascade_server.engines.native import library

        monkeypatch.setattr(library, "VERSION", VERSION + 1)
        copy = tmp_path / "copy.so"
        copy.write_bytes(library.PATH.read_bytes())
        assert f"is of version {VERSION}, not {VERSION + 1}" in str(load_library(copy))


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


def test_a_runtime_answers_all_the_same_where_it_cannot_be_compiled(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    release = load_release(BUNDLED, "adult", 1)
    compiled = Runtime(release)
    monkeypatch.setattr(module, "load_library", lambda: "there is none")
    by_graph = Runtime(replace(release))
    assert by_graph.student_by == "ONNX Runtime"
    rng = np.random.default_rng(0)
    shape = (20, compiled.slots)
    given = np.zeros(shape, np.int32), np.zeros(shape, bool)
    noise = rng.random((20, compiled.student_noise), np.float32)
    same = compiled.draw_student(*given, noise) == by_graph.draw_student(*given, noise)
    assert same.all(axis=1).mean() >= 1 - 1 / 20


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
            assert (np.diff(number.edges) >= 0).all()

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
