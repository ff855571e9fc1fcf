"""Applies the decisions to the current state: the file, issuers' keys, clocks and counts.

An accepted caller is cached by its credential, until that expires: each process hashes a key or
verifies a token once, and after that a call costs a few dictionary look-ups.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from cascade_server.access import rates
from cascade_server.access.access_file import last_good_access
from cascade_server.access.deciding import (
    AUTHORIZATION,
    KINDS,
    OPEN,
    Fields,
    Presented,
    Refused,
    caller_of_token,
    identify,
    may_call,
    not_permitted,
    presented,
)
from cascade_server.access.grants import AccessConfig, Caller, Holding, Kind, Reason
from cascade_server.counts.shared.last_good import LastGood
from cascade_server.counts.shared.tenant_counts import MICRO, NANO, PlaceCounts
from cascade_server.errors import ConfigError

if TYPE_CHECKING:
    from cascade_server.access.issuers import Issuers

log = logging.getLogger("cascade.access")

# Callers cached by credential, and by headers; a full cache of either kind is emptied.
MOST_KNOWN, MOST_SEEN = 4096, 1024
REASONS = tuple(Reason)


def tells_nobody(_refused: Refused, _path: str, _address: str) -> None:
    """Do nothing; the default callback for refusals."""


class Peer(Protocol):
    """The other end of a connection, as the transport knows it."""

    @property
    def address(self) -> str:
        """The address, unique among the connections of the process."""

    @property
    def certificate_names(self) -> tuple[str, ...]:
        """The names in the verified client certificate."""


class Access:
    """The access control of a process.

    Args:
        path: the path of the access file.
        counts: the counts of this process.
        monotonic, wall: the machine's monotonic nanoseconds, and seconds since 1970-01-01 UTC.
        refused: called with each refusal, the method's path and the caller's address.
        knows_connections: whether the transport reports closed connections to `gone`; if not, the
            number of a tenant's connections is unknown.
        file: the file as shared with other processes of the server; None: not shared.

    Attributes:
        holding, config: the current configuration.
        reloads, failed_reloads: numbers of reloads of the file.

    Raises:
        ConfigError: the file cannot be read or is invalid, and no process of the server has ever
            read a valid one.
    """

    def __init__(
        self,
        path: Path,
        counts: PlaceCounts,
        monotonic: Callable[[], int] = time.monotonic_ns,
        wall: Callable[[], float] = time.time,
        refused: Callable[[Refused, str, str], None] = tells_nobody,
        knows_connections: bool = True,
        file: LastGood[AccessConfig] | None = None,
    ) -> None:
        self.path, self.counts, self._knows_connections = path, counts, knows_connections
        self._monotonic, self._wall, self._told = monotonic, wall, refused
        self._requests, self._rows = counts.all.requests, counts.all.rows
        # Paths that each cached caller has called and may call.
        self._allowed: dict[Caller, set[str]] = {}
        self._known: dict[str | tuple[str, ...], Caller] = {}
        self._seen: dict[int, tuple[Fields, tuple[str, ...], Caller]] = {}
        # The connections of tenants with a limit on them, by address.
        self._connections: dict[str, set[int]] = {}
        self.issuers: Issuers | None = None
        self.file = file or last_good_access(path)
        config, wrong = self.file.to_begin_with()
        self.reloads, self.failed_reloads = 0, int(wrong is not None)
        self._use(config)

    def _use(self, config: AccessConfig) -> None:
        slots = self.counts.all.slots(config.tenants)
        if config.issuers and self.issuers is None:
            # Imported here because PyJWT is needed only if tokens are accepted.
            from cascade_server.access.issuers import Issuers

            self.issuers = Issuers(self.forget, lambda: self._monotonic() / NANO)
        if self.issuers is not None:
            self.issuers.use(config.issuers)
        # Set before the caches are emptied: another thread that identifies a caller meanwhile then
        # uses either the old state and the old caches, or the new state.
        self.holding = Holding(config, slots)
        self.forget()
        if not self._knows_connections:
            limited = [name for name, each in config.tenants.items() if each.grant.connections]
            if limited:
                log.warning(
                    "limits.connections of %s are not kept, for over grpcio nobody knows when a "
                    "connection ends; `--transport http2` keeps them",
                    ", ".join(limited[:3]) + (", ..." if len(limited) > 3 else ""),
                )

    @property
    def config(self) -> AccessConfig:
        """The current content of the file."""
        return self.holding.config

    def forget(self) -> None:
        """Empty the caches of callers, because the tenants or an issuer's keys have changed."""
        self._known, self._seen, self._allowed = {}, {}, {}

    def reload(self) -> bool:
        """Reload the file, as `take`; `Watch` does the same outside the event loop."""
        try:
            return self.take(self.file.now())
        except ConfigError as exc:
            return self.take(exc)

    def take(self, found: AccessConfig | ConfigError) -> bool:
        """Apply the content of the reloaded file, unless it is invalid.

        Returns:
            Whether the configuration has changed.
        """
        if isinstance(found, ConfigError):
            self.failed_reloads += 1
            log.error("%s; what held before still does", found)
            return False
        if found.digest == self.config.digest:
            return False
        self._use(found)
        self.reloads += 1
        log.warning("%s was read anew; its tenants: %d", self.path, len(found.tenants))
        return True

    # Identifying callers.

    def caller(self, headers: Fields, certificate_names: tuple[str, ...] = ()) -> Caller | Refused:
        """Identify the caller of a call, without counting the call.

        Args:
            headers: the call's headers.
            certificate_names: the names in the connection's certificate.
        """
        # Both caches are fetched once, in this order: `forget` replaces them in the other order, so
        # that a caller identified by an old configuration is not cached for long.
        all_seen, all_known = self._seen, self._known
        # The headers of a connection's calls are the same object as long as they are equal; see
        # `transport.http2.headers.Heads`.
        seen = all_seen.get(id(headers))
        if seen is not None and seen[0] is headers and seen[1] == certificate_names:
            found = seen[2]
            if self._wall() < found.until:
                return found
        shown = presented(headers)
        known = None if shown.is_malformed else all_known.get(shown.secret or certificate_names)
        if known is None or self._wall() >= known.until:
            identified = self._identify(shown, certificate_names)
            if isinstance(identified, Refused):
                return identified
            known = identified
            if len(all_known) >= MOST_KNOWN:
                self.forget()
            all_known[shown.secret or certificate_names] = known
        if len(all_seen) >= MOST_SEEN:
            all_seen.clear()
        # The entry keeps the headers alive, so that no other object can get the same id.
        all_seen[id(headers)] = headers, certificate_names, known
        return known

    def _identify(self, shown: Presented, certificate_names: tuple[str, ...]) -> Caller | Refused:
        holding = self.holding
        judge = partial(self._judge, holding.config)
        found = identify(holding.config, shown, certificate_names, self._wall(), judge)
        if isinstance(found, Refused):
            return found
        return replace(found, slot=holding.slots[found.tenant])

    def _judge(self, config: AccessConfig, token: str, now: float) -> Caller | Refused:
        """Identify the caller of a token."""
        if self.issuers is None:
            return Refused(Reason.BAD_CREDENTIAL, "tokens are not taken here; API keys are")
        from cascade_server.access import tokens
        from cascade_server.access.issuers import SOON

        issuer = None
        try:
            issuer = tokens.issuer_of(tokens.unverified(token)[1], config.issuers)
            keys = self.issuers.keys(issuer)
            if keys is None:
                message = "the keys of the token's issuer are not there yet"
                return Refused(Reason.KEYS_NOT_READY, message, seconds=SOON)
            claims = tokens.verify(token, issuer, keys, now)
        except tokens.TokenRefused as exc:
            if exc.unknown_kid and issuer is not None:
                seconds = self.issuers.wanted(issuer, exc.unknown_kid)
                if seconds is not None:
                    message = "the token's key is not there yet; its issuer's are fetched anew"
                    return Refused(Reason.KEYS_NOT_READY, message, seconds=seconds)
            return Refused(exc.reason, str(exc))
        tenant = config.tenant_of_token(issuer.name, claims)
        expires = tokens.time_of(claims, "exp") + issuer.leeway
        return caller_of_token(tenant, issuer, str(claims.get("sub", "")), expires)

    # Authorization.

    def door(self, path: str, headers: Fields, peer: Peer) -> Refused | None:
        """Decide about a call at its headers, and count it.

        Args:
            path: the method's path.
            headers: the call's headers.
            peer: the other end of the call's connection.

        Returns:
            Why the call is refused; None: it is accepted.
        """
        if path in OPEN:
            return None
        caller = self.caller(headers, peer.certificate_names)
        if isinstance(caller, Refused):
            return self._refuse(caller, path, peer.address)
        allowed = self._allowed.get(caller)
        if allowed is not None and path in allowed:
            refused = None
        elif (refused := may_call(caller, path)) is None and path in KINDS:
            self._allowed.setdefault(caller, set()).add(path)
        if refused is None and caller.grant.connections is not None and self._knows_connections:
            refused = self._join(caller, peer.address)
        refused = refused or self.request(caller)
        if refused is not None:
            return self._refuse(refused, path, peer.address)
        self.counts.call(caller.slot)
        return None

    def handler(self, path: str, headers: Fields, peer: Peer, at_door: bool) -> Caller | Refused:
        """Identify the caller of a call at the start of its handler.

        Args:
            path, headers, peer: as for `door`.
            at_door: whether `door` has accepted the call.
        """
        if not at_door and (refused := self.door(path, headers, peer)) is not None:
            return refused
        caller = self.caller(headers, peer.certificate_names)
        if isinstance(caller, Refused):
            return self._refuse(caller, path, peer.address)
        if path not in KINDS:
            # A method without an entry in `KINDS` is closed to everybody.
            return self._refuse(not_permitted(caller, Kind.RELEASES), path, peer.address)
        return caller

    def _refuse(self, refused: Refused, path: str, address: str = "") -> Refused:
        self.counts.refused(REASONS.index(refused.reason))
        self._told(refused, path, address)
        return refused

    def request(self, caller: Caller) -> Refused | None:
        """Take a token of a tenant's request rate; return a refusal if there is none.

        Called for each request of a stream; `door` does the same for a call.
        """
        rate = caller.grant.requests
        if rate is None:
            return None
        full_at, slot = self._requests, caller.slot
        full = rates.taken(full_at[slot], self._monotonic(), rate)
        if full < 0:
            message = f"more than {rate.per_second:g} requests a second, this caller's rate"
            return Refused(Reason.REQUEST_RATE, message, caller.tenant, -full / NANO)
        # If two processes write at the same moment, one write is lost. That is rare, and a lock on
        # every call would cost more.
        full_at[slot] = full
        return None

    def rows(self, caller: Caller, wanted: int = 0) -> Refused | None:
        """Return why a tenant may request no rows now; None: it may.

        Args:
            caller: the caller.
            wanted: rows that the rest of the day's quota must cover. If the request turns out to
                need more, the excess is missing for the next one.
        """
        grant = caller.grant
        rate = grant.rows
        if rate is not None and (
            waits := rates.wait(self._rows[caller.slot], self._monotonic(), rate)
        ):
            message = f"more than {rate.per_second:g} rows a second, this caller's rate"
            return Refused(Reason.ROW_RATE, message, caller.tenant, waits / NANO)
        return self.quota(caller, wanted) if grant.has_quota else None

    def quota(self, caller: Caller, wanted: int = 0) -> Refused | None:
        """Return why a tenant may have no more rows today; as `rows`, without the rate."""
        grant, counts, now = caller.grant, self.counts.all, self._wall()
        day = rates.day_of(now)
        if grant.rows_a_day is not None:
            left = grant.rows_a_day - counts.today("rows", caller.slot, day)
            if left < max(1, wanted):
                message = (
                    f"{max(0, left):,} are left of the {grant.rows_a_day:,} rows that this caller "
                    "may have a day (UTC)"
                )
                return Refused(Reason.ROW_QUOTA, message, caller.tenant)
        if grant.cost_a_day is not None and self.cost_today(caller.slot) >= grant.cost_a_day:
            message = f"{grant.cost_a_day:g}, what this caller may spend a day (UTC), is spent"
            return Refused(Reason.COST_QUOTA, message, caller.tenant)
        return None

    def charge(self, caller: Caller, rows: int) -> None:
        """Charge rows to a tenant.

        Args:
            caller: the caller.
            rows: number of rows.
        """
        self.hold(caller, rows, of_rate=True)
        self.counts.answered(caller.slot, rows)

    def owes(self, caller: Caller) -> float:
        """Return the seconds until a tenant's rate allows more rows."""
        rate = caller.grant.rows
        if rate is None:
            return 0.0
        return rates.wait(self._rows[caller.slot], self._monotonic(), rate) / NANO

    def hold(self, caller: Caller, rows: int, of_rate: bool = False) -> rates.Held:
        """Hold rows of a tenant's quota until it is known whether the tenant gets them.

        Args:
            caller: the caller.
            rows: number of rows.
            of_rate: whether to take them from the rate too; False if no caller waits for them.

        Returns:
            The held rows; see `give_back`.
        """
        grant, slot, day, full = caller.grant, caller.slot, 0, 0
        if grant.has_quota:
            day = rates.day_of(self._wall())
            self.counts.used(slot, day, rows)
        if of_rate and grant.rows is not None:
            full_at = self._rows
            full = rates.full_at(full_at[slot], self._monotonic(), grant.rows, rows)
            full_at[slot] = full
        return rates.Held(rows, day, full)

    def give_back(self, caller: Caller, held: rates.Held) -> None:
        """Return rows that the tenant did not get, to the quota of their day and to the rate."""
        grant, slot = caller.grant, caller.slot
        if grant.has_quota:
            self.counts.unused(slot, held.day, held.rows)
        if held.full_at and grant.rows is not None:
            full_at, now = self._rows, self._monotonic()
            full_at[slot] = rates.given_back(full_at[slot], now, grant.rows, held)

    def refuses(self, refused: Refused, path: str) -> Refused:
        """Count a refusal after the call was accepted at its headers."""
        return self._refuse(refused, path)

    # Connections.

    def _join(self, caller: Caller, address: str) -> Refused | None:
        most = caller.grant.connections
        assert most is not None
        slots = self._connections.get(address)
        if slots is not None and caller.slot in slots:
            return None
        if self.counts.all.total("connections", caller.slot) >= most:
            message = f"more than {most:,} connections at once, which this caller may have"
            return Refused(Reason.CONNECTIONS, message, caller.tenant, 1.0)
        self._connections.setdefault(address, set()).add(caller.slot)
        self.counts.connected(caller.slot, 1)
        return None

    def gone(self, peer: Peer) -> None:
        """Forget a closed connection."""
        for slot in self._connections.pop(peer.address, ()):
            self.counts.connected(slot, -1)

    # For metrics.

    def scrape_refusal(self, authorization: str) -> int:
        """Return the HTTP status that refuses a scrape; 0: it is answered.

        Metrics cover all tables and tenants, so they require access to statistics of all tables.

        Args:
            authorization: the request's header, with a key or a token; "": there is none.
        """
        sent = ((AUTHORIZATION, authorization.encode("latin1", "replace")),)
        found = self.caller(sent if authorization else ())
        if isinstance(found, Refused):
            self._refuse(found, "metrics")
            return 401
        if found.grant.tables is None and Kind.STATISTICS in found.grant.kinds:
            return 0
        why = "metrics are of all tables; allowed: who may ask for statistics, and sees all tables"
        self._refuse(Refused(Reason.NOT_PERMITTED, why, found.tenant), "metrics")
        return 403

    def now(self) -> float:
        """Return the Unix seconds that days are determined by."""
        return self._wall()

    def cost_today(self, slot: int) -> float:
        """Return a tenant's cost of today, in the unit of the prices."""
        return self.counts.all.today("cost", slot, rates.day_of(self._wall())) / MICRO
