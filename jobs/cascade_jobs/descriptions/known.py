"""Facts about a job's rows for all descriptions, collected once and in plain words.

They do not depend on the run that made the files, or on its time: the date is the release's, since
rows follow from a release and a seed alone. So descriptions have the same bytes for the same job,
like the files.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from cascade_tables.errors import listing

from cascade_jobs.errors import SpecificationRefused
from cascade_jobs.facts import USES, ReleaseFacts
from cascade_jobs.job import Part
from cascade_jobs.specification import Specification

SOFTWARE = "Cascade"
UNSTATED = "not stated"
# Date of a release whose manifest has none.
NO_DATE = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Known:
    """Facts about a job's rows.

    Attributes:
        made: the specification.
        facts: about the release, and the terms.
        parts: the files with rows.
    """

    made: Specification
    facts: ReleaseFacts
    parts: Sequence[Part]

    @property
    def id(self) -> str:
        """A UUID that is the same for the same specification."""
        return str(uuid.uuid5(uuid.NAMESPACE_URL, "urn:cascade:job:" + self.made.to_json()))

    @property
    def title(self) -> str:
        """Title of the rows: their number and table."""
        return f"{self.made.rows:,} synthetic rows of {self.made.table}"

    @property
    def released(self) -> datetime:
        """When the release was made, UTC."""
        try:
            found = datetime.fromisoformat(self.facts.created)
        except ValueError:
            return NO_DATE
        found = found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
        return found.replace(microsecond=0)

    @property
    def release(self) -> str:
        """Description of the release."""
        return f"{self.made.table} version {self.made.version} ({self.made.release})"

    @property
    def method(self) -> str:
        """Description of how the rows were made."""
        software = f"{SOFTWARE} {self.facts.software}".strip()
        return (
            f"Machine-made: drawn by the {self.made.tier} of release {self.release}, a model that "
            f"{software} has learnt from the table, with seed {self.made.seed}. No row is a row of "
            f"the table. {self.conditions}"
        )

    @property
    def conditions(self) -> str:
        """Description of the values that were given for the rows."""
        said = []
        if self.made.given:
            given = ", ".join(f"{name} = {json.dumps(v)}" for name, v in self.made.given.items())
            said.append(f"All rows share what was given: {given}.")
        if self.made.balance is not None:
            counts = listing(
                f"{json.dumps(value)}: {rows:,}" for value, rows in self.made.balance.counts
            )
            said.append(f"Rows by value of {self.made.balance.column} were asked for: {counts}.")
        if self.made.conditions:
            said.append(
                f"They complete rows that a caller has sent, {self.made.draws:,} for each, whose "
                f"SHA-256 is {self.made.conditions}; what these have is in the rows as it came."
            )
        return " ".join(said) or "Nothing was given beforehand."

    @property
    def privacy(self) -> str:
        """Description of the privacy guarantees for persons in the table."""
        epsilon = self.facts.epsilon
        if epsilon is None:
            return (
                "No bound of privacy is known: the release was not learnt with differential "
                "privacy (epsilon is null). Rows may tell of people in the table; treat them as "
                "the table."
            )
        rest = (
            " What callers gave is not protected by it."
            if self.made.conditions or self.made.given
            else ""
        )
        return f"The release is differentially private with epsilon {epsilon:g}.{rest}"

    @property
    def limits(self) -> str:
        """Description of unsuitable uses of the rows."""
        return (
            "Rows follow what a model has learnt; what is rare in the table may be rarer, or "
            "missing. The dates given are those of the release: rows follow from it and from the "
            "seed, whenever they are made."
        )

    @property
    def uses(self) -> list[tuple[str, str]]:
        """Permitted uses of the rows: codes, and their meaning."""
        return [(code, USES[code]) for code in self.facts.terms.uses if code in USES]

    @property
    def properties(self) -> dict[str, object]:
        """Machine-readable properties by name; None: unknown."""
        made, facts = self.made, self.facts
        return {
            "synthetic": True,
            "table": made.table,
            "version": made.version,
            "release": made.release,
            "releaseFiles": dict(facts.files),
            "seed": made.seed,
            "tierMix": {made.tier: 1.0},
            "epsilon": facts.epsilon,
            "rows": made.rows,
            "given": dict(made.given),
            "balance": None
            if made.balance is None
            else {
                "column": made.balance.column,
                "counts": [list(each) for each in made.balance.counts],
            },
            "conditionsSha256": made.conditions or None,
            "draws": made.draws,
        }


def document(content: object) -> bytes:
    """Format readable JSON; the same bytes for equal contents."""
    try:
        text = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False)
    except ValueError as exc:
        raise SpecificationRefused(f"a number of a description is none: {exc}") from exc
    return (text + "\n").encode()
