"""OASIS Data Provenance Metadata 1.0, which the Data & Trust Alliance's Data Provenance Standards
have become: where data comes from, how it was made, and what it may be used for.

Codes are those that the standard lists. It requires an issuer and a geography; where nobody has
said, that is said.
"""

from __future__ import annotations

import hashlib
import json
import re
from typing import Any

from cascade_jobs.descriptions.known import SOFTWARE, UNSTATED, Known

SCHEMA = "https://docs.oasis-open.org/dps/prov-meta/v1.0/schema/data-provenance.json"
SCHEMA_VERSION = "1.0"
UNSTATED_NAMESPACE = "urn:cascade:not-stated"
# The standard's versions are whole numbers, or Semantic Versioning's.
_VERSION = re.compile(r"(?:0|[1-9]\d*)(?:\.(?:0|[1-9]\d*)\.(?:0|[1-9]\d*))?")


def provenance(known: Known) -> dict[str, Any]:
    """The metadata, in the standard's four groups."""
    return {
        "$schema": SCHEMA,
        "set": _set(known),
        "source": _source(known),
        "provenance": _provenance(known),
        "use": _use(known),
    }


def _set(known: Known) -> dict[str, Any]:
    """What these metadata are, who publishes them, and what they were made by and when."""
    terms, released = known.facts.terms, _release_time(known)
    engine = {"name": SOFTWARE}
    if _VERSION.fullmatch(known.facts.software):
        engine["version"] = known.facts.software
    return {
        "category": "synthetic data",
        "language": "en",
        "schema-version": SCHEMA_VERSION,
        "publisher": {
            "name": terms.publisher or UNSTATED,
            "namespace": terms.publisher_url or UNSTATED_NAMESPACE,
        },
        "label": known.title,
        "tracking": {
            "id": known.id,
            "current-release-date": released,
            "initial-release-date": released,
            "generator": {"date": released, "engine": engine},
            "revision-history": [
                {"date": released, "number": "1", "summary": "As the rows were made."}
            ],
            "status": "final",
            "version": "1",
        },
    }


def _source(known: Known) -> dict[str, Any]:
    """What the rows are, what identifies them, and who issues them."""
    terms = known.facts.terms
    issuer = {"legal-name": terms.publisher or UNSTATED}
    if terms.publisher_url:
        issuer["url"] = terms.publisher_url
    return {
        "about": {
            "content": f"{known.title}. {known.method}",
            "purpose": " ".join(meaning for _, meaning in known.uses) or UNSTATED,
            "scope": f"{known.privacy} {known.limits}",
        },
        "id": _identifiers(known),
        "issuer": [issuer],
        "location": f"urn:uuid:{known.id}",
        "name": known.title,
        "data-version": str(known.made.version),
    }


def _identifiers(known: Known) -> dict[str, Any]:
    """A UUID, the files' hashes, and what the same rows can be made from again."""
    made = known.made
    return {
        "uuids": [known.id],
        "hashes": [
            {
                "path": part.name,
                "tree-hashes": [{"algorithm": "sha256", "value": part.sha256}],
            }
            for part in known.parts
        ],
        "custom-ids": [
            {"method": "release-digest", "tool": SOFTWARE, "value": made.release},
            {
                "method": "sha256-of-specification",
                "tool": SOFTWARE,
                "parameter-list": [
                    f"{name}={json.dumps(value, ensure_ascii=False)}"
                    for name, value in known.properties.items()
                ],
                "value": hashlib.sha256(made.to_json().encode()).hexdigest(),
            },
        ],
    }


def _provenance(known: Known) -> dict[str, Any]:
    """Where the rows come from, when and how they were made."""
    return {
        "source": f"urn:cascade:release:{known.made.release}",
        "origin-geography": [
            {"country": each} for each in known.facts.terms.residency or (UNSTATED,)
        ],
        "date": _release_time(known)[:10],
        "generation-method": [
            {"code": "machine-generated-ml-ops", "long-description": known.method}
        ],
        # Parquet is none of the formats that the standard's next draft lists.
        "format": ["other"],
    }


def _release_time(known: Known) -> str:
    """When the release was made, as RFC 3339 writes UTC."""
    return known.released.isoformat().replace("+00:00", "Z")


def _use(known: Known) -> dict[str, Any]:
    """What the rows may be used for and where, and what protects those whom they were made from."""
    terms, epsilon = known.facts.terms, known.facts.epsilon
    reduced: dict[str, Any] = {
        "tool-used": SOFTWARE,
        "technology": "other" if epsilon is None else "differential-privacy",
        "parameters": [{"name": "epsilon", "value": "null" if epsilon is None else f"{epsilon:g}"}],
        "results": [known.privacy],
    }
    out: dict[str, Any] = {
        "intended-purpose": [
            {"code": code, "long-description": meaning} for code, meaning in known.uses
        ],
        "data-risk-reducing": [reduced],
    }
    if terms.license:
        out["license"] = [terms.license]
    if terms.residency:
        regions = [{"country": each} for each in terms.residency]
        out["processing-included"] = out["storage-allowed"] = regions
    return out
