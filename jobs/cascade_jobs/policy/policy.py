"""`policy.yaml`: which regions a table may be in, how sensitive it is, and whom it is trusted to.

    publisher: {name: Example Bank, url: "https://bank.example"}
    tables:
      credit: {residency: [eu], sensitivity: confidential, uses: [research, evaluation]}
      "*": {residency: anywhere, sensitivity: internal}
    executors:
      local: {region: eu, trust: restricted}
      cloud: {kind: ray, region: eu, trust: confidential, burst: true}
    burst: {max_epsilon: 3}

What it does not name it does not allow: a policy with a word misspelt is refused, and a table that
is not in it goes nowhere.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from cascade_tables.errors import FileRefused, listing
from cascade_tables.value_reader import ValueReader, where

from cascade_jobs.errors import PolicyRefused
from cascade_jobs.facts import DEFAULT_USES, USES, Terms

if TYPE_CHECKING:
    from cascade_tables.yaml_files import Place

# All tables that are not named.
OTHERS = "*"
ANYWHERE = "anywhere"
# Of executors: a server's own processes, and the workers of a Ray cluster. A server's are called as
# their kind unless it says otherwise.
LOCAL, RAY = "local", "ray"
KINDS = (LOCAL, RAY)


class Sensitivity(StrEnum):
    """How sensitive a table is, and with what an executor is trusted, from the least on."""

    PUBLIC = "public"
    INTERNAL = "internal"
    CONFIDENTIAL = "confidential"
    RESTRICTED = "restricted"

    def covers(self, other: Sensitivity) -> bool:
        """Whether who is trusted with this is trusted with the other."""
        levels = list(Sensitivity)
        return levels.index(self) >= levels.index(other)


@dataclass(frozen=True)
class TablePolicy:
    """What holds for a table.

    Attributes:
        residency: regions in which it may be; None: anywhere.
        sensitivity: of its rows.
        uses: what synthetic rows of it may be used for.
        license: of synthetic rows; "": nobody has said.
    """

    residency: tuple[str, ...] | None
    sensitivity: Sensitivity
    uses: tuple[str, ...] = DEFAULT_USES
    license: str = ""


@dataclass(frozen=True)
class ExecutorPolicy:
    """What holds for an executor.

    Attributes:
        name: what the policy calls it.
        kind: of `KINDS`.
        region: where it is.
        trust: the most sensitive tables that it may work on.
        burst: whether it is hired for a while: it gets releases with a bound of privacy only.
    """

    name: str
    kind: str
    region: str
    trust: Sensitivity
    burst: bool = False


@dataclass(frozen=True)
class Policy:
    """A policy, checked.

    Attributes:
        tables: by name; `OTHERS` stands for all that are not named.
        executors: by name.
        max_epsilon: of releases that burst executors get; None: they get none.
        publisher, publisher_url: who answers for synthetic rows; "": nobody has said.
    """

    tables: Mapping[str, TablePolicy]
    executors: Mapping[str, ExecutorPolicy]
    max_epsilon: float | None = None
    publisher: str = ""
    publisher_url: str = ""
    digest: str = field(init=False, default="")

    def __post_init__(self) -> None:
        content = {**asdict(self), "digest": ""}
        text = json.dumps(content, sort_keys=True).encode()
        # Tells it from any other policy, in the log and where decisions are kept.
        object.__setattr__(self, "digest", hashlib.sha256(text).hexdigest()[:16])

    def table(self, name: str) -> TablePolicy | None:
        """What holds for a table; None: the policy does not know it."""
        return self.tables.get(name, self.tables.get(OTHERS))

    def terms(self, name: str) -> Terms:
        """What is said of a table's synthetic rows."""
        found = self.table(name)
        if found is None:
            return Terms(self.publisher, self.publisher_url)
        return Terms(
            publisher=self.publisher,
            publisher_url=self.publisher_url,
            license=found.license,
            uses=found.uses,
            residency=found.residency or (),
            sensitivity=str(found.sensitivity),
        )


def parse_policy(text: str, name: str = "policy.yaml") -> Policy:
    """A policy from the text of a file.

    Args:
        text: YAML.
        name: what messages call the file.

    Raises:
        PolicyRefused: it is no policy; names the line, what is wrong and what is allowed.
    """
    # PyYAML is for who has such a file.
    from cascade_tables.yaml_files import parse_yaml

    try:
        content, lines = parse_yaml(text, name)
    except FileRefused as exc:
        raise PolicyRefused(str(exc)) from exc
    reader = _Reader(name, lines, PolicyRefused)
    top = reader.mapping(content, (), ("tables", "executors", "burst", "publisher"))
    for wanted in ("tables", "executors"):
        if not reader.mapping(top.get(wanted), (wanted,)):
            reader.refuse((wanted,), f"{wanted} names none; allowed: one or more")
    publisher = reader.mapping(top.get("publisher"), ("publisher",), ("name", "url"))
    burst = reader.mapping(top.get("burst"), ("burst",), ("max_epsilon",))
    return Policy(
        tables={
            table: _table(reader, each, ("tables", table)) for table, each in top["tables"].items()
        },
        executors={
            executor: _executor(reader, each, ("executors", executor))
            for executor, each in top["executors"].items()
        },
        max_epsilon=reader.optional(burst, "max_epsilon", ("burst",), reader.budget),
        publisher=reader.optional(publisher, "name", ("publisher",), reader.text) or "",
        publisher_url=reader.optional(publisher, "url", ("publisher",), reader.url) or "",
    )


def _table(reader: _Reader, content: Any, place: Place) -> TablePolicy:
    found = reader.mapping(content, place, ("residency", "sensitivity", "uses", "license"))
    uses = reader.optional(found, "uses", place, reader.uses)
    return TablePolicy(
        residency=reader.required(found, "residency", place, reader.residency),
        sensitivity=reader.required(found, "sensitivity", place, reader.level),
        uses=DEFAULT_USES if uses is None else uses,
        license=reader.optional(found, "license", place, reader.text) or "",
    )


def _executor(reader: _Reader, content: Any, place: Place) -> ExecutorPolicy:
    found = reader.mapping(content, place, ("kind", "region", "trust", "burst"))
    name = str(place[-1])
    if "kind" not in found and name not in KINDS:
        reader.refuse(place, f"executor {name} has no kind; allowed: {listing(KINDS)}")
    kind = reader.optional(found, "kind", place, reader.kind) or name
    if (name == LOCAL) != (kind == LOCAL):
        reader.refuse(
            place,
            f"executor {name} is of kind {kind}; allowed: the server's own executors, of kind "
            f"{LOCAL}, are called {LOCAL}, and no others are",
        )
    return ExecutorPolicy(
        name=name,
        kind=kind,
        region=reader.required(found, "region", place, reader.text),
        trust=reader.required(found, "trust", place, reader.level),
        burst=reader.optional(found, "burst", place, reader.truth) or False,
    )


class _Reader(ValueReader):
    """Reads what only a policy has."""

    def level(self, value: Any, place: Place) -> Sensitivity:
        """A sensitivity, or a trust."""
        return Sensitivity(self.one_of(value, place, tuple(map(str, Sensitivity))))

    def kind(self, value: Any, place: Place) -> str:
        """An executor's kind, one of `KINDS`; anything else is refused with its line."""
        return self.one_of(value, place, KINDS)

    def url(self, value: Any, place: Place) -> str:
        """An absolute URL or URN."""
        text = self.text(value, place)
        scheme, colon, rest = text.partition(":")
        if not (colon and rest and scheme.isalnum()) or any(mark in text for mark in ' <>"{}|^`\\'):
            self.wrong(place, value, "as https://bank.example")
        return text

    def truth(self, value: Any, place: Place) -> bool:
        """True or false, as YAML writes them; anything else is refused."""
        from cascade_tables.yaml_files import boolean

        found = boolean(value)
        if not isinstance(found, bool):
            self.wrong(place, value, "true or false")
        return found

    def budget(self, value: Any, place: Place) -> float:
        """A budget of differential privacy, from 0 on; anything else is refused."""
        is_number = type(value) in (int, float)
        if not is_number or not 0 <= value < math.inf:
            self.wrong(place, value, "a number from 0 on")
        return float(value)

    def residency(self, value: Any, place: Place) -> tuple[str, ...] | None:
        """Check and return the regions in which a table may be; None: anywhere."""
        if value == ANYWHERE:
            return None
        regions = [value] if isinstance(value, str) else value
        if not isinstance(regions, list) or not regions:
            self.wrong(place, value, f"a list of regions, or {ANYWHERE}")
        for number, each in enumerate(regions):
            self.text(each, (*place, number))
            if each == ANYWHERE:
                self.refuse(
                    place, f"{where(place)}: {ANYWHERE} stands among regions; allowed: it alone"
                )
        return tuple(dict.fromkeys(regions))

    def uses(self, value: Any, place: Place) -> tuple[str, ...]:
        """What rows may be used for."""
        uses = [value] if isinstance(value, str) else value
        if not isinstance(uses, list) or not uses:
            self.wrong(place, value, listing(USES))
        found = (
            self.one_of(each, (*place, number), tuple(USES)) for number, each in enumerate(uses)
        )
        return tuple(dict.fromkeys(found))
