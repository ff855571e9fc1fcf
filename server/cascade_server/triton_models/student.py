"""`<table>_student`: tokens in, tokens out, one run of the graph a batch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from cascade_server.deadline import Work
from cascade_server.open_inference.models import DRAWN, PARAMETERS, Model
from cascade_server.open_inference.networks import to_draw
from cascade_server.router import Tier
from cascade_server.synthesis import new_seed
from cascade_server.tasks import StudentTask, run_student
from cascade_server.triton_models import backend
from cascade_server.triton_models.backend import Request, Response


class TritonPythonModel:
    """What Triton makes of the model, an instance each."""

    def initialize(self, args: dict[str, str]) -> None:
        """Load the release and run the batch sizes once."""
        self._runtime = backend.load(args, (Tier.STUDENT,))
        self._runtime.warm()
        self._model = Model(args["model_name"], self._runtime.release.manifest.table, Tier.STUDENT)

    def execute(self, requests: Sequence[Request]) -> list[Response]:
        """Complete the rows of all requests in one run."""
        out: list[Any] = [None] * len(requests)
        tasks: list[StudentTask] = []
        of: list[int] = []
        for at, request in enumerate(requests):
            try:
                tasks.append(self._task(request))
                of.append(at)
            except Exception as exc:
                out[at] = backend.refused(exc)
        if tasks:
            run_student(self._runtime, tasks)
        for at, task in zip(of, tasks, strict=True):
            assert task.drawn is not None
            out[at] = backend.reply({DRAWN: task.drawn})
        return out

    def _task(self, request: Request) -> StudentTask:
        runtime = self._runtime
        parameters = backend.parameters(request, PARAMETERS[Tier.STUDENT])
        given = backend.arrays(request)
        seed = parameters.given.get("seed", new_seed())
        rows = len(given["tokens"])
        draw = to_draw(
            self._model,
            backend.tensors(given),
            parameters,
            seed,
            runtime,
            Work(math.inf),
            max_rows=rows,
        )
        noise = draw.noise((rows, runtime.student_noise))
        return StudentTask(draw.tokens, draw.observed, noise)
