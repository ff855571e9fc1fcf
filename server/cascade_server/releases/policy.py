"""Decides which of the available releases to load, and which answer; pure.

Loading and routing are separate. What is loaded follows from a table's policy and from later
requests. Which loaded version answers requests without a version is a matter of a few numbers,
which change in an instant.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from cascade_tables.errors import listing, shown

from cascade_server.errors import BadRequest, ConfigError, NotAllowed, UnknownTable

Available = Mapping[str, Collection[int]]


@dataclass(frozen=True)
class Policy:
    """Which versions of a table are loaded.

    Attributes:
        latest: this many of the highest; 0 for all.
        versions: only these, if there are any.
    """

    latest: int = 0
    versions: frozenset[int] = frozenset()

    @classmethod
    def parse(cls, text: str) -> Policy:
        """Parse "all", "latest", "latest:2" or "1,3".

        Raises:
            ConfigError: the text is none of these.
        """
        kind, colon, count = text.strip().partition(":")
        if text.strip() == "all":
            return cls()
        if kind == "latest" and (not colon or (count.isdecimal() and int(count))):
            return cls(latest=int(count or 1))
        numbers = [part.strip() for part in text.split(",")]
        if all(part.isdecimal() and int(part) > 0 for part in numbers):
            return cls(versions=frozenset(map(int, numbers)))
        raise ConfigError(
            f"version policy is {shown(text)}; allowed: all, latest, latest:N or versions as in 1,3"
        )

    def selected_from(self, available: Iterable[int]) -> set[int]:
        """Return the available versions that the policy selects."""
        found = set(available)
        if self.versions:
            return found & self.versions
        return set(sorted(found)[-self.latest :]) if self.latest else found

    def __str__(self) -> str:
        if self.versions:
            return ",".join(map(str, sorted(self.versions)))
        if not self.latest:
            return "all"
        return "latest" if self.latest == 1 else f"latest:{self.latest}"


@dataclass(frozen=True)
class TableState:
    """The desired state of one table.

    Attributes:
        also, without: versions that callers asked to load or unload, whatever the policy says.
        stable: the version that answers requests without a version; 0 for the highest loaded one.
        previous: the version that answered before; 0 if none did.
        canary, share: the version on trial, and its share of those requests; 0 if there is none.
    """

    also: frozenset[int] = frozenset()
    without: frozenset[int] = frozenset()
    stable: int = 0
    previous: int = 0
    canary: int = 0
    share: float = 0.0

    def answering(self, loaded: Collection[int]) -> int:
        """Return the loaded version that answers, apart from the canary."""
        return self.stable if self.stable in loaded else max(loaded, default=0)


NEW = TableState()


@dataclass(frozen=True)
class Desired:
    """The desired state of all tables.

    Attributes:
        default: the policy of tables without their own.
        policies: policies of individual tables; if there are any, no other table is served.
        tables: later changes, by table.
    """

    default: Policy = field(default_factory=Policy)
    policies: Mapping[str, Policy] = field(default_factory=dict)
    tables: Mapping[str, TableState] = field(default_factory=dict)

    def state_of(self, table: str) -> TableState:
        """Return the state of a table; if it was never changed, the default state."""
        return self.tables.get(table, NEW)

    def put(self, table: str, state: TableState) -> Desired:
        """Return a copy with another state of one table."""
        return replace(self, tables={**self.tables, table: state})

    def served(self, table: str) -> bool:
        """Return whether a table is meant to be served."""
        return not self.policies or table in self.policies or bool(self.state_of(table).also)

    def wanted(self, available: Available, loaded: Available) -> dict[str, tuple[int, ...]]:
        """Return the versions to load, by table; versions that answer, or may again, stay loaded.

        Args:
            available: versions in the repository.
            loaded: versions that are loaded now.
        """
        out = {}
        for table, versions in sorted(available.items()):
            if not self.served(table):
                continue
            state = self.state_of(table)
            base = set()
            if not self.policies or table in self.policies:
                base = self.policies.get(table, self.default).selected_from(versions)
                now = state.answering(loaded.get(table, ()))
                base |= {now, state.stable, state.previous, state.canary}
            found = ((base | state.also) & set(versions)) - state.without
            if found:
                out[table] = tuple(sorted(found))
        return out

    def after(
        self, before: Available, now: Available, share: float, first: bool = False
    ) -> Desired:
        """Return the desired state once other versions are loaded; it records the ones before.

        Args:
            before, now: loaded versions before and after, by table.
            share: the share of the requests for a new version, higher than the one that answers,
                which is then on trial. 0: it answers at once.
            first: whether nothing was loaded before.
        """
        out = self
        for table, versions in now.items():
            state, had = out.state_of(table), before.get(table, ())
            old = state.answering(had)
            if state.canary not in versions:
                state = replace(state, canary=0, share=0.0)
            fresh = max(set(versions) - set(had), default=0)
            if share > 0 and not first and old in versions and fresh > max(old, state.canary):
                state = replace(state, stable=old, canary=fresh, share=share)
            if state.stable not in versions:
                state = replace(state, stable=0)
            new = state.answering(versions)
            if old and new != old:
                state = replace(state, previous=old)
            if state.canary == new:
                state = replace(state, canary=0, share=0.0)
            out = out.put(table, state)
        return out

    # The changes that callers may request.

    def load(self, table: str, version: int, available: Available) -> Desired:
        """Load a version; 0 for what the table's policy says, even if it was unloaded.

        Raises:
            UnknownTable: the repository has no such release.
        """
        if not table:
            return self
        _check(table, version, available)
        state = self.state_of(table)
        if version:
            state = replace(state, also=state.also | {version}, without=state.without - {version})
            return self.put(table, state)
        state = replace(state, without=frozenset())
        if self.policies and table not in self.policies:
            state = replace(state, also=state.also | {max(available[table])})
        return self.put(table, state)

    def unload(self, table: str, version: int, loaded: Available) -> Desired:
        """Unload a version, or all of a table's (0).

        Raises:
            UnknownTable: the version is not loaded.
            NotAllowed: nothing would be left.
        """
        _check(table, version, loaded)
        state = self.state_of(table)
        gone = {version} if version else set(loaded[table])
        if not any(set(each) - (gone if name == table else set()) for name, each in loaded.items()):
            raise NotAllowed(
                f"{table} is all that this server serves; load another release before, or stop it"
            )
        state = replace(state, also=state.also - gone, without=state.without | gone)
        return self.put(table, state)

    def on_trial(self, table: str, version: int, share: float, loaded: Available) -> Desired:
        """Give a loaded version a share of the requests without a version.

        Raises:
            UnknownTable, BadRequest: the version is not loaded or answers already, or the share is
                invalid.
        """
        _check(table, version, loaded)
        if not 0 < share < 1:
            raise BadRequest(f"share is {share:g}; allowed: above 0 and below 1")
        state = self.state_of(table)
        stable = state.answering(loaded[table])
        if not version:
            raise BadRequest("version is 0; a canary is one of the loaded versions, by its number")
        if version == stable:
            raise BadRequest(
                f"{table} version {version} is the one that answers; a canary is another one"
            )
        return self.put(table, replace(state, stable=stable, canary=version, share=share))

    def promoted(self, table: str, loaded: Available, version: int = 0) -> Desired:
        """Let a version answer requests without a version; 0 for the canary.

        Raises:
            UnknownTable: the version is not loaded.
            NotAllowed: there is no canary.
        """
        _check(table, version, loaded)
        state = self.state_of(table)
        new = version or state.canary
        if not new:
            raise NotAllowed(f"{table} has no canary; name the version that is to answer")
        old = state.answering(loaded[table])
        pinned = 0 if new == max(loaded[table]) else new
        previous = old if old != new else state.previous
        return self.put(
            table, replace(state, stable=pinned, previous=previous, canary=0, share=0.0)
        )

    def rolled_back(self, table: str, loaded: Available) -> Desired:
        """End the trial of a canary; without one, return to the version that answered before.

        Raises:
            UnknownTable: there is no such table.
            NotAllowed: there is no earlier version.
        """
        _check(table, 0, loaded)
        state = self.state_of(table)
        if state.canary:
            return self.put(table, replace(state, canary=0, share=0.0))
        if state.previous not in loaded[table]:
            raise NotAllowed(
                f"{table} has neither a canary nor a version that answered before and is loaded; "
                f"loaded: {listing(sorted(loaded[table]))}"
            )
        old = state.answering(loaded[table])
        return self.put(table, replace(state, stable=state.previous, previous=old))

    # State that is kept over a restart.

    def to_dict(self) -> dict[str, Any]:
        """Convert to JSON, for `restored`."""
        return {
            table: {
                **{name: sorted(getattr(state, name)) for name in ("also", "without")},
                **{
                    name: getattr(state, name) for name in ("stable", "previous", "canary", "share")
                },
            }
            for table, state in sorted(self.tables.items())
            if state != NEW
        }

    def restored(self, tables: Mapping[str, Any]) -> Desired:
        """Return a copy with the states from `to_dict`.

        Raises:
            TypeError, ValueError, AttributeError: they are not from `to_dict`.
        """
        states = {}
        for table, each in tables.items():
            states[table] = TableState(
                also=frozenset(map(_version, each["also"])),
                without=frozenset(map(_version, each["without"])),
                stable=_version(each["stable"]),
                previous=_version(each["previous"]),
                canary=_version(each["canary"]),
                share=float(each["share"]),
            )
            if not 0 <= states[table].share < 1:
                raise ValueError(f"share of {shown(table)} is {each['share']}; allowed: 0 to 1")
        return replace(self, tables=states)


def _version(number: Any) -> int:
    """Check a version number; 0 stands for none.

    Raises:
        ValueError: no release can have this number.
    """
    if type(number) is not int or not 0 <= number < 2**63:
        raise ValueError(f"{shown(str(number))} is no version")
    return number


def _check(table: str, version: int, among: Available) -> None:
    if table not in among or not among[table]:
        raise UnknownTable.table(table, sorted(among))
    if version and version not in among[table]:
        raise UnknownTable.version(table, version, sorted(among[table]))
