"""Marks: tokens that say "a relation computes this number from the others".

A number of many values is a coarse bin and a place inside of it. In rows in which a relation holds,
it may instead be a mark, with one mark per relation of the column, plus its rough position in the
column, on which other columns are conditioned. A network learns when to draw a mark like any other
token, so it also learns the share of rows in which a relation holds; the number itself is then
computed (see `arithmetic`). A mark can be drawn only if the other columns are known, so any of a
relation's columns may be the computed one.

A column of few values has one token per value, and no mark: computed numbers are hardly ever one of
these values. Such a column leads: it is drawn before all binned columns, so that one of the binned
columns is last.

Training rows are tokens without marks, followed by one flag per relation: the position of a mark
depends on which columns are known, which changes with every training batch.
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

# Most relations of a column that have a mark: those that hold most often.
MOST_MARKS = 8


def marked_relations(schema: Schema, codecs: Sequence[ColumnCodec]) -> list[tuple[int, ...]]:
    """Return, by column, the relations that have a mark in it, the most frequent first.

    These are relations that hold in some rows, of a binned column.
    """
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
    """Return the columns of few values that share a relation with a binned column."""
    binned = {codec.column.name for codec in codecs if isinstance(codec, BinnedCodec)}
    related = {
        name
        for relation in schema.relations
        if binned & set(relation.formula.columns)
        for name in relation.formula.columns
    }
    return tuple(name for name in schema.names if name in related - binned)


def check_marks(schema: Schema, codecs: Sequence[ColumnCodec]) -> None:
    """Refuse marks of relations that the schema lacks, or that do not have the column.

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
    """Return all marks of a table, by column, in the order of their tokens.

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
    """Return the rows in which each relation holds and is informative: bool [n, relations].

    Args:
        schema: with the relations.
        frame: rows of the table.
    """
    flags = np.zeros((len(frame), len(schema.relations)), np.bool_)
    for number, relation in enumerate(schema.relations):
        if not relation.always:
            flags[:, number] = measure_formula(relation.formula, relation.decimals, frame).counts
    return flags
