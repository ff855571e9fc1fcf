"""Facts about a job's release and about the terms of its rows, recorded when the job is submitted.

They are stored with the job, so that descriptions of the rows do not depend on when they are made,
or on later changes of the release and of the policy.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from cascade_tables.releases.release import Release

from cascade_jobs.errors import SpecificationRefused

# Default uses of rows, in the words of the Data Provenance Standards.
USES = {
    "alignment": "Have models answer as people want them to.",
    "evaluation": "Measure models, and compare them.",
    "pre-training": "Train models that others go on with.",
    "production": "Train or run what decides in production.",
    "quality-assurance": "Test software with rows that look real.",
    "research": "Research and development.",
    "staging-testing": "Fill systems that are no production.",
    "synthetic-data-generation": "Make further synthetic rows.",
}
DEFAULT_USES = ("evaluation", "quality-assurance", "research", "staging-testing")


@dataclass(frozen=True)
class Terms:
    """Terms of a table's rows, by the server's policy.

    Attributes:
        publisher, publisher_url: who is responsible for the rows; "": unspecified.
        license: a URL or a name; "": unspecified.
        uses: permitted uses, from `USES`.
        residency: regions in which they may be stored; empty: unspecified, or anywhere.
        sensitivity: of the table; "": unspecified.
    """

    publisher: str = ""
    publisher_url: str = ""
    license: str = ""
    uses: tuple[str, ...] = DEFAULT_USES
    residency: tuple[str, ...] = ()
    sensitivity: str = ""


@dataclass(frozen=True)
class ColumnFacts:
    """A written column: its name, how it is modelled (`Kind`), and whether it may be NULL."""

    name: str
    kind: str
    nullable: bool


@dataclass(frozen=True)
class ReleaseFacts:
    """A release and its terms, as far as is said of rows.

    Attributes:
        created: when it was made, ISO 8601, UTC.
        epsilon: of its differential privacy; None: no bound is known.
        files: SHA-256 of its files, by path.
        columns: that the job writes, in their order.
        software: the version of this package that made the release; "": not known.
        terms: of the rows.
    """

    created: str
    epsilon: float | None
    files: Mapping[str, str]
    columns: Sequence[ColumnFacts]
    software: str = ""
    terms: Terms = field(default_factory=Terms)

    def to_json(self) -> str:
        """Return the canonical form: equal for equal facts."""
        return json.dumps(asdict(self), sort_keys=True, separators=(",", ":"), ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> ReleaseFacts:
        """Restore the output of `to_json`.

        Raises:
            SpecificationRefused: it is invalid.
        """
        try:
            content: dict[str, Any] = json.loads(text)
            columns = tuple(ColumnFacts(**each) for each in content.pop("columns"))
            terms = content.pop("terms")
            uses, residency = tuple(terms.pop("uses")), tuple(terms.pop("residency"))
            terms = Terms(uses=uses, residency=residency, **terms)
            return cls(columns=columns, terms=terms, **content)
        except (ValueError, TypeError, LookupError, AttributeError, RecursionError) as exc:
            raise SpecificationRefused(f"these are no facts of a release: {exc!r}") from exc


def facts_of(release: Release, columns: Sequence[str], terms: Terms) -> ReleaseFacts:
    """Collect the facts about a release.

    Args:
        release: verified.
        columns: the written columns, in their order.
        terms: of the table's rows.
    """
    manifest, schema = release.manifest, release.codec.schema
    return ReleaseFacts(
        created=manifest.created,
        epsilon=manifest.epsilon,
        files=dict(sorted(manifest.files.items())),
        columns=tuple(
            ColumnFacts(name, str(schema[name].kind), schema[name].nullable) for name in columns
        ),
        software=manifest.libraries.get("cascade-synthesis", ""),
        terms=terms,
    )
