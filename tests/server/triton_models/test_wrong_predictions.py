"""Inside Triton too a prediction that is too long by mistake does not stand for ever."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cascade_server.cascade import probing
from cascade_server.cascade.probing import Probing
from cascade_server.deadline import Work
from cascade_server.engines.runtime import Runtime
from cascade_server.engines.teacher import MEASURED_ROWS
from cascade_server.errors import DeadlinePassed
from cascade_server.terms import Wanted
from cascade_server.triton_models.outlook import Outlooks
from cascade_server.triton_models.row_tensor import ROW, RowTensor
from cascade_tables import load_release

from tests.releases import TABLE
from tests.server.triton_models.backend_utils import install
from tests.server.triton_models.test_student_batch import checked


@pytest.fixture
def model(repository: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A table's model without Triton, that has learnt that everything takes ten minutes."""
    install(monkeypatch)
    from cascade_server.triton_models.cascade import TritonPythonModel

    model: Any = object.__new__(TritonPythonModel)
    model._runtime = Runtime(load_release(repository, TABLE, 3))
    model._promised, model._probing, model._outlooks = 0.05, Probing(), Outlooks()
    for _ in range(1000):
        model._outlooks.student.observe(1, 600.0)
        model._outlooks.teacher.observe(1, 600.0)
    return model


def test_who_would_be_refused_is_tried_now_and_then(
    model: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from cascade_server.triton_models.cascade import Job

    monkeypatch.setattr(probing, "FIRST_PAUSE", 0.0)
    row = RowTensor(model._runtime.release.codec)
    asked = checked(model._runtime, row, {ROW: np.full((1, 6), np.nan)}, seed=7, draws=1)
    request = replace(asked, work=Work.from_remaining(60.0), wanted=Wanted.FAST)
    with pytest.raises(DeadlinePassed, match="refused before it was late"):
        model._route(request, 0)
    for _ in range(2):
        route = model._route(request, 0)
        assert route.probing
        assert route.option is not None
        model._end_trials([Job(request, (), route)])


async def test_a_teacher_that_nobody_asked_is_measured(model: Any) -> None:
    class Networks:
        def teacher_seconds(self, rows: int) -> float:
            return 1e-3 * rows

    model._networks, model._measured_rows = Networks(), cycle(MEASURED_ROWS)
    with ThreadPoolExecutor(1) as threads:
        model._threads = threads
        await model._measure_teacher()
    assert model._outlooks.teacher.mean(1) < 0.01
    assert model._outlooks.teacher.mean(16) < 0.1
