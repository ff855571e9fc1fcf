"""Converts Open Inference Protocol tensors to a `TokenDraw`, and its outputs to tensors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from cascade_tables.errors import shown
from numpy.typing import NDArray

from cascade_server.cascade.token_draw import TokenDraw
from cascade_server.deadline import Work
from cascade_server.engines.noise import NoiseSource, noise_of, stream
from cascade_server.engines.runtime import Mask, Noise, Runtime, Tokens
from cascade_server.errors import BadRequest
from cascade_server.terms import Tier
from cascade_server.wire.model_tensors import DRAWN, LOG_LIKELIHOOD, NOISE, OBSERVED, TOKENS, Model
from cascade_server.wire.parameters import Parameters
from cascade_server.wire.tensors import Tensor


def to_draw(
    model: Model,
    inputs: Mapping[str, Tensor],
    parameters: Parameters,
    seed: int,
    runtime: Runtime,
    work: Work,
    max_rows: int,
    outputs: tuple[str, ...] = (DRAWN,),
) -> TokenDraw:
    """Check a request to one network.

    Args:
        model: the requested network.
        inputs: its tensors by name.
        parameters: its parameters, checked.
        seed: the seed of the random numbers, unless the caller sends them as a tensor.
        runtime: the release.
        work: the request's deadline.
        max_rows: most rows.
        outputs: the result of `wanted_of`.

    Raises:
        BadRequest: names the tensor or parameter, and what is allowed.
    """
    assert model.tier is not None
    for name in inputs:
        if name not in (TOKENS, OBSERVED, NOISE):
            raise BadRequest(
                f"input {shown(name)} is unknown; allowed: {TOKENS}, {OBSERVED} and {NOISE}"
            )
    slots, student = runtime.slots, model.tier is Tier.STUDENT
    tokens = _matrix(inputs, TOKENS, "INT32", slots)
    # A view of the message's bytes is read-only, and compiled code takes writable arrays.
    observed = _matrix(inputs, OBSERVED, "BOOL", slots).copy()
    rows = len(tokens)
    if not 1 <= rows <= max_rows:
        raise BadRequest(f"input {TOKENS!r} has {rows:,} rows; allowed: 1 to {max_rows:,}")
    if len(observed) != rows:
        raise BadRequest(f"input {OBSERVED!r} has {len(observed):,} rows; {TOKENS} has {rows:,}")
    # A seed's numbers do not depend on how they are made. The student's are made only where it
    # reads them.
    noise: NoiseSource = (
        runtime.noise_of_student.source(seed, 0, 1, observed) if student else noise_of(stream(seed))
    )
    if NOISE in inputs:
        if "seed" in parameters.given:
            raise BadRequest(f"parameter 'seed' and input {NOISE!r} exclude each other")
        width = runtime.student_noise if student else runtime.teacher_noise
        noise = noise_in_parts(_noise(_matrix(inputs, NOISE, "FP32", width), rows))
    _check_columns(observed, runtime)
    return TokenDraw(
        runtime=runtime,
        tier=model.tier,
        tokens=_known(tokens, observed, runtime.layout.sizes),
        observed=observed,
        noise=noise,
        steps=parameters.given.get("steps", 1 if student else runtime.passes(observed)),
        work=work,
        outputs=outputs,
        offline=parameters.offline,
    )


def _matrix(inputs: Mapping[str, Tensor], name: str, datatype: str, width: int) -> Any:
    tensor = inputs.get(name)
    if tensor is None:
        raise BadRequest(f"input {shown(name)} is missing; it is {datatype} [n, {width}]")
    shape = tensor.shape
    if tensor.datatype != datatype or len(shape) != 2 or shape[1] != width:
        raise BadRequest(
            f"input {shown(name)} is {tensor.datatype} {list(shape)}; "
            f"allowed: {datatype} [n, {width}]"
        )
    assert isinstance(tensor.values, np.ndarray)
    return tensor.values.reshape(shape)


def _noise(noise: Noise, rows: int) -> Noise:
    if len(noise) != rows:
        raise BadRequest(f"input {NOISE!r} has {len(noise):,} rows; {TOKENS} has {rows:,}")
    if not ((noise >= 0) & (noise < 1)).all():
        raise BadRequest(f"input {NOISE!r} has a number that is not in [0, 1)")
    return noise


def noise_in_parts(noise: Noise) -> NoiseSource:
    """Return a source that hands out the caller's noise, float32 [n, width], part by part."""
    taken = 0

    def part(shape: tuple[int, int]) -> Noise:
        nonlocal taken
        taken += shape[0]
        return noise[taken - shape[0] : taken]

    return part


def _check_columns(observed: Mask, runtime: Runtime) -> None:
    """Check that the slots of each column are all known or all drawn.

    Raises:
        BadRequest: some column is mixed; names the slots.
    """
    column = np.asarray(runtime.layout.column)
    differs = (observed != observed[:, runtime.first_slot][:, column]).any(axis=0)
    if differs.any():
        slots = np.flatnonzero(column == column[differs.argmax()]).tolist()
        raise BadRequest(
            f"input {OBSERVED!r} differs between slots {slots[0]} and {slots[-1]}, which are of "
            "one column"
        )


def _known(tokens: Tokens, observed: Mask, sizes: Sequence[int]) -> Tokens:
    """Return the tokens where they are known, and 0 elsewhere.

    Raises:
        BadRequest: a known token is out of its slot's range.
    """
    known = np.where(observed, tokens, 0)
    wrong = (known < 0) | (known >= np.asarray(sizes))
    if wrong.any():
        row, slot = np.argwhere(wrong)[0].tolist()
        raise BadRequest(
            f"input {TOKENS!r} has {tokens[row, slot]} in row {row}, slot {slot}; allowed: 0 to "
            f"{sizes[slot] - 1}"
        )
    return known


def wanted_of(outputs: Sequence[str], model: Model) -> tuple[str, ...]:
    """Return the outputs to compute, each once: those named or, if none is, `DRAWN`.

    Raises:
        BadRequest: the model has no output of that name.
    """
    allowed = (DRAWN, LOG_LIKELIHOOD) if model.tier is Tier.TEACHER else (DRAWN,)
    for name in outputs:
        if name not in allowed:
            raise BadRequest(f"output {shown(name)} is unknown; allowed: {' and '.join(allowed)}")
    return tuple(dict.fromkeys(outputs)) or (DRAWN,)


def to_tensor(name: str, values: Tokens | NDArray[np.float64]) -> Tensor:
    """Convert an output to a tensor: tokens [n, T], or log-likelihoods [n] as [n, 1]."""
    if name == LOG_LIKELIHOOD:
        return Tensor(name, "FP64", (len(values), 1), values)
    return Tensor(name, "INT32", values.shape, values.reshape(-1))
