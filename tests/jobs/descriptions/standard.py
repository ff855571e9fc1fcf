"""What OASIS Data Provenance Metadata 1.0 (Committee Specification Draft 01) asks of a document, as
a JSON schema: its required fields, their forms, and the codes that it lists.

The standard publishes a schema of its own; CASCADE_DPS_SCHEMA may name a copy of that file, which
the tests then hold documents to as well.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

import jsonschema

NAME = "https://docs.oasis-open.org/dps/prov-meta/v1.0/schema/data-provenance.json"
TEXT = {"type": "string", "minLength": 1}
URI = {"type": "string", "format": "uri"}
TIME = {"type": "string", "format": "date-time"}
VERSION = {"type": "string", "pattern": r"^(0|[1-9]\d*)(\.(0|[1-9]\d*)\.(0|[1-9]\d*).*)?$"}


def named(required: dict[str, Any], **optional: Any) -> dict[str, Any]:
    """An object with these fields, of which the first have to be there."""
    return {
        "type": "object",
        "required": list(required),
        "properties": {**required, **optional},
        "additionalProperties": False,
    }


def some(each: dict[str, Any]) -> dict[str, Any]:
    """A list of one or more, none of them twice."""
    return {"type": "array", "minItems": 1, "uniqueItems": True, "items": each}


def coded(*codes: str) -> dict[str, Any]:
    return named({"code": {"enum": list(codes)}}, **{"system": TEXT, "long-description": TEXT})


ORGANIZATIONS = some(named({"legal-name": TEXT}, address=some(TEXT), url=URI))
REGIONS = some(named({"country": TEXT}, state=TEXT))
METHODS = coded(
    *("data-augmentation", "data-mining", "feeds", "machine-generated-ml-ops", "other"),
    *("primary-user-source", "simulations", "social-media", "syndication", "transfer-learning"),
    *("user-generated-content", "web-scraping-crawling"),
)
PURPOSES = coded(
    *("alignment", "evaluation", "other", "pre-training", "production", "quality-assurance"),
    *("research", "staging-testing", "synthetic-data-generation"),
)
TECHNOLOGIES = (
    *("data-anonymization", "data-encryption", "data-masking", "data-minimization"),
    *("data-redaction", "differential-privacy", "federated-learning", "homomorphic-encryption"),
    *("k-anonymity", "l-diversity", "other", "pseudonymization"),
    *("secure-multi-party-computation", "t-closeness", "tokenization"),
)
RISK_REDUCING = named(
    {"tool-used": TEXT},
    technology={"enum": list(TECHNOLOGIES)},
    parameters=some(named({"name": TEXT}, value=TEXT)),
    results=some(TEXT),
)
HASHES = some(
    named(
        {
            "path": TEXT,
            "tree-hashes": some(
                named({"algorithm": TEXT, "value": {"pattern": "^[0-9a-fA-F]{32,}$"}})
            ),
        }
    )
)
IDS = named(
    {},
    **{
        "uuids": some({"type": "string", "format": "uuid"}),
        "uris": some(URI),
        "hashes": HASHES,
        "custom-ids": some(
            named({"method": TEXT, "value": TEXT}, **{"tool": TEXT, "parameter-list": some(TEXT)})
        ),
    },
)
TRACKING = named(
    {
        "current-release-date": TIME,
        "id": {"type": "string", "pattern": r"^\S(.*\S)?$"},
        "initial-release-date": TIME,
        "revision-history": some(named({"date": TIME, "number": VERSION, "summary": TEXT})),
        "status": {"enum": ["draft", "final", "interim"]},
        "version": VERSION,
    },
    generator=named({"engine": named({"name": TEXT}, version=VERSION)}, date=TIME),
)
SCHEMA = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    **named(
        {
            "$schema": {"const": NAME},
            "set": named(
                {
                    "category": {"type": "string", "pattern": r"^[^\s\-_.](.*[^\s\-_.])?$"},
                    "schema-version": {"const": "1.0"},
                    "publisher": named({"name": TEXT, "namespace": URI}),
                    "label": TEXT,
                    "tracking": TRACKING,
                },
                language={"type": "string", "pattern": "^[a-z]{2,3}$"},
            ),
            "source": named(
                {
                    "about": named({"content": TEXT, "purpose": TEXT}, scope=TEXT),
                    "id": {**IDS, "minProperties": 1},
                    "issuer": ORGANIZATIONS,
                    "location": URI,
                    "name": TEXT,
                    "data-version": VERSION,
                }
            ),
            "provenance": named(
                {
                    "origin-geography": REGIONS,
                    "date": {"type": "string", "format": "date"},
                    "generation-method": some(METHODS),
                },
                source=URI,
                format=some(TEXT),
            ),
            "use": named(
                {"intended-purpose": some(PURPOSES)},
                **{
                    "license": some(TEXT),
                    "processing-included": REGIONS,
                    "storage-allowed": REGIONS,
                    "data-risk-reducing": some(RISK_REDUCING),
                },
            ),
        }
    ),
}

FORMATS = jsonschema.FormatChecker(("date", "uuid"))


@FORMATS.checks("date-time", ValueError)
def is_time(value: object) -> bool:
    return not isinstance(value, str) or datetime.fromisoformat(value).tzinfo is not None


@FORMATS.checks("uri", ValueError)
def is_uri(value: object) -> bool:
    return not isinstance(value, str) or bool(urlsplit(value).scheme and " " not in value)
