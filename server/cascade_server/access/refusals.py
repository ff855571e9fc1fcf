"""Converts refusals of access control to errors and statuses."""

from __future__ import annotations

from cascade_server.access import rates
from cascade_server.access.deciding import Refused
from cascade_server.access.grants import Reason
from cascade_server.errors import (
    DO_NOT_RETRY,
    NotKnown,
    NotPermitted,
    NotReady,
    OverAllowance,
    Refusal,
    ServerError,
    refusal_of,
)

UNKNOWN = (Reason.NO_CREDENTIAL, Reason.BAD_CREDENTIAL, Reason.EXPIRED)
FORBIDDEN = (Reason.NO_TENANT, Reason.NOT_PERMITTED)


def error_of(refused: Refused) -> ServerError:
    """Return the error to raise for a refusal."""
    if refused.reason in UNKNOWN:
        return NotKnown(refused.message)
    if refused.reason in FORBIDDEN:
        return NotPermitted(refused.message)
    seconds = refused.seconds
    if refused.reason is Reason.KEYS_NOT_READY:
        return NotReady(refused.message, None if seconds is None else rates.pushback_ms(seconds))
    pushback = DO_NOT_RETRY if seconds is None else rates.pushback_ms(seconds)
    return OverAllowance(refused.message, pushback)


def refusal_for(refused: Refused) -> Refusal:
    """Return the status that a refused caller receives."""
    return refusal_of(error_of(refused))
