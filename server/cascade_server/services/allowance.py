"""How many rows callers may have: tenants' rates, quotas and limits, where rows are drawn."""

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
    """What becomes of a job for which rows are held.

    Attributes:
        is_new: whether it was written down, and was not there before.
    """

    is_new: bool = False


class Allowance:
    """Raises where a tenant may have no more.

    Args:
        access: who may ask.
    """

    def __init__(self, access: Access) -> None:
        self._access = access

    def check(self, caller: Caller, rows: int = 0) -> None:
        """Refuse who has had all its rows, before more of a request is read.

        Args:
            caller: who asks.
            rows: that are to fit into what is left of its day.

        Raises:
            TooMuch: says what is used up, and when to come back.
        """
        grant = caller.grant
        if grant.rows is not None or grant.has_quota:
            self._raise(self._access.rows(caller, rows))

    def takes(self, caller: Caller, rows: int, draws: int) -> Held | None:
        """A request that has been checked is to be answered: hold its rows, until it was let `have`
        them or has not been. Of many that come at once no more are drawn than these last for.

        Args:
            caller: who asks.
            rows: of the answer.
            draws: of each row of the request.

        Returns:
            What is held; None: nobody counts what this caller has.

        Raises:
            BadRequest: it asks for more than its caller may at once; names what is allowed.
            TooMuch: the day's rows do not last for it.
        """
        check_limits(caller, rows, draws)
        if caller.slot < 0:
            return None
        if caller.grant.rows_a_day is not None:
            self._raise(self._access.quota(caller, rows))
        return self._access.hold(caller, rows, of_rate=True)

    def had(self, caller: Caller, held: Held) -> None:
        """Its answer was sent."""
        self._access.counts.answered(caller.slot, held.rows)

    def had_not(self, caller: Caller, held: Held) -> None:
        """It was refused, or had gone before its answer was there: the rows are its again."""
        self._access.give_back(caller, held)

    def request(self, caller: Caller) -> None:
        """Take one of a stream's requests from the rate of its tenant; raises TooMuch."""
        self._raise(self._access.request(caller))

    @asynccontextmanager
    async def job(self, caller: Caller, rows: int) -> AsyncIterator[Hold]:
        """Hold a day's rows for a job while it is written down: of many that are submitted at once
        no more are taken than these last for.

        They are given back where it is refused, or was there before. Where whoever submits has
        gone meanwhile, the job may be written down all the same, and they are not.

        Raises:
            TooMuch: the day's rows do not last for it.
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
        """Rows of a long stream were drawn, and are about to be sent: whoever has them and goes has
        had them.

        Returns:
            Seconds to wait before the next, by the rate of its tenant.
        """
        if caller.slot < 0:
            return 0.0
        self._access.charge(caller, rows)
        return self._access.owes(caller)

    async def paced(self, caller: Caller, seconds: float) -> None:
        """Wait before more of a long stream is drawn; see `drawn`.

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
    """Refuse a request that is larger than its caller's may be; raises BadRequest."""
    grant = caller.grant
    if grant.max_draws is not None and draws > grant.max_draws:
        raise BadRequest(f"draws is {draws:,}; allowed for this caller: 1 to {grant.max_draws:,}")
    if grant.max_rows is not None and rows > grant.max_rows:
        raise BadRequest(
            f"rows x draws is {rows:,}; allowed for this caller: 1 to {grant.max_rows:,}"
        )
