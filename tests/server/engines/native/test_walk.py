"""The student in compiled code draws what its graph draws, and says what it cannot take."""

from __future__ import annotations

import ctypes
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from cascade_distill.models.neighbours import neighbours_of
from cascade_server.engines.native.library import PATH, Library
from cascade_server.engines.native.walk import Mask, Noise, StudentWalk, Tokens
from cascade_server.engines.native.walk_weights import WalkWeights, read_walk_weights
from cascade_server.engines.runtime import Runtime
from cascade_tables import load_release

from tests.ledgers import codec as claims_codec
from tests.releases import every_kind, write_untaught
from tests.server.engines.native.compiled import BUNDLED, LIBRARY, NEIGHBOURS, bills_codec

pytestmark = pytest.mark.skipif(isinstance(LIBRARY, str), reason=str(LIBRARY))


# Of tokens whose logits are equal to the last bits, either is right.
MAY_DIFFER = 0.002


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


def both(folder: Path, table: str, version: int = 1) -> Both:
    assert not isinstance(LIBRARY, str)
    release = load_release(folder, table, version)
    weights = read_walk_weights(release.student, release.codec.layout.sizes)
    return Both(Runtime(release, compiled=False), StudentWalk(LIBRARY, weights), weights)


@pytest.fixture(
    scope="module",
    params=["credit", "adult", "credit 2", "adult 2", "every kind", "marks", "neighbours"],
)
def students(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Both:
    table, _, version = request.param.partition(" ")
    if table in ("credit", "adult"):
        return both(BUNDLED, table, int(version or 1))
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


@pytest.mark.parametrize("draws", [2, 32, 250])
def test_rows_that_begin_alike_are_drawn_as_if_alone(students: Both, draws: int) -> None:
    """Draws of a row share what they have in common, until they part, with others among them."""
    tokens, observed, noise = students.rows(3 * draws, seed=11)
    (row, *_), (known, *_), _ = students.rows(1, seed=12)
    tokens[: 2 * draws], observed[:draws], observed[draws : 2 * draws] = row, known, False
    alone = [
        students.walk(tokens[i : i + 1], observed[i : i + 1], noise[i : i + 1])
        for i in range(len(tokens))
    ]
    assert (students.walk(tokens, observed, noise) == np.concatenate(alone)).all()
    mixed = np.random.default_rng(13).permutation(len(tokens))
    drawn = students.walk(tokens[mixed], observed[mixed], noise[mixed])
    assert (drawn == np.concatenate(alone)[mixed]).all()


@pytest.mark.parametrize("spread", [0.1, 3.0, 30.0, 1e6])
def test_tokens_that_are_passed_over_could_not_have_been_drawn(
    students: Both, spread: float
) -> None:
    """Of known logits the largest with its Gumbel noise, the first of equal ones."""
    assert not isinstance(LIBRARY, str)
    weights, rng = students.weights, np.random.default_rng(5)
    logits = [(rng.normal(size=len(bias)) * spread).astype(np.float32) for bias in weights.bias_out]
    silent = [np.zeros_like(weight) for weight in weights.weight_out]
    told = replace(weights, weight_out=silent, bias_out=logits, barred={}, nearness=None)
    tokens, observed, noise = students.rows(200, seed=14)
    # The ends of what may be drawn, and numbers that nearly all tokens share.
    noise[:40] = rng.choice(np.array([0, 2**-24, 0.5, 1 - 2**-24], np.float32), noise[:40].shape)
    drawn = StudentWalk(LIBRARY, told)(tokens, observed, noise)
    begin = 0
    with np.errstate(divide="ignore"):
        gumbel = -np.log(-np.log(noise.astype(np.float64)))
    for slot, logit in enumerate(logits):
        value = logit + gumbel[:, begin : begin + len(logit)]
        begin += len(logit) + 1
        reached = np.take_along_axis(value, drawn[:, slot, None], axis=1)[:, 0]
        missing = ~observed[:, slot] & np.isfinite(value.max(axis=1))
        # float32's last bits, of logits as large as these are.
        near = 1e-5 + 2e-7 * abs(value).max(axis=1, where=np.isfinite(value), initial=0)
        assert (reached >= value.max(axis=1) - near)[missing].all()


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
