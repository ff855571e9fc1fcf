"""Releases that are run compiled in tests, and the library that runs them."""

from __future__ import annotations

from pathlib import Path

from cascade_distill.models.neighbours import Chosen
from cascade_server.engines.native.library import load_library
from cascade_tables import Codec, infer_schema

from tests.distill.bills import bills

BUNDLED = Path(__file__).parents[4] / "model_repository"


LIBRARY = load_library()


# Of three months' bills: others, and sums whose parts are before a number, behind it and both.
NEIGHBOURS: tuple[Chosen, ...] = (
    (0, (((1, 1),), ((2, 1),), ((1, 1), (2, -1)))),
    (1, (((2, 1),), ((0, 1),), ((0, -1), (2, 1)))),
    (2, (((0, 1), (1, 1)),)),
)


def bills_codec() -> Codec:
    frame = bills()
    return Codec.fit(infer_schema(frame), frame)
