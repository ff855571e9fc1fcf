"""Read tables from files: CSV, gzipped or from standard input, Parquet and Arrow IPC.

- `read_table`: the rows of one file that a program knows; nothing is left out, no cell is lost.
- `read_files`: what a person has, of which most is to be learnt from; says what was odd.
- `read_by_schema`: other files of a table whose schema is known, such as held-out rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from cascade_tables.errors import DataError, SchemaError, listing, shown
from cascade_tables.files.by_schema import fitted, kind_to_read
from cascade_tables.files.choosing import ODD_SHARE, Choice, choose, could_be, decimals_of
from cascade_tables.files.csv_files import CsvFile, Look, Noticed, load, look, read_blocks
from cascade_tables.files.dates import Order
from cascade_tables.files.deciding_rows import asked_as_categories, most_distinct
from cascade_tables.files.dialect import dialect_of, looks_like_a_row, same_columns
from cascade_tables.files.findings import NAMED, Findings, Misfits, misfits_of
from cascade_tables.files.forms import Form, Type
from cascade_tables.files.opening import STDIN, Source, is_parquet, source_of
from cascade_tables.files.parquet_files import ARROW_SUFFIXES, large, read_parquet, together
from cascade_tables.files.streaming import is_large, sampled
from cascade_tables.files.table import Stream, Table
from cascade_tables.files.typed_columns import check_few
from cascade_tables.frame import Frame
from cascade_tables.overrides import ColumnOverride
from cascade_tables.schema import Schema

# What keys of the overrides are for that say how cells are written.
MEANT_FOR = {"dates": (Type.DATE,), "decimal_mark": (Type.WHOLE, Type.REAL)}
CSV_SUFFIXES, PARQUET_SUFFIXES = (".csv", ".tsv", ".txt"), (".parquet", ".pq")


def read_table(path: Path) -> Frame:
    """Read a CSV file (.csv, .tsv, .txt, or with .gz), a Parquet file (.parquet, .pq), an Arrow
    IPC file (.arrow, .feather, .ipc, .arrows), or a folder of Parquet files that is called as one.

    A column has another type than text where all its cells can be read so.

    Raises:
        DataError: it cannot be read as a table; names the file and, for CSV, the line.
    """
    source = _source(path, None)
    if source is None:
        frame, unreadable = read_parquet(path)
        if unreadable:
            raise DataError(f"{path}: {listing(unreadable.values())}")
        return frame
    return _read_csv([source], {}, None, odd_share=0.0).frame


def read_files(
    paths: Sequence[Path],
    overrides: Mapping[str, ColumnOverride] | None = None,
    encoding: str | None = None,
    delimiter: str | None = None,
) -> Table:
    """Read files as people have them; several are one table, one below the other.

    Cells that are not written as their column's others are count as NULL where they are few
    (`ODD_SHARE`), or where the overrides name a kind; else the column is text. Columns that cannot
    be read, or that the overrides drop, are left out. The findings name all of this.

    Args:
        paths: files of equal columns; "-" is standard input.
        overrides: by column, what to decide otherwise; "" is the one that has no name.
        encoding: of text files; None: what their byte-order mark says, else UTF-8.
        delimiter: of text files; None: what their first lines say.

    Raises:
        DataError: a file cannot be read as a table; names it and, for CSV, the line.
        SchemaError: an override names a kind that no cell of its column fits.
    """
    overrides = overrides or {}
    sources = _sources(paths, encoding)
    if not sources:
        return _parquet_table(paths, overrides)
    return _read_csv(sources, overrides, delimiter, ODD_SHARE)


def read_by_schema(
    paths: Sequence[Path],
    schema: Schema,
    forms: Mapping[str, Form],
    encoding: str | None = None,
    delimiter: str | None = None,
) -> Table:
    """Read other files of a table: its columns have the types of the schema, whatever is in them.

    Columns that the schema does not have are left aside. Cells that do not fit count as NULL where
    they are few, and are named.

    Args:
        paths: files of equal columns; "-" is standard input.
        schema: of the table.
        forms: how cells were written in the files that the schema is of; see `Findings`.
        encoding, delimiter: see `read_files`.

    Raises:
        DataError: one cannot be read, lacks a column, or more than a few cells of one do not fit.
    """
    sources = _sources(paths, encoding)
    if not sources:
        return fitted(
            _typed(paths, _asked(schema, schema.names, forms), forms)[0], schema, listing(paths)
        )
    files = _csv_files(sources, delimiter)
    names = [name for name in schema.names if name in files[0].dialect.names]
    asked = _asked(schema, names, forms)
    known = {name: forms[name] for name in names if name in forms}
    table = _load(files, names, asked, known, odd_share=1.0)
    return fitted(table, schema, listing(source.name for source in sources))


def _sources(paths: Sequence[Path], encoding: str | None) -> list[Source]:
    """Text files; none: all are Parquet.

    Raises:
        DataError: one is neither, or is not there, or they are of both kinds.
    """
    found = [_source(path, encoding) for path in paths]
    text = [source for source in found if source is not None]
    if text and len(text) < len(found):
        raise DataError("CSV and Parquet files cannot be one table; name files of one kind")
    return text


def _csv_files(sources: Sequence[Source], delimiter: str | None) -> list[CsvFile]:
    """Files of equal columns, each with the delimiter that it has.

    Raises:
        DataError: one is empty, or lacks a column of the first or has another besides.
    """
    files = [CsvFile(source, dialect_of(source, delimiter)) for source in sources]
    for file in files[1:]:
        same_columns(files[0].source, files[0].dialect, file.source, file.dialect)
    return files


def _source(path: Path, encoding: str | None) -> Source | None:
    """A text file; None: it is Parquet.

    Raises:
        DataError: it is neither, or is not there.
    """
    if str(path) != STDIN:
        if not path.exists():
            raise DataError(f"{path} does not exist")
        suffixes = [suffix.lower() for suffix in path.suffixes]
        last = next((s for s in reversed(suffixes) if s != ".gz"), "")
        if last in (*PARQUET_SUFFIXES, *ARROW_SUFFIXES):
            return None
        if last not in CSV_SUFFIXES:
            raise DataError(
                f"{path}: cannot tell what this is; allowed: {', '.join(CSV_SUFFIXES)}, each also "
                f"with .gz, {', '.join((*PARQUET_SUFFIXES, *ARROW_SUFFIXES))}"
            )
    source = source_of(path, encoding)
    if is_parquet(source):
        raise DataError(f"{source.name} is a Parquet file; call it .parquet")
    return source


def _asked(
    schema: Schema, names: Sequence[str], forms: Mapping[str, Form]
) -> dict[str, ColumnOverride]:
    """What columns are of which nobody knows how they are written."""
    return {
        name: ColumnOverride(kind=kind_to_read(schema[name])) for name in names if name not in forms
    }


def _parquet_table(paths: Sequence[Path], overrides: Mapping[str, ColumnOverride]) -> Table:
    table, unreadable = _typed(paths, overrides, None)
    findings = table.findings
    check_few(findings.odd, overrides, ODD_SHARE)
    dropped = {
        name: "asked for in the overrides"
        for name in unreadable
        if overrides.get(name, ColumnOverride()).drop
    }
    left = {name: override for name, override in overrides.items() if name not in unreadable}
    notes = (*findings.notes, *could_be(table.frame, overrides))
    findings = replace(findings, left_out={**unreadable, **dropped}, notes=notes)
    return replace(table, findings=findings, overrides=left)


def _typed(
    paths: Sequence[Path],
    overrides: Mapping[str, ColumnOverride],
    known: Mapping[str, Form] | None,
) -> tuple[Table, dict[str, str]]:
    """Files that have types, as one table; and the columns that cannot be read, and why."""
    found = large(paths, overrides, known)
    stream: Stream | None = None
    if found is None:
        frame, unreadable, reader = together(paths, overrides, known)
    else:
        frame, unreadable, reader, stream = found
    rows = len(frame) if stream is None else stream.rows
    # Of a later file odd cells are as few as those of the first were.
    forms = reader.forms(rows) if known is None else known
    findings = Findings(forms, odd=reader.misfits(), notes=reader.notes())
    return Table(frame, findings, stream=stream), unreadable


def _read_csv(
    sources: Sequence[Source],
    overrides: Mapping[str, ColumnOverride],
    delimiter: str | None,
    odd_share: float,
) -> Table:
    files = _csv_files(sources, delimiter)
    first = files[0]
    nameless = first.dialect.nameless
    if "" in overrides and nameless:
        if len(nameless) > 1:
            raise SchemaError(
                f"{len(nameless)} columns have no name; the overrides may call them "
                f"{listing(map(shown, nameless))}"
            )
        overrides = {nameless[0] if name == "" else name: o for name, o in overrides.items()}
    dropped = {
        name: "asked for in the overrides"
        for name in first.dialect.names
        if overrides.get(name, ColumnOverride()).drop
    }
    names = [name for name in first.dialect.names if name not in dropped]
    table = _load(files, names, overrides, {}, odd_share)
    findings = table.findings
    notes = [f"{name}: the column has no name in {first.source.name}" for name in nameless]
    numbers = [name for name, data in table.frame.columns.items() if data.values.dtype.kind in "if"]
    notes += could_be(table.frame.select(numbers), overrides)
    if looks_like_a_row(first.dialect.names, table.frame):
        notes.append(
            f"{first.source.name}: its first line is taken for names, and looks like a row "
            f"({listing(map(shown, first.dialect.names))}); write a line of names above it"
        )
    return replace(
        table,
        findings=replace(findings, left_out=dropped, notes=(*notes, *findings.notes)),
        overrides={name: each for name, each in overrides.items() if name not in dropped},
    )


def _load(
    files: Sequence[CsvFile],
    names: Sequence[str],
    overrides: Mapping[str, ColumnOverride],
    known: Mapping[str, Form],
    odd_share: float,
) -> Table:
    """Columns in the forms that are known, or that suit them."""
    nothing = ColumnOverride()
    asked = {name: overrides.get(name, nothing) for name in names if name not in known}
    seen = look(files, {name: override.null_values or () for name, override in asked.items()})
    choices = _choices(files[0], asked, seen, odd_share)
    rows = sum(seen.rows)
    forms = {
        name: known[name]
        if name in known
        else replace(choices[name].form, odd_share=choices[name].odd / rows)
        for name in names
    }
    nearly = {name: c.nearly for name, c in choices.items() if c.nearly is not None}
    stream: Stream | None = None
    if is_large(rows, len(names)):
        frame, stream, noticed = _streamed(files, seen.rows, forms, nearly, asked)
    else:
        columns, noticed = load(files, seen.rows, forms, nearly)
        frame = Frame(columns)
    places = _places(files, noticed)
    present = {
        name: choices[name].present
        if name in choices
        else noticed[name].present + noticed[name].count
        for name in names
        if noticed[name].count and name not in nearly
    }
    odd = _misfits(present, forms, noticed, places)
    typed = {name: seen.counts[name].typed for name in nearly}
    as_text = _misfits(typed, nearly, noticed, places)
    notes = [f"{name}: {choice.doubt}" for name, choice in choices.items() if choice.ambiguous]
    notes += _blank(files)
    return Table(
        frame,
        Findings(forms, odd, as_text, notes=tuple(notes)),
        places=lambda wanted: _lines_of(files, _split(seen.rows, wanted)),
        stream=stream,
    )


def _choices(
    first: CsvFile, asked: Mapping[str, ColumnOverride], seen: Look, odd_share: float
) -> dict[str, Choice]:
    """What the cells are of columns of which no form is known.

    Args:
        first: of the files; the others have its columns.
        asked: what the overrides say of each of these columns.
        seen: how their cells are written.
        odd_share: of a column's cells that may be written otherwise.

    Raises:
        SchemaError: an override does not suit a column's cells; names both.
    """
    decimals = decimals_of(seen.counts.values(), first.dialect.delimiter == ";")
    choices: dict[str, Choice] = {}
    for name, override in asked.items():
        choice = choose(
            seen.counts[name],
            override.kind,
            Order(override.dates) if override.dates else None,
            override.null_values or (),
            decimals,
            override.decimal_mark,
            odd_share,
        )
        if choice is None:
            raise SchemaError(
                f"column {name!r}: kind {override.kind} in the overrides, but none of its "
                f"{seen.counts[name].typed:,} cells in {first.source.name} can be read so"
            )
        for key, types in MEANT_FOR.items():
            if getattr(override, key) and choice.form.type not in types:
                what = choice.form.describe()
                raise SchemaError(
                    f"column {name!r}: {key} in the overrides has no effect on {what}"
                )
        choices[name] = choice
    return choices


def _misfits(
    present: Mapping[str, int],
    forms: Mapping[str, Form],
    noticed: Mapping[str, Noticed],
    places: Mapping[str, Sequence[str]],
) -> tuple[Misfits, ...]:
    """Cells that are not written as the others of their column are, by column.

    Args:
        present: how many cells of each of these columns are not NULL.
        forms: how their others are written.
        noticed: the cells that are not.
        places: where the first of those are.
    """
    return tuple(
        misfits_of(
            name,
            forms[name],
            noticed[name].count,
            number,
            [cell for _, _, cell in noticed[name].cells],
            places[name],
        )
        for name, number in present.items()
    )


def _blank(files: Sequence[CsvFile]) -> Iterator[str]:
    for file in files:
        if lines := file.blank_lines():
            named = ", ".join(f"{line:,}" for line in lines[:NAMED])
            more = ", …" if len(lines) > NAMED else ""
            yield (
                f"{file.source.name}: {len(lines):,} blank lines between its rows are no rows "
                f'(lines {named}{more}); an empty cell of a file of one column is written ""'
            )


def _streamed(
    files: Sequence[CsvFile],
    rows: Sequence[int],
    forms: Mapping[str, Form],
    nearly: Mapping[str, Form],
    overrides: Mapping[str, ColumnOverride],
) -> tuple[Frame, Stream, dict[str, Noticed]]:
    """Columns of a table that is larger than memory should hold: some of its rows, all of them,
    and the cells that do not fit their forms."""
    noticed = {name: Noticed() for name in forms}
    first_pass = [noticed]

    def chunks() -> Iterator[Frame]:
        # Later passes meet the same odd cells again.
        counted = first_pass.pop() if first_pass else {name: Noticed() for name in forms}
        return map(Frame, read_blocks(files, forms, nearly, counted))

    limits = {name: most_distinct(overrides.get(name, ColumnOverride())) for name in forms}
    times = [name for name, form in forms.items() if form.type is Type.TIME]
    frame, stream = sampled(sum(rows), limits, chunks, times, asked_as_categories(overrides))
    return frame, stream, noticed


def _split(rows: Sequence[int], wanted: Sequence[int]) -> list[tuple[int, int]]:
    """Rows of all files together as pairs of file and row."""
    out = []
    for row in wanted:
        file = 0
        while row >= rows[file]:
            row -= rows[file]
            file += 1
        out.append((file, row))
    return out


def _places(files: Sequence[CsvFile], noticed: Mapping[str, Noticed]) -> dict[str, list[str]]:
    """Where the odd cells are, each file read once."""
    pairs = [(file, row) for found in noticed.values() for file, row, _ in found.cells]
    where = dict(zip(pairs, _lines_of(files, pairs), strict=True))
    return {
        name: [where[file, row] for file, row, _ in found.cells] for name, found in noticed.items()
    }


def _lines_of(files: Sequence[CsvFile], pairs: Sequence[tuple[int, int]]) -> list[str]:
    lines = {
        number: file.lines([row for each, row in pairs if each == number])
        for number, file in enumerate(files)
    }
    out = []
    for file, row in pairs:
        line = lines[file].get(row)
        place = f"line {line:,}" if line is not None else f"row {row + 1:,}"
        out.append(f"{files[file].source.name}, {place}" if len(files) > 1 else place)
    return out
