"""The student's model in Triton: a batch is checked and run as one request, answered as many."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cascade_server.engines.runtime import Runtime
from cascade_tables import load_release
from numpy.typing import NDArray

from tests.releases import TABLE, make_release
from tests.server.triton_models.backend_utils import Request, TritonError, install

DRAWN = "drawn"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder: Path = tmp_path_factory.mktemp("models")
    make_release(folder)
    return folder


@pytest.fixture
def model(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    install(monkeypatch)
    from cascade_server.triton_models.student import TritonPythonModel

    found = TritonPythonModel()
    name = f"{TABLE}_student"
    args = {"model_repository": str(folder / name), "model_version": "1", "model_name": name}
    found.initialize({**args, "model_config": json.dumps({})})
    return found


@pytest.fixture(scope="module")
def runtime(folder: Path) -> Runtime:
    return Runtime(load_release(folder, TABLE, 1))


def tensors(
    runtime: Runtime, rows: int, seed: int = 0, noise: bool = False
) -> dict[str, NDArray[Any]]:
    """Rows of which every other column is known."""
    rng = np.random.default_rng(seed)
    observed = (np.array(runtime.layout.column) % 2 == seed % 2)[None].repeat(rows, axis=0)
    tokens = rng.integers(0, np.array(runtime.layout.sizes), observed.shape).astype(np.int32)
    out: dict[str, NDArray[Any]] = {"tokens": tokens, "observed": observed}
    if noise:
        out["noise"] = rng.random((rows, runtime.student_noise), np.float32)
    return out


def asking(inputs: Mapping[str, NDArray[Any]], **how: Any) -> Request:
    return Request(inputs, [DRAWN], **how)


def drawn(model: Any, *requests: Request) -> list[NDArray[np.int32]]:
    answers = model.execute(requests)
    assert [answer.error for answer in answers] == [None] * len(requests)
    return [answer.outputs[DRAWN] for answer in answers]


@pytest.mark.parametrize("noise", [False, True])
def test_a_batch_gives_each_what_it_gets_alone(model: Any, runtime: Runtime, noise: bool) -> None:
    requests = []
    for seed, rows in enumerate((1, 3, 1, 8)):
        how = {} if noise else {"seed": seed}
        requests.append(asking(tensors(runtime, rows, seed, noise), **how))
    together = drawn(model, *requests)
    for request, found in zip(requests, together, strict=True):
        (alone,) = drawn(model, request)
        np.testing.assert_array_equal(found, alone)


def test_what_is_known_stays_and_the_rest_is_drawn(model: Any, runtime: Runtime) -> None:
    given = [tensors(runtime, 16, seed) for seed in range(4)]
    for inputs, found in zip(given, drawn(model, *map(asking, given)), strict=True):
        known = inputs["observed"]
        np.testing.assert_array_equal(found[known], inputs["tokens"][known])
        assert len(np.unique(found, axis=0)) > 8


def test_some_with_noise_and_some_with_seeds(model: Any, runtime: Runtime) -> None:
    requests = [
        asking(tensors(runtime, 2, 1, noise=True)),
        asking(tensors(runtime, 2, 2), seed=7),
        asking(tensors(runtime, 2, 3)),
    ]
    with_noise, seeded, _ = drawn(model, *requests)
    np.testing.assert_array_equal(with_noise, drawn(model, requests[0])[0])
    np.testing.assert_array_equal(seeded, drawn(model, requests[1])[0])


@pytest.mark.parametrize(
    ("change", "how", "words"),
    [
        ({"tokens": 10_000}, {}, "input 'tokens' has 10000 in row 0"),
        ({}, {"seed": -1}, "parameter 'seed' is -1"),
        ({}, {"steps": 2}, "parameter 'steps' is unknown"),
        ({"noise": 1.5}, {}, "input 'noise' has a number that is not in"),
        ({"noise": 0.5}, {"seed": 1}, "parameter 'seed' and input 'noise' exclude each other"),
    ],
)
def test_a_wrong_one_is_told_so_and_takes_none_with_it(
    model: Any, runtime: Runtime, change: dict[str, Any], how: dict[str, Any], words: str
) -> None:
    inputs = tensors(runtime, 1, 1, noise="noise" in change)
    for name, value in change.items():
        inputs[name] = np.full_like(inputs[name], value)
    good = asking(tensors(runtime, 1, 2), seed=2)
    first, wrong, last = model.execute([good, asking(inputs, **how), good])
    assert wrong.error.code == TritonError.INVALID_ARG
    assert words in wrong.error.message
    (alone,) = drawn(model, good)
    for answer in (first, last):
        np.testing.assert_array_equal(answer.outputs[DRAWN], alone)
