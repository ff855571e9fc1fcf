"""A codec of any columns, and a time zone in which year 1 begins before all date-times."""

from __future__ import annotations

from datetime import timedelta, timezone
from typing import Any

import pyarrow as pa
from cascade_tables import Codec, ColumnOverride, Frame, RareRule, infer_schema

from tests.releases import payments


def fitted(overrides: dict[str, ColumnOverride] | None = None, **columns: Any) -> Codec:
    table = Frame.from_arrow(pa.table(columns)) if columns else payments()
    return Codec.fit(infer_schema(table, overrides, rule=RareRule(min_count=1)), table)


EARLY = timezone(timedelta(hours=14))
