"""OASIS Data Provenance Metadata 1.0, as OASIS publishes its schema: a copy lies in `oasis/`, with
where it is from and what it may be used for."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import jsonschema

_FORMATS = jsonschema.FormatChecker(("date", "uuid"))


@_FORMATS.checks("date-time", ValueError)
def _is_time(value: object) -> bool:
    return not isinstance(value, str) or datetime.fromisoformat(value).tzinfo is not None


@_FORMATS.checks("uri", ValueError)
def _is_uri(value: object) -> bool:
    return not isinstance(value, str) or bool(urlsplit(value).scheme and " " not in value)


def faults(document: object) -> list[str]:
    """What the standard's schema has against a document; its dialect is the draft's with formats
    that are to be checked."""
    return [each.message for each in _VALIDATOR.iter_errors(document)]


SCHEMA: dict[str, Any] = json.loads(
    Path(__file__).with_name("oasis").joinpath("data-provenance.json").read_text()
)
_VALIDATOR = jsonschema.Draft202012Validator(SCHEMA, format_checker=_FORMATS)
