"""`<table>_student`: tokens in, tokens out, one run of the graph per batch."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from cascade_server.cascade.token_requests import to_draw
from cascade_server.deadline import Work
from cascade_server.engines.noise import new_seed, recycle, stream
from cascade_server.engines.runtime import Noise
from cascade_server.errors import BadRequest
from cascade_server.terms import Tier
from cascade_server.triton_models import backend
from cascade_server.triton_models.backend import Request, Response
from cascade_server.triton_models.unseeded import Unseeded
from cascade_server.wire.model_tensors import DRAWN, NOISE, PARAMETERS, Model
from cascade_server.wire.parameters import Parameters


class TritonPythonModel:
    """The class that Triton creates, once per instance of the model."""

    def initialize(self, args: dict[str, str]) -> None:
        """Load the release and run the batch sizes once."""
        self._runtime = backend.load(args, (Tier.STUDENT,))
        self._runtime.warm()
        self._model = Model(args["model_name"], self._runtime.release.manifest.table, Tier.STUDENT)
        self._unseeded = Unseeded(self._runtime)

    def execute(self, requests: Sequence[Request]) -> list[Response]:
        """Complete the rows of all requests in one run, unless one of them is invalid."""
        try:
            return self._together(requests)
        except Exception as exc:
            if len(requests) == 1:
                return [backend.refused(exc)]
        # Run separately, so that an invalid request gets its own error and does not affect the
        # others. Requests with different kinds of inputs cannot be joined in any other way.
        return [self.execute([request])[0] for request in requests]

    def _together(self, requests: Sequence[Request]) -> list[Response]:
        """Make one run; the requests are checked as one.

        Raises:
            BadRequest: a request is invalid, or they cannot be joined.
        """
        allowed = PARAMETERS[Tier.STUDENT]
        parameters = [backend.parameters(request, allowed) for request in requests]
        given = [backend.arrays(request) for request in requests]
        rows = [len(each["tokens"]) for each in given]
        joined = given[0]
        if len(given) > 1:
            if any(each.keys() != joined.keys() for each in given):
                raise BadRequest("some of the requests have noise, some have not")
            joined = {name: np.concatenate([each[name] for each in given]) for name in joined}
        total = sum(rows)
        seeds = [each.given.get("seed") for each in parameters]
        # The check below refuses a seed together with noise.
        seeded = next((each for each in parameters if "seed" in each.given), Parameters())
        draw = to_draw(
            self._model,
            backend.tensors(joined),
            seeded,
            seeded.given.get("seed", 0),
            self._runtime,
            Work(math.inf),
            max_rows=total,
        )
        if NOISE in joined:
            noise = draw.noise((total, self._runtime.student_noise))
        elif all(seed is None for seed in seeds):
            noise = self._unseeded.student(draw.observed)
        else:
            noise = self._seeded(seeds, rows)
        drawn = self._runtime.draw_student(draw.tokens, draw.observed, noise)
        out, end = [], 0
        for count in rows:
            out.append(backend.reply({DRAWN: drawn[end : end + count]}))
            end += count
        return out

    def _seeded(self, seeds: Sequence[int | None], rows: Sequence[int]) -> Noise:
        """Return uniform numbers for requests, from each one's seed; some requests named theirs."""
        width, parts = self._runtime.student_noise, []
        for seed, count in zip(seeds, rows, strict=True):
            rng = stream(new_seed() if seed is None else seed)
            parts.append(rng.random((count, width), np.float32))
            recycle(rng)
        return np.concatenate(parts)
