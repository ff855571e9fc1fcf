"""What is known of a job's release, and of the terms of its rows, when the job is asked for.

It is written down with the job, so that what is said of the rows is the same whenever they are
made, and whatever becomes of the release and of the policy meanwhile.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from cascade_tables.releases.release import Release

from cascade_jobs.errors import SpecificationRefused

# What rows are for where nobody has said, in the words of the Data Provenance Standards.
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
    """What holds for a table's rows, by the server's policy.

    Attributes:
        publisher, publisher_url: who answers for the rows; "": nobody has said.
        license: a URL or a name; "": nobody has said.
        uses: what they may be used for, of `USES`.
        residency: regions in which they may be; empty: nobody has said, or anywhere.
        sensitivity: of the table; "": nobody has said.
    """

    publisher: str = ""
    publisher_url: str = ""
    license: str = ""
    uses: tuple[str, ...] = DEFAULT_USES
    residency: tuple[str, ...] = ()
    sensitivity: str = ""


@dataclass(frozen=True)
class ColumnFacts:
    """A column that is written: its name, how it is modelled (`Kind`), and whether it may be
    NULL."""

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
        """The canonical form: equal for equal facts."""
        return json.dumps(asdict(self), sort_keys=True, separators=(",", ":"), ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> ReleaseFacts:
        """What `to_json` gave.

        Raises:
            SpecificationRefused: it is none.
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
    """What is known of a release.

    Args:
        release: verified.
        columns: that are written, in their order.
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
