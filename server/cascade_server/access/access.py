"""Asks the decisions, with what holds now: the file, the issuers' keys, the clocks, the counts.

Who has been let in is remembered by what it showed, until that ends: a key is hashed and a token
verified once in a process, and after that a call costs a few look-ups in dictionaries.
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

# Callers that are remembered by what they showed, and by headers; beyond it all are found anew.
MOST_KNOWN, MOST_SEEN = 4096, 1024
REASONS = tuple(Reason)


def tells_nobody(_refused: Refused, _path: str, _address: str) -> None:
    """Told of refusals, it does nothing."""


class Peer(Protocol):
    """The other end of a connection, as the transport knows it."""

    @property
    def address(self) -> str:
        """Tells it from all other connections of the process."""

    @property
    def certificate_names(self) -> tuple[str, ...]:
        """Whom its verified certificate names."""


class Access:
    """Who may ask a server.

    Args:
        path: of the file.
        counts: what this process counts.
        monotonic, wall: nanoseconds of the machine, and seconds since 1970-01-01 UTC.
        refused: is told of each refusal, with the method's path and the caller's address.
        knows_connections: whether the transport tells when one is `gone`; where it does not, how
            many a tenant has at once is not known.
        file: as other processes of the server read it too; None: this one reads it alone.

    Attributes:
        holding, config: what holds now.
        reloads, failed_reloads: of the file.

    Raises:
        ConfigError: the file cannot be read, or is none, and none of the server's processes has
            ever read one that was.
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
        # What callers that are known have called, and may.
        self._allowed: dict[Caller, set[str]] = {}
        self._known: dict[str | tuple[str, ...], Caller] = {}
        self._seen: dict[int, tuple[Fields, tuple[str, ...], Caller]] = {}
        # The connections of tenants that may have only so many, by address.
        self._connections: dict[str, set[int]] = {}
        self.issuers: Issuers | None = None
        self.file = file or last_good_access(path)
        config, wrong = self.file.to_begin_with()
        self.reloads, self.failed_reloads = 0, int(wrong is not None)
        self._use(config)

    def _use(self, config: AccessConfig) -> None:
        slots = self.counts.all.slots(config.tenants)
        if config.issuers and self.issuers is None:
            # PyJWT is for who takes tokens.
            from cascade_server.access.issuers import Issuers

            self.issuers = Issuers(self.forget, lambda: self._monotonic() / NANO)
        if self.issuers is not None:
            self.issuers.use(config.issuers)
        # Before anybody is found out anew: whoever does so in another thread has either what was
        # known before, and remembers it there, or what holds now.
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
        """What the file says that holds now."""
        return self.holding.config

    def forget(self) -> None:
        """Find out anew who everybody is: whoever may ask, or a key of an issuer, has changed."""
        self._known, self._seen, self._allowed = {}, {}, {}

    def reload(self) -> bool:
        """Read the file anew, as `take`; `Watch` does it beside the event loop."""
        try:
            return self.take(self.file.now())
        except ConfigError as exc:
            return self.take(exc)

    def take(self, found: AccessConfig | ConfigError) -> bool:
        """The file was read anew: its content holds from now on, unless it is none.

        Returns:
            Whether something else holds from now on.
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

    # Who asks.

    def caller(self, headers: Fields, certificate_names: tuple[str, ...] = ()) -> Caller | Refused:
        """Who has sent a call; nothing is counted.

        Args:
            headers: of the call.
            certificate_names: of its connection's certificate.
        """
        # Asked for in this order, and kept: they are forgotten in the other one, and what was found
        # by what held before is not to be remembered for long after it.
        all_seen, all_known = self._seen, self._known
        # A connection's headers are the same object from call to call, as long as they say the
        # same; see `transport.http2.headers.Heads`.
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
        # It keeps the headers, so that no others can be where they are.
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
        """Whose a token is."""
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

    # What it may do.

    def door(self, path: str, headers: Fields, peer: Peer) -> Refused | None:
        """Decide about a call of which nothing but its head has come, and count it.

        Args:
            path: of its method.
            headers: of the call.
            peer: the other end of its connection.

        Returns:
            Why it is refused; None: it is let in.
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
        """Who has sent a call that a handler is to answer.

        Args:
            path, headers, peer: as for `door`.
            at_door: whether `door` has let it in.
        """
        if not at_door and (refused := self.door(path, headers, peer)) is not None:
            return refused
        caller = self.caller(headers, peer.certificate_names)
        if isinstance(caller, Refused):
            return self._refuse(caller, path, peer.address)
        if path not in KINDS:
            # A method that nobody has thought of here is nobody's.
            return self._refuse(not_permitted(caller, Kind.RELEASES), path, peer.address)
        return caller

    def _refuse(self, refused: Refused, path: str, address: str = "") -> Refused:
        self.counts.refused(REASONS.index(refused.reason))
        self._told(refused, path, address)
        return refused

    def request(self, caller: Caller) -> Refused | None:
        """Take a token of a tenant's rate of requests; why there is none.

        For each request of a stream; `door` does for a call.
        """
        rate = caller.grant.requests
        if rate is None:
            return None
        full_at, slot = self._requests, caller.slot
        full = rates.taken(full_at[slot], self._monotonic(), rate)
        if full < 0:
            message = f"more than {rate.per_second:g} requests a second, this caller's rate"
            return Refused(Reason.REQUEST_RATE, message, caller.tenant, -full / NANO)
        # Of two processes that write at one moment one is not counted: that is far rarer than a
        # lock would be dear.
        full_at[slot] = full
        return None

    def rows(self, caller: Caller, wanted: int = 0) -> Refused | None:
        """Why a tenant may ask for no rows now; None: it may.

        Args:
            caller: who asks.
            wanted: rows that are to fit into what is left of the day's quota. What a request has
                more than that, where it is not known yet, the next one lacks.
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
        """Why a tenant may have no more rows today; None: it may. As `rows`, but for the rate."""
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
        """A tenant is let have rows.

        Args:
            caller: who.
            rows: how many.
        """
        self.hold(caller, rows, of_rate=True)
        self.counts.answered(caller.slot, rows)

    def owes(self, caller: Caller) -> float:
        """Seconds until a tenant may have more rows by its rate."""
        rate = caller.grant.rows
        if rate is None:
            return 0.0
        return rates.wait(self._rows[caller.slot], self._monotonic(), rate) / NANO

    def hold(self, caller: Caller, rows: int, of_rate: bool = False) -> rates.Held:
        """Take rows of a tenant's day that it may be let have.

        Args:
            caller: who.
            rows: how many.
            of_rate: whether of its rate too; not where nobody waits for them.

        Returns:
            What is held; see `give_back`.
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
        """It was not let have them: they are the day's again of which they were held, and the
        rate's."""
        grant, slot = caller.grant, caller.slot
        if grant.has_quota:
            self.counts.unused(slot, held.day, held.rows)
        if held.full_at and grant.rows is not None:
            full_at, now = self._rows, self._monotonic()
            full_at[slot] = rates.given_back(full_at[slot], now, grant.rows, held)

    def refuses(self, refused: Refused, path: str) -> Refused:
        """Count what was refused beyond the door."""
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
        """A connection is no more."""
        for slot in self._connections.pop(peer.address, ()):
            self.counts.connected(slot, -1)

    # For metrics.

    def scrape_refusal(self, authorization: str) -> int:
        """The status of HTTP with which a scrape is refused; 0: it is answered.

        Metrics are of all tables and tenants, and for who may ask for statistics of all tables.

        Args:
            authorization: the header of the request, with a key or a token; "": there is none.
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
        """Unix seconds, by which days are told."""
        return self._wall()

    def cost_today(self, slot: int) -> float:
        """What a tenant has spent today, in the unit of the prices."""
        return self.counts.all.today("cost", slot, rates.day_of(self._wall())) / MICRO
