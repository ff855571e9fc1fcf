"""Columns of `payments` as the Open Inference Protocol has them."""

from __future__ import annotations

from typing import Any

# What the protocol calls the columns of `payments`.
DATATYPES = {
    "amount": "FP64",
    "channel": "BYTES",
    "items": "INT64",
    "at": "INT64",
    "member": "BOOL",
    "fraud": "INT64",
}


def tensor(name: str, *values: Any) -> dict[str, Any]:
    """An input of one column."""
    return {name: (DATATYPES[name], [[value] for value in values])}


def tensors(**row: Any) -> dict[str, Any]:
    """A row's given columns as `ModelInfer` inputs of shape [1, 1]."""
    return {name: (DATATYPES[name], [[value]]) for name, value in row.items()}


def column(answer: Any, name: str) -> list[Any]:
    """Values of an output [n, 1]."""
    datatype, values = answer["outputs"][name]
    assert datatype == DATATYPES.get(name, datatype)
    return [value for (value,) in values]
