"""What Triton gives its Python backend, as far as a model's `execute` sees it."""

from __future__ import annotations

import json
import sys
import types
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray


class Tensor:
    """A tensor by name."""

    def __init__(self, name: str, array: NDArray[Any]) -> None:
        self._name, self._array = name, array

    def name(self) -> str:
        return self._name

    def as_numpy(self) -> NDArray[Any]:
        return self._array


class TritonError:
    """Why there is no answer."""

    INVALID_ARG, NOT_FOUND, UNAVAILABLE, INTERNAL = range(4)

    def __init__(self, message: str, code: int) -> None:
        self.message, self.code = message, code


class InferenceResponse:
    """An answer, or why there is none."""

    def __init__(self, tensors: Sequence[Tensor], error: TritonError | None = None) -> None:
        self.outputs = {each.name(): np.array(each.as_numpy()) for each in tensors}
        self.error = error


class Request:
    """A request."""

    def __init__(
        self,
        inputs: Mapping[str, NDArray[Any]],
        outputs: Sequence[str],
        timeout: int = 0,
        **parameters: Any,
    ) -> None:
        self._inputs = [Tensor(name, array) for name, array in inputs.items()]
        self._outputs, self._timeout = list(outputs), timeout
        self._parameters = json.dumps(parameters) if parameters else ""

    def inputs(self) -> list[Tensor]:
        return self._inputs

    def requested_output_names(self) -> list[str]:
        return self._outputs

    def parameters(self) -> str:
        return self._parameters

    def timeout(self) -> int:
        return self._timeout


def install(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have models import this in Triton's place, and be imported anew."""
    module: Any = types.ModuleType("triton_python_backend_utils")
    module.Tensor, module.TritonError = Tensor, TritonError
    module.InferenceResponse = InferenceResponse
    monkeypatch.setitem(sys.modules, module.__name__, module)
    for name in [name for name in sys.modules if name.startswith("cascade_server.triton_models.")]:
        monkeypatch.delitem(sys.modules, name)
