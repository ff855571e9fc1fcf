"""What a URL asks of a database: one statement, found by where strings and comments end."""

from __future__ import annotations

import re
from collections.abc import Iterator

from cascade_tables.errors import DataError, shown

# What a semicolon may lie in without ending a statement, alike in all databases: a string and a
# quoted name, in which the quote stands twice for itself, and comments.
_ALIKE = r"""'(?:[^']|'')*(?:'|$) | "(?:[^"]|"")*(?:"|$) | --[^\n]* | /\*.*?(?:\*/|$)"""
_BACKTICKS = r"`(?:[^`]|``)*(?:`|$)"
# In which a backslash stands before what it makes part of the string.
_ESCAPED = r"""'(?:[^'\\]|\\.|'')*(?:'|$) | "(?:[^"\\]|\\.|"")*(?:"|$)"""
_DOLLARS = r"(?<![\w$])\$(?P<tag>(?:[^\W\d]\w*)?)\$.*?(?:\$(?P=tag)\$|$)"
_POSTGRES = rf"(?<!\w)[eE]'(?:[^'\\]|\\.|'')*(?:'|$) | {_DOLLARS}"
_BY_SCHEME = {
    "postgresql": _POSTGRES,
    "postgres": _POSTGRES,
    "duckdb": _POSTGRES,
    "sqlite": rf"{_BACKTICKS} | \[[^\]]*(?:\]|$)",
    "mssql": r"\[(?:[^\]]|\]\])*(?:\]|$)",
    "mysql": rf"{_ESCAPED} | {_BACKTICKS} | \#[^\n]*",
    "mariadb": rf"{_ESCAPED} | {_BACKTICKS} | \#[^\n]*",
}
_COMMENT = re.compile(r"--|/\*|#")


def one_query(text: str, scheme: str) -> str:
    """A query without what follows it, which may be no more than semicolons and comments.

    A driver that is given several statements may run the first, all, or none of them; so none is
    given several.

    Args:
        text: behind a URL's `#`.
        scheme: of the URL, which says how the database's strings are written.

    Raises:
        DataError: there is another statement behind it.
    """
    end = next((each.start() for each in _tokens(text, scheme) if each[0] == ";"), len(text))
    rest = text[end + 1 :]
    if not _is_empty(rest, scheme):
        raise DataError(
            f"{shown(rest.strip())} is a second statement; allowed: one query, which begins with "
            "select or with"
        )
    return text[:end].strip()


def _is_empty(text: str, scheme: str) -> bool:
    """Whether there is nothing in it but comments and what separates."""
    for found in reversed(list(_tokens(text, scheme))):
        if _COMMENT.match(found[0]):
            text = text[: found.start()] + text[found.end() :]
    return not text.strip(" \t\r\n;")


def _tokens(text: str, scheme: str) -> Iterator[re.Match[str]]:
    own = _BY_SCHEME.get(scheme.partition("+")[0])
    pattern = f"{own} | {_ALIKE} | ;" if own else f"{_ALIKE} | ;"
    return re.finditer(pattern, text, re.DOTALL | re.VERBOSE)
