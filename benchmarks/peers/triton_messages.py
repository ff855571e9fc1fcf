"""Messages of the Open Inference Protocol, written field by field.

Generated code of it and that of Triton's client cannot live in one process, and a load generator
wants bytes anyhow.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

MODEL_INFER = "/inference.GRPCInferenceService/ModelInfer"
SERVER_READY = "/inference.GRPCInferenceService/ServerReady"
LOG_SETTINGS = "/inference.GRPCInferenceService/LogSettings"
# A ServerReadyResponse that says yes.
READY = b"\x08\x01"


def infer_request(
    model: str,
    tensors: Mapping[str, tuple[str, NDArray[np.generic]]],
    outputs: Sequence[str] = (),
) -> bytes:
    """A ModelInferRequest, tensors as raw bytes.

    Args:
        model: its name; the latest version is asked.
        tensors: datatype and elements by name.
        outputs: that are wanted; none: all.
    """
    message = _text(1, model)
    for name, (datatype, value) in tensors.items():
        shape = b"".join(_varint(n) for n in value.shape)
        message += _bytes(5, _text(1, name) + _text(2, datatype) + _bytes(3, shape))
    for name in outputs:
        message += _bytes(6, _text(1, name))
    for _, value in tensors.values():
        message += _bytes(7, np.ascontiguousarray(value).tobytes())
    return message


def student_request(model: str, tokens: NDArray[np.int32], observed: NDArray[np.bool_]) -> bytes:
    """What a table's student is asked."""
    return infer_request(model, {"tokens": ("INT32", tokens), "observed": ("BOOL", observed)})


def log_settings(verbose_level: int) -> bytes:
    """A LogSettingsRequest: 1 has Triton write what becomes of each call, 0 has it stop."""
    value = _varint(2 << 3) + _varint(verbose_level)
    return _bytes(1, _text(1, "log_verbose_level") + _bytes(2, value))


def _varint(number: int) -> bytes:
    out = b""
    while number > 127:
        out += bytes([number & 127 | 128])
        number >>= 7
    return out + bytes([number])


def _bytes(number: int, value: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(value)) + value


def _text(number: int, value: str) -> bytes:
    return _bytes(number, value.encode())
