"""`<table>_teacher`: tokens in, tokens out, pass by pass; requests at different passes share one.

`execute` does not wait: an event loop in a separate thread takes all requests through their passes,
adds those that arrive in between, and answers each when it is done.
"""

from __future__ import annotations

from collections.abc import Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cascade_server.cascade.token_requests import to_draw
from cascade_server.deadline import Work
from cascade_server.engines.noise import new_seed
from cascade_server.engines.runtime import TEACHER_PART
from cascade_server.engines.teacher import LocalTeacher, TeacherInput
from cascade_server.terms import Tier
from cascade_server.triton_models import backend
from cascade_server.triton_models.backend import Request, Response
from cascade_server.triton_models.background import Background, answer
from cascade_server.wire.model_tensors import DRAWN, LOG_LIKELIHOOD, PARAMETERS, Model


class TritonPythonModel:
    """The class that Triton creates, once per instance of the model."""

    def initialize(self, args: dict[str, str]) -> None:
        """Load the release and run the batch sizes once."""
        self._runtime = backend.load(args, (Tier.TEACHER,))
        self._runtime.warm()
        self._model = Model(args["model_name"], self._runtime.release.manifest.table, Tier.TEACHER)
        self._thread = ThreadPoolExecutor(1, "teacher")
        self._teacher = LocalTeacher(self._runtime, self._thread)
        self._background = Background("passes")

    def execute(self, requests: Sequence[Request]) -> None:
        """Accept requests, which are answered when they are done."""
        for request in requests:
            work = Work.from_remaining(None, request.timeout())
            sender = request.get_response_sender()
            # Read here: a request's memory may not outlive this call.
            try:
                work_to_do = self._read(request, work)
            except Exception as exc:
                # Raised, it would fail Triton's whole batch, with requests that are underway.
                backend.send(sender, backend.refused(exc))
                continue
            self._background.start(answer(sender, work_to_do))

    def _read(self, request: Request, work: Work) -> Coroutine[Any, Any, Response]:
        runtime = self._runtime
        parameters = backend.parameters(request, PARAMETERS[Tier.TEACHER])
        given = {name: array.copy() for name, array in backend.arrays(request).items()}
        outputs = frozenset(request.requested_output_names())
        seed = parameters.given.get("seed", new_seed())
        draw = to_draw(
            self._model, backend.tensors(given), parameters, seed, runtime, work, TEACHER_PART
        )
        tokens, observed, steps = draw.tokens, draw.observed, max(1, draw.steps)

        async def answered() -> Response:
            out: dict[str, NDArray[Any]] = {}
            if DRAWN in outputs:
                noise = draw.noise((len(tokens), runtime.teacher_noise))
                given_rows = TeacherInput(tokens, observed, noise, steps)
                out[DRAWN], _ = await self._teacher.draw(given_rows, work.deadline)
            if LOG_LIKELIHOOD in outputs:
                found = await self._teacher.log_likelihood(tokens, observed, work.deadline)
                out[LOG_LIKELIHOOD] = np.asarray(found, np.float64)[:, None]
            return backend.reply(out)

        return answered()

    def finalize(self) -> None:
        """Close the model for Triton."""
        self._background.close()
        self._thread.shutdown(wait=False, cancel_futures=True)
