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
    terms, made = known.facts.terms, known.made
    released = known.released.isoformat().replace("+00:00", "Z")
    issuer = {"legal-name": terms.publisher or UNSTATED}
    if terms.publisher_url:
        issuer["url"] = terms.publisher_url
    engine = {"name": SOFTWARE}
    if _VERSION.fullmatch(known.facts.software):
        engine["version"] = known.facts.software
    return {
        "$schema": SCHEMA,
        "set": {
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
        },
        "source": {
            "about": {
                "content": f"{known.title}. {known.method}",
                "purpose": " ".join(meaning for _, meaning in known.uses) or UNSTATED,
                "scope": f"{known.privacy} {known.limits}",
            },
            "id": {
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
            },
            "issuer": [issuer],
            "location": f"urn:uuid:{known.id}",
            "name": known.title,
            "data-version": str(made.version),
        },
        "provenance": {
            "source": f"urn:cascade:release:{made.release}",
            "origin-geography": [{"country": each} for each in terms.residency or (UNSTATED,)],
            "date": released[:10],
            "generation-method": [
                {"code": "machine-generated-ml-ops", "long-description": known.method}
            ],
            # Parquet is none of the formats that the standard's next draft lists.
            "format": ["other"],
        },
        "use": _use(known),
    }


def _use(known: Known) -> dict[str, Any]:
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
