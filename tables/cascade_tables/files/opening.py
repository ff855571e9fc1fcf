"""Opening of a file, a gzip file or standard input as text in its encoding."""

from __future__ import annotations

import atexit
import codecs
import gzip
import io
import shutil
import sys
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from cascade_tables.errors import DataError, shown

GZIP, PARQUET = b"\x1f\x8b", b"PAR1"
# Longest first: the marks of UTF-32 start with those of UTF-16.
MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
STDIN = "-"


@dataclass(frozen=True)
class Source:
    """A file that can be read repeatedly.

    Attributes:
        name: its name in messages.
        path: location of its bytes.
        gzipped: whether they are compressed.
        encoding: of its text.
    """

    name: str
    path: Path
    gzipped: bool
    encoding: str

    @property
    def is_utf8(self) -> bool:
        return self.encoding in ("utf-8", "utf-8-sig")

    @contextmanager
    def open(self) -> Iterator[BinaryIO]:
        """Open its bytes, decompressed.

        Raises:
            DataError: it cannot be read.
        """
        try:
            with gzip.open(self.path, "rb") if self.gzipped else self.path.open("rb") as file:
                yield file  # type: ignore[misc]
        except (gzip.BadGzipFile, zlib.error, EOFError, io.UnsupportedOperation) as exc:
            raise DataError(f"{self.name} is damaged: {exc}") from exc
        except OSError as exc:
            raise DataError(f"{self.name} cannot be read: {exc.strerror or exc}") from exc

    @contextmanager
    def text(self) -> Iterator[io.TextIOWrapper]:
        """Open its text, without newline translation.

        Raises:
            DataError: it cannot be read, or is not text in its encoding.
        """
        with self.open() as file:
            try:
                yield io.TextIOWrapper(file, encoding=self.encoding, newline="")
            except UnicodeError as exc:
                raise self.not_text(exc) from exc

    def not_text(self, exc: Exception) -> DataError:
        """Build the error for bytes that are not text in this encoding; says where and
        what to do.
        """
        where = _first_bad_byte(self) if self.is_utf8 else ""
        called = "UTF-8" if self.is_utf8 else self.encoding
        return DataError(
            f"{self.name} is not {called} text: {where or exc}; --encoding names another one, "
            "such as cp1252 (Western Europe), utf-16, gb18030 or shift_jis"
        )


def _first_bad_byte(source: Source) -> str:
    """Describe where a file stops being UTF-8, with line numbers as in an editor; Python's own
    message counts from the start of the last block read.
    """
    with source.open() as file:
        for number, line in enumerate(file, start=1):
            try:
                line.decode()
            except UnicodeDecodeError as exc:
                return f"line {number:,}, byte {exc.start + 1:,} is 0x{line[exc.start]:02x}"
    return ""


def source_of(path: Path, encoding: str | None = None) -> Source:
    """Prepare a file, or standard input if the path is "-", for repeated reading.

    Args:
        path: of the file.
        encoding: of its text; None: that of its byte-order mark, else UTF-8.

    Raises:
        DataError: it cannot be read, or the encoding is unknown.
    """
    if encoding is not None:
        try:
            codecs.lookup(encoding)
        except LookupError as exc:
            raise DataError(
                f"{shown(encoding)} is no known encoding; such are utf-8, latin-1, cp1252, utf-16"
            ) from exc
    name = str(path)
    if name == STDIN:
        path, name = spooled(sys.stdin.buffer), "standard input"
    try:
        with path.open("rb") as file:
            gzipped = file.read(2) == GZIP
    except OSError as exc:
        raise DataError(f"{name} cannot be read: {exc.strerror}") from exc
    source = Source(name, path, gzipped, encoding or "utf-8")
    with source.open() as file:
        begin = file.read(4)
    marked = next((known for mark, known in MARKS if begin.startswith(mark)), None)
    if marked is not None and encoding is None:
        source = Source(name, path, gzipped, marked)
    return source


def is_parquet(source: Source) -> bool:
    """Return whether a file begins like a Parquet file."""
    with source.open() as file:
        return file.read(4) == PARQUET


def spooled(stream: BinaryIO) -> Path:
    """Copy a stream to a temporary file, which is removed when the program ends."""
    with tempfile.NamedTemporaryFile(prefix="cascade-", delete=False) as file:
        atexit.register(Path(file.name).unlink, missing_ok=True)
        shutil.copyfileobj(stream, file, 1 << 20)
    return Path(file.name)
