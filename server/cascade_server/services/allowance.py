"""Limits on the rows that callers may draw: rates, quotas and request limits of tenants."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from cascade_server.access.access import Access
from cascade_server.access.deciding import Refused
from cascade_server.access.grants import Caller
from cascade_server.access.rates import Held
from cascade_server.access.refusals import error_of
from cascade_server.errors import BadRequest


@dataclass
class Hold:
    """The outcome of submitting a job that holds rows of its tenant's quota.

    Attributes:
        is_new: whether the ledger recorded the job, and did not have it before.
    """

    is_new: bool = False


class Allowance:
    """Enforces the limits of tenants.

    Args:
        access: decides who may call what.
    """

    def __init__(self, access: Access) -> None:
        self._access = access

    def check(self, caller: Caller, rows: int = 0) -> None:
        """Refuse a caller whose rows are used up, before more of its request is read.

        Args:
            caller: the caller of the request.
            rows: rows that the remaining quota of the day must cover.

        Raises:
            TooMuch: names the used-up limit, and when to retry.
        """
        grant = caller.grant
        if grant.rows is not None or grant.has_quota:
            self._raise(self._access.rows(caller, rows))

    def takes(self, caller: Caller, rows: int, draws: int) -> Held | None:
        """Hold the rows of a checked request until `had` or `had_not` settles them.

        Holding keeps simultaneous requests from drawing more rows than the quota has left.

        Args:
            caller: the caller of the request.
            rows: rows of the answer.
            draws: draws for each row of the request.

        Returns:
            The held rows; None: rows of this caller are not counted.

        Raises:
            BadRequest: the request exceeds the caller's limit; names what is allowed.
            TooMuch: too few rows are left today.
        """
        check_limits(caller, rows, draws)
        if caller.slot < 0:
            return None
        if caller.grant.rows_a_day is not None:
            self._raise(self._access.quota(caller, rows))
        return self._access.hold(caller, rows, of_rate=True)

    def had(self, caller: Caller, held: Held) -> None:
        """Count held rows as answered, after the answer was sent."""
        self._access.counts.answered(caller.slot, held.rows)

    def had_not(self, caller: Caller, held: Held) -> None:
        """Return held rows: the request was refused, or its caller hung up before the answer."""
        self._access.give_back(caller, held)

    def request(self, caller: Caller) -> None:
        """Take one of a stream's requests from the rate of its tenant; raises TooMuch."""
        self._raise(self._access.request(caller))

    @asynccontextmanager
    async def job(self, caller: Caller, rows: int) -> AsyncIterator[Hold]:
        """Hold rows of the day's quota for a job while the ledger records it.

        Holding keeps simultaneous submissions from taking more rows than are left. The rows are
        returned if the job is refused, or if the ledger already had it. If the caller hangs up
        meanwhile, the ledger may record the job all the same, so the rows are not returned.

        Raises:
            TooMuch: too few rows are left today.
        """
        hold = Hold()
        if caller.slot < 0:
            yield hold
            return
        access = self._access
        if caller.grant.has_quota:
            self._raise(access.quota(caller, rows))
        held = access.hold(caller, rows)
        try:
            yield hold
        except Exception:  # however it is refused: the day's rows are not spent
            access.give_back(caller, held)
            raise
        if hold.is_new:
            access.counts.answered(caller.slot, rows)
        else:
            access.give_back(caller, held)

    def drawn(self, caller: Caller, rows: int) -> float:
        """Charge rows of a long stream that are about to be sent, even if the caller then hangs up.

        Returns:
            Seconds to wait before the next rows, by the tenant's rate.
        """
        if caller.slot < 0:
            return 0.0
        self._access.charge(caller, rows)
        return self._access.owes(caller)

    async def paced(self, caller: Caller, seconds: float) -> None:
        """Wait before drawing more rows of a long stream; see `drawn`.

        Raises:
            TooMuch: the day's rows are used up.
        """
        if seconds:
            await asyncio.sleep(seconds)
        if caller.grant.has_quota:
            self._raise(self._access.quota(caller))

    def _raise(self, refused: Refused | None) -> None:
        if refused is not None:
            raise error_of(self._access.refuses(refused, "rows"))


def check_limits(caller: Caller, rows: int, draws: int) -> None:
    """Refuse a request that exceeds its caller's limits; raises BadRequest."""
    grant = caller.grant
    if grant.max_draws is not None and draws > grant.max_draws:
        raise BadRequest(f"draws is {draws:,}; allowed for this caller: 1 to {grant.max_draws:,}")
    if grant.max_rows is not None and rows > grant.max_rows:
        raise BadRequest(
            f"rows x draws is {rows:,}; allowed for this caller: 1 to {grant.max_rows:,}"
        )
