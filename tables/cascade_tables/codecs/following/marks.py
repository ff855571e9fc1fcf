"""Tokens that say "this number is what a relation makes of the others".

A number of many values is a coarse bin and a place inside of it. Where a relation holds in some of
the rows, it may instead be a mark, one a relation that the column is in, and roughly where in the
column it is, which is what other columns are drawn by. A network learns when to draw a mark as it
learns any other token, so that the share with which a relation holds is its own; what the number
is then is arithmetic (see `arithmetic`). A mark can be drawn only where the other columns are
known, so that any of a relation's columns may be the one that follows.

A column of few values has a token a value, and no mark: what follows from others is hardly ever one
of them. It leads: it is drawn before all columns that are binned, so that one of those is last.

The rows that a network learns from are tokens without marks and, behind them, a flag a relation:
where a mark stands follows from which columns are known, which training changes with every batch.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from cascade_tables.codecs.columns.binned_codec import FINE, BinnedCodec
from cascade_tables.codecs.columns.column_codec import ColumnCodec
from cascade_tables.codecs.layout import Mark
from cascade_tables.errors import SchemaError
from cascade_tables.frame import Frame
from cascade_tables.relations.measuring import measure_formula
from cascade_tables.schema import Schema

# Of the relations that a column is in, so many have a mark: those that hold most often.
MOST_MARKS = 8


def marked_relations(schema: Schema, codecs: Sequence[ColumnCodec]) -> list[tuple[int, ...]]:
    """By column, the numbers of the relations that have a mark in it, the most frequent first:
    those that hold in some rows, of a column that is binned."""
    often = sorted(
        (number for number, relation in enumerate(schema.relations) if not relation.always),
        key=lambda number: (-schema.relations[number].share, number),
    )
    return [
        tuple(
            number
            for number in often
            if codec.column.name in schema.relations[number].formula.columns
        )[:MOST_MARKS]
        if isinstance(codec, BinnedCodec)
        else ()
        for codec in codecs
    ]


def leading_columns(schema: Schema, codecs: Sequence[ColumnCodec]) -> tuple[str, ...]:
    """The columns of few values that are in a relation with a column that is binned."""
    binned = {codec.column.name for codec in codecs if isinstance(codec, BinnedCodec)}
    related = {
        name
        for relation in schema.relations
        if binned & set(relation.formula.columns)
        for name in relation.formula.columns
    }
    return tuple(name for name in schema.names if name in related - binned)


def check_marks(schema: Schema, codecs: Sequence[ColumnCodec]) -> None:
    """Refuse marks of relations that the schema does not have, or that lack the column.

    Raises:
        SchemaError: names the column.
    """
    count = len(schema.relations)
    for codec in codecs:
        name = codec.column.name
        for number in codec.marks if isinstance(codec, BinnedCodec) else ():
            known = type(number) is int and 0 <= number < count
            if not known or name not in schema.relations[number].formula.columns:
                raise SchemaError(
                    f"column {name!r} has a mark of relation {number!r}; allowed: those of the "
                    f"schema's {count} relations that it is in, by their numbers from 0"
                )


def marks_of(
    schema: Schema, codecs: Sequence[ColumnCodec], first_slot: Sequence[int]
) -> tuple[Mark, ...]:
    """All marks of a table, by column, in the order of their tokens.

    Args:
        schema: of the table.
        codecs: of its columns.
        first_slot: of each.
    """
    places = {name: place for place, name in enumerate(schema.names)}
    marks = []
    for column, codec in enumerate(codecs):
        if isinstance(codec, BinnedCodec) and codec.marks:
            rough = tuple(FINE + part for part in codec.rough_parts)
            for token, number in enumerate(codec.marks, codec.marks_from):
                formula = schema.relations[number].formula
                others = sorted(places[name] for name in formula.columns if places[name] != column)
                slot = first_slot[column]
                marks.append(Mark(number, column, slot, token, tuple(others), rough))
    return tuple(marks)


def flags_of(schema: Schema, frame: Frame) -> NDArray[np.bool_]:
    """In which rows each relation holds and says something: bool [n, relations].

    Args:
        schema: whose relations they are.
        frame: rows of the table.
    """
    flags = np.zeros((len(frame), len(schema.relations)), np.bool_)
    for number, relation in enumerate(schema.relations):
        if not relation.always:
            flags[:, number] = measure_formula(relation.formula, relation.decimals, frame).counts
    return flags
