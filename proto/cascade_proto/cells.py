"""How a cell travels in `Column` of synthesis.proto: what its state may be, which field holds its
value, and what stands there where there is none.

The server, the SDK and the models inside Triton read and write these cells. Nothing is imported
here, so that whoever wants the words alone does not load protobuf.
"""

from __future__ import annotations

from collections.abc import Mapping

# What `Column.states` says of a cell: its value is there; it is known to be NULL; it is not known,
# and to be synthesised.
OBSERVED_STATE, NULL_STATE, ABSENT_STATE = 0, 1, 2
# `Column.states` of a single row.
OBSERVED_CELL, NULL_CELL, ABSENT_CELL = b"\0", b"\1", b"\2"

# The field of `Column` that holds values of a kind, by `ColumnDescription.kind`; date-times are
# microseconds since 1970-01-01 UTC.
FIELDS: Mapping[str, str] = {
    "categorical": "strings",
    "boolean": "booleans",
    "integer": "integers",
    "continuous": "doubles",
    "datetime": "integers",
}

# What stands in a field where a cell has no value.
PLACEHOLDERS: Mapping[str, str | bool | int | float] = {
    "strings": "",
    "booleans": False,
    "integers": 0,
    "doubles": 0.0,
}
