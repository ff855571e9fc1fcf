"""What the models in Triton do to rows: the same as the embedded server, by other ways."""

from __future__ import annotations

import asyncio
import math
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from cascade_server.cascade.answer import Drawn, drawn_answer
from cascade_server.cascade.request import CheckedRequest, check
from cascade_server.cascade.router import Route, StandInReason, choose
from cascade_server.deadline import Work
from cascade_server.engines import watched_teacher
from cascade_server.engines.runtime import Runtime
from cascade_server.engines.watched_teacher import MOST_FAILURES
from cascade_server.errors import BadRequest, DeadlinePassed, NotReady
from cascade_server.terms import Tier, Wanted
from cascade_server.triton_models import table_requests
from cascade_server.triton_models.outlook import GAP_SECONDS, Outlooks, Turn, waited
from cascade_server.triton_models.row_tensor import ROW, ROW_STATE, RowTensor
from cascade_server.triton_models.shared_draws import calls, draw_together
from cascade_server.triton_models.student_batch import BatchRequest, StudentBatch
from cascade_server.wire.parameters import check_parameters
from cascade_tables import ValueNotAllowed, load_release
from numpy.typing import NDArray

from tests import ledgers
from tests.releases import TABLE, every_kind, make_release, write_untaught
from tests.server.triton_models.backend_utils import install
from tests.tables.codecs.following.far_tables import twins

ALLOWED = ("seed", "draws", "fidelity", "timeout", "explain", "log_likelihood", "strict")
NAN = math.nan
BUNDLED = Path(__file__).parents[3] / "model_repository"


@pytest.fixture(scope="module")
def runtime(tmp_path_factory: pytest.TempPathFactory) -> Runtime:
    folder: Path = tmp_path_factory.mktemp("models")
    make_release(folder)
    return Runtime(load_release(folder, TABLE, 1))


@pytest.fixture(scope="module")
def row(runtime: Runtime) -> RowTensor:
    return RowTensor(runtime.release.codec)


def checked(runtime: Runtime, row: RowTensor, given: dict[str, NDArray[Any]], **how: Any) -> Any:
    """A request, the way of all."""
    parameters = check_parameters(how, ALLOWED)
    columns = table_requests.as_columns(*table_requests.checked_row(given, row), row)
    read = table_requests.to_request(columns, (ROW,), parameters, row)
    return check(read, runtime, Work(math.inf), 4096)


def alone(
    runtime: Runtime, row: RowTensor, given: dict[str, NDArray[Any]], **how: Any
) -> tuple[NDArray[Any], NDArray[Any]]:
    """What the embedded server answers, as `row` and its states."""
    job = checked(runtime, row, given, **how)
    (tokens,) = by_student([job], runtime)
    option = Outlooks().options(1, 1, Wanted.FAST, 0, 0.0)[1]
    route = choose((option,), math.inf, Wanted.FAST)
    drawn = Drawn(tokens, option, route, None, 0.0, 0.0)
    answer = drawn_answer(job, drawn)
    return table_requests.as_row(answer.values, job.total, row)


def by_student(jobs: list[Any], runtime: Runtime, most: int = 1024) -> list[NDArray[np.int32]]:
    """What the student draws for some requests."""
    return draw_together(
        jobs, CheckedRequest.student_noise, runtime.student_noise, most, runtime.draw_student
    )


async def test_a_teacher_that_comes_late_takes_no_number_of_the_students(
    runtime: Runtime, row: RowTensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has the same request, and may draw its noise at any time: a seed gives the same rows."""
    install(monkeypatch)
    from cascade_server.triton_models.cascade import Job, TritonPythonModel

    given = {ROW: np.full((1, 6), NAN)}
    first, shared = (checked(runtime, row, given, seed=7, draws=4) for _ in range(2))
    (expected,) = by_student([first], runtime)
    teachers = shared.teacher_noise()

    def student(*inputs: Any) -> NDArray[np.int32]:
        teachers((4, runtime.teacher_noise))  # the teacher's thread, at its next call
        return runtime.draw_student(*inputs)

    options = Outlooks().options(4, 1, Wanted.AUTO, 0, 0.0)
    route = Route(options[0], tuple(options), tuple(options), 1.0, Wanted.AUTO, 0, time_limit=0.0)
    model: Any = object.__new__(TritonPythonModel)
    model._runtime, model._student = runtime, student
    model._packed = lambda job, tokens, _: (tokens, job.route.stand_in_reason)
    with ThreadPoolExecutor(1) as threads:
        model._threads = threads
        never = asyncio.get_running_loop().create_future()
        tokens, instead = await model._answer_later(Job(shared, (), route), never, 0)
    assert instead is StandInReason.OVERTAKEN
    np.testing.assert_array_equal(tokens, expected)


async def test_what_scoring_took_is_no_longer_there_to_wait_in(
    runtime: Runtime, row: RowTensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(monkeypatch)
    from cascade_server.triton_models.cascade import Job, TritonPythonModel

    now = 0.0

    def scored(*_: Any) -> None:
        nonlocal now
        now = 500.0

    request = checked(runtime, row, {ROW: np.full((1, 6), NAN)})
    request.log_likelihood, request.work = True, Work(1000.0, clock=lambda: now)
    options = Outlooks().options(1, 1, Wanted.AUTO, 0, 0.0)
    route = Route(
        options[0], tuple(options), tuple(options), 1000.0, Wanted.AUTO, 0, time_limit=500.0
    )
    model: Any = object.__new__(TritonPythonModel)
    model._runtime, model._student = runtime, runtime.draw_student
    model._networks = SimpleNamespace(log_likelihood=scored)
    model._packed = lambda job, _tokens, _scores: job.route.stand_in_reason
    with ThreadPoolExecutor(1) as threads:
        model._threads = threads
        never = asyncio.get_running_loop().create_future()
        answering = model._answer_later(Job(request, (), route), never, 0)
        assert await asyncio.wait_for(answering, 60) is StandInReason.OVERTAKEN


@pytest.mark.parametrize("wanted", [Wanted.AUTO, Wanted.FULL])
async def test_auto_is_the_student_where_the_teacher_fails(
    runtime: Runtime, row: RowTensor, monkeypatch: pytest.MonkeyPatch, wanted: Wanted
) -> None:
    """After some failures in a row it is no longer sent there."""
    install(monkeypatch)
    from cascade_server.triton_models.cascade import Job, TritonPythonModel

    monkeypatch.setattr(watched_teacher, "REST_SECONDS", math.inf)
    request = checked(runtime, row, {ROW: np.full((1, 6), NAN)})
    model: Any = object.__new__(TritonPythonModel)
    model._runtime, model._student = runtime, runtime.draw_student
    model._outlooks, model._promised = Outlooks(), math.inf
    model._outlooks.teacher.observe(1, 1e-3)
    model._packed = lambda job, _tokens, _scores: job.route.stand_in_reason
    request.wanted = wanted

    def fails(_: Any) -> None:
        raise NotReady("model 'payments_teacher' does not answer: out of memory")

    model._draw_by_teacher = fails
    with ThreadPoolExecutor(1) as threads:
        model._threads = threads
        for _ in range(MOST_FAILURES):
            route = model._route(request, 0)
            assert route.option.tier is Tier.TEACHER
            drawing = asyncio.ensure_future(model._drawn_by_teacher([request]))
            answering = model._answer_later(Job(request, (), route), drawing, 0)
            if wanted is Wanted.FULL:
                with pytest.raises(NotReady, match="out of memory"):
                    await answering
            else:
                assert await answering is StandInReason.FAILED
    left_to = Tier.TEACHER if wanted is Wanted.FULL else Tier.STUDENT
    assert model._route(request, 0).option.tier is left_to


async def test_a_likelihood_that_does_not_come_holds_nobody_beyond_his_deadline(
    runtime: Runtime, row: RowTensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The teacher is told how long that is, too."""
    install(monkeypatch)
    from cascade_server.triton_models.cascade import Job, TritonPythonModel

    request = checked(runtime, row, {ROW: np.full((1, 6), NAN)})
    request.log_likelihood, request.work = True, Work(0.02, clock=lambda: 0.0)
    options = Outlooks().options(1, 1, Wanted.FAST, 0, 0.0)
    route = Route(options[1], tuple(options), tuple(options), 1.0, Wanted.FAST, 0, time_limit=1.0)
    go_on, told = threading.Event(), list[int]()

    def scored(_tokens: Any, _observed: Any, timeout: int) -> None:
        told.append(timeout)
        go_on.wait()

    model: Any = object.__new__(TritonPythonModel)
    model._networks = SimpleNamespace(log_likelihood=scored)
    with ThreadPoolExecutor(1) as threads:
        model._threads = threads
        never = asyncio.get_running_loop().create_future()
        try:
            with pytest.raises(DeadlinePassed):
                await asyncio.wait_for(
                    model._answer_later(Job(request, (), route), never, None), 60
                )
        finally:
            go_on.set()
    assert told == [20_000]


def requests(row: RowTensor, rng: np.random.Generator) -> list[dict[str, NDArray[Any]]]:
    """Some of one row and of two, with other columns known in each."""
    whole = np.array([[12.34, 1.0, 3.0, 1_768_000_000_000_000.0, 1.0, 0.0]])
    out = []
    for rows in (1, 2, 1, 1):
        values = whole.repeat(rows, axis=0)
        values[rng.random(values.shape) < 0.5] = NAN
        out.append({ROW: values})
    states = np.full((1, 6), 2, np.uint8)
    states[0, 1] = 1  # the channel is NULL
    return [*out, {ROW: np.zeros((1, 6)), ROW_STATE: states}]


@pytest.mark.parametrize("seed", range(4))
def test_a_batch_gives_each_request_what_it_gets_alone(
    runtime: Runtime, row: RowTensor, seed: int
) -> None:
    given = requests(row, np.random.default_rng(seed))
    assert_as_alone(runtime, row, given, seed)


@pytest.mark.parametrize("seed", range(4))
def test_numbers_that_follow_from_others_follow_in_a_batch(tmp_path: Path, seed: int) -> None:
    codec = ledgers.codec()
    write_untaught(tmp_path, codec, "ledger", 1, seed)
    runtime = Runtime(load_release(tmp_path, "ledger", 1))
    rng, real = np.random.default_rng(seed), ledgers.claims(200, seed=seed)
    numbers = np.stack(
        [codec.rows.to_numbers(at, data) for at, data in enumerate(real.columns.values())], axis=1
    )
    given = []
    for rows in (1, 2, 1, 8):
        values = numbers[rng.integers(0, 200, rows)]
        values[rng.random(values.shape) < 0.6] = NAN
        given.append({ROW: values})
    assert_as_alone(runtime, RowTensor(codec), given, seed)


def test_a_column_by_itself_that_follows_from_others_goes_the_way_of_all(tmp_path: Path) -> None:
    """They are to be drawn too, though nobody asked for them."""
    write_untaught(tmp_path, ledgers.codec(), "ledger", 1, 0)
    runtime = Runtime(load_release(tmp_path, "ledger", 1))
    quick = StudentBatch(RowTensor(ledgers.codec()), runtime)
    assert quick.options(check_parameters({}, ALLOWED), ("total",), as_row=True) is None


@pytest.mark.parametrize("outputs", [(ROW,), ("sent",)])
def test_what_follows_from_numbers_that_no_float_tells_apart_goes_the_way_of_all(
    tmp_path: Path, outputs: tuple[str, ...]
) -> None:
    write_untaught(tmp_path, twins(), "twins", 1, 0)
    runtime = Runtime(load_release(tmp_path, "twins", 1))
    quick = StudentBatch(RowTensor(twins()), runtime)
    assert quick.options(check_parameters({}, ALLOWED), outputs, as_row=True) is None


def assert_as_alone(
    runtime: Runtime, row: RowTensor, given: Sequence[dict[str, NDArray[Any]]], seed: int
) -> None:
    """Requests drawn together have the answers that each has by itself."""
    how = [{"seed": seed + at, "draws": 1 + at % 3} for at in range(len(given))]
    quick, asks = StudentBatch(row, runtime), []
    for each, parameters in zip(given, how, strict=True):
        asks.append(_ask(quick, each, (ROW, ROW_STATE), **parameters))
    rows = quick.encode(asks)
    ends = np.cumsum([ask.rows for ask in asks]).tolist()
    places = [
        at
        for end, ask in zip(ends, asks, strict=True)
        for at in range(end - ask.rows, end)
        for _ in range(ask.options.draws)
    ]
    rows = rows.take(places)
    noise = quick.noise(asks, rows.observed)
    drawn = runtime.draw_student(rows.tokens, rows.observed, noise)
    found = quick.decode(asks, rows, drawn)
    for each, parameters, answer in zip(given, how, found, strict=True):
        values, states = alone(runtime, row, each, **parameters)
        np.testing.assert_array_equal(answer[ROW], values)
        np.testing.assert_array_equal(answer[ROW_STATE], states)


def bundled(table: str) -> RowTensor:
    return RowTensor(load_release(BUNDLED, table, 1).codec)


def wide() -> RowTensor:
    """A column of every kind; see `every_kind`."""
    return RowTensor(every_kind())


def test_requests_without_a_seed_get_rows_of_their_own(runtime: Runtime, row: RowTensor) -> None:
    nothing = np.full((1, 6), NAN)
    quick = StudentBatch(row, runtime)
    asks = [_ask(quick, {ROW: nothing}) for _ in range(16)]
    rows = quick.encode(asks)
    noise = quick.noise(asks, rows.observed)
    drawn = runtime.draw_student(rows.tokens, rows.observed, noise)
    found = np.concatenate([each[ROW] for each in quick.decode(asks, rows, drawn)])
    assert len(np.unique(found, axis=0)) == 16


def _ask(
    quick: StudentBatch, given: dict[str, NDArray[Any]], outputs: Sequence[str] = (ROW,), **how: Any
) -> BatchRequest:
    wanted = quick.options(check_parameters(how, ALLOWED), outputs, as_row=True)
    assert wanted is not None
    ask = quick.read(given, wanted)
    assert ask is not None
    return ask


@pytest.mark.parametrize(
    ("given", "outputs", "how"),
    [
        ((ROW, "amount"), [ROW], {}),
        ((ROW,), [ROW, "log_likelihood"], {}),
        ((ROW,), [ROW], {"fidelity": "full"}),
        ((ROW,), [ROW], {"explain": True}),
        ((ROW,), [ROW], {"strict": True}),
        ((ROW,), [ROW], {"draws": 1000}),
    ],
)
def test_what_asks_for_more_goes_the_way_of_all(
    runtime: Runtime,
    row: RowTensor,
    given: tuple[str, ...],
    outputs: list[str],
    how: dict[str, Any],
) -> None:
    arrays = {name: np.full((1, 6 if name == ROW else 1), NAN) for name in given}
    quick = StudentBatch(row, runtime)
    wanted = quick.options(check_parameters(how, ALLOWED), outputs, as_row=True)
    assert wanted is None or quick.read(arrays, wanted) is None


@pytest.mark.parametrize(
    ("values", "states", "error"),
    [
        ([NAN, 7.0, NAN, NAN, NAN, NAN], None, "'row' has 7 for column 'channel'; allowed: 0 to 2"),
        ([NAN, NAN, 2.5, NAN, NAN, NAN], None, "'row' has 2.5 for column 'items'; allowed: whole"),
        ([NAN, NAN, math.inf, NAN, NAN, NAN], None, "'row' has inf for column 'items'"),
        ([NAN] * 6, [0] * 6, "in row 0 for column 'amount', whose value is nan; allowed: 0"),
        ([0.0] * 6, [3] * 6, "has 3 in row 0"),
    ],
)
def test_what_is_wrong_is_named(
    runtime: Runtime,
    row: RowTensor,
    values: list[float],
    states: list[int] | None,
    error: str,
) -> None:
    given: dict[str, NDArray[Any]] = {ROW: np.array([values])}
    if states is not None:
        given[ROW_STATE] = np.array([states], np.uint8)
    with pytest.raises((BadRequest, ValueNotAllowed), match=error):
        checked(runtime, row, given)


def test_nothing_known_is_a_request_too(runtime: Runtime, row: RowTensor) -> None:
    job = checked(runtime, row, {ROW: np.full((3, 6), NAN)})
    assert (job.rows, job.encoded.observed.any()) == (3, False)


def test_rows_are_cut_into_calls_and_put_together_again(runtime: Runtime, row: RowTensor) -> None:
    assert calls([3, 5, 1], 4) == [
        [(0, slice(0, 3)), (1, slice(0, 1))],
        [(1, slice(1, 5))],
        [(2, slice(0, 1))],
    ]
    nothing = {ROW: np.full((1, 6), NAN)}

    def draw(most: int) -> list[NDArray[np.int32]]:
        jobs = [checked(runtime, row, nothing, seed=at, draws=5) for at in range(3)]
        return by_student(jobs, runtime, most)

    for few, many in zip(draw(4), draw(1024), strict=True):
        np.testing.assert_array_equal(few, many)


class TestOutlook:
    """How long a request has waited, and what it may expect."""

    def test_of_a_busy_model_as_long_as_the_batch_before(self) -> None:
        assert waited(Turn(began=10.0, ended=10.02), 10.02 + GAP_SECONDS / 2) == pytest.approx(
            0.02 + GAP_SECONDS / 2
        )

    def test_of_an_idle_one_not_at_all(self) -> None:
        assert waited(Turn(began=10.0, ended=10.02), 11.0) == 0
        assert waited(Turn(), 11.0) == 0

    def test_auto_expects_nothing_of_a_teacher_that_is_not_known(self) -> None:
        outlooks = Outlooks()
        assert outlooks.options(1, 5, Wanted.AUTO, 0, 0.0)[0].seconds == math.inf
        assert outlooks.options(1, 5, Wanted.FULL, 0, 0.0)[0].seconds == 0

    def test_rows_underway_make_the_next_ones_slower(self) -> None:
        outlooks = Outlooks()
        for rows in (1, 8, 64):
            outlooks.teacher.observe(rows, 1e-3 + rows * 1e-4)
        alone, _ = outlooks.options(1, 5, Wanted.AUTO, 0, 0.0)
        outlooks.underway = 32
        behind, _ = outlooks.options(1, 5, Wanted.AUTO, 0, 0.0)
        assert alone.tier is Tier.TEACHER
        assert behind.seconds > alone.seconds > 0
