"""From the calls beside a fault to what is said of it; pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

OK = "OK"
# Seconds of a window; and in which a call is in time, from when it was due.
WINDOW, IN_TIME = 1.0, 0.1


@dataclass(frozen=True, slots=True)
class Call:
    """One call of a user of the SDK.

    Attributes:
        due, ended: monotonic seconds; an open loop's calls are due whatever became of others.
        code: OK, or the gRPC status of the error that was raised.
        retried: statuses of attempts that the SDK made again.
        kind: "fast", "auto" or "full", the fidelity that it asked for.
    """

    due: float
    ended: float
    code: str
    retried: tuple[str, ...] = ()
    kind: str = "fast"

    @property
    def seconds(self) -> float:
        """From when it was due to its end."""
        return self.ended - self.due

    def is_in_time(self, in_time: float) -> bool:
        """Whether it was answered soon enough."""
        return self.code == OK and self.seconds <= in_time


def recovery(
    calls: Sequence[Call], fault: float, in_time: float = IN_TIME, window: float = WINDOW
) -> float | None:
    """Seconds from a fault until calls are answered in time again, for a whole window.

    What counts from is the first call after the fault that was late or failed: a fault that takes
    effect after a while is not over before it has begun.

    Args:
        calls: in the order in which they were due.
        fault: when it was, monotonic seconds.
        in_time: seconds from when a call is due.
        window: seconds.

    Returns:
        0: no call was late or failed. None: the calls end before such a window does.
    """
    bad = [each.due for each in calls if each.ended >= fault and not each.is_in_time(in_time)]
    if not bad:
        return 0.0
    last = bad[0]
    for due in bad:
        if due > last + window:
            break
        last = due
    following = [each.due for each in calls if each.due > last]
    if not following or following[-1] - last < window:
        return None
    return max(0.0, following[0] - fault)


@dataclass(frozen=True)
class Seen:
    """What callers saw of a fault.

    Attributes:
        calls: that were under way or due in it.
        failed: how many raised which status.
        retried: attempts that the SDK made again, by status.
        late: that were answered, but not in time.
        longest_ms: of those that were answered.
        recovery_s: see `recovery`; None: they did not recover.
    """

    calls: int
    failed: Mapping[str, int]
    retried: Mapping[str, int]
    late: int
    longest_ms: float
    recovery_s: float | None


def seen(calls: Sequence[Call], began: float, over: float, in_time: float = IN_TIME) -> Seen:
    """Judge the calls beside a fault.

    Args:
        calls: of the whole run, in the order in which they were due.
        began: when the fault was.
        over: from when on it could be recovered from: when a process that was stopped went on; as
            `began` where nothing lasted.
        in_time: seconds from when a call is due.
    """
    beside = [each for each in calls if each.ended >= began]
    answered = [each for each in beside if each.code == OK]
    return Seen(
        len(beside),
        dict(Counter(each.code for each in beside if each.code != OK)),
        dict(Counter(code for each in beside for code in each.retried)),
        sum(not each.is_in_time(in_time) for each in answered),
        round(1e3 * max((each.seconds for each in answered), default=0.0), 1),
        _rounded(recovery([each for each in calls if each.ended >= over], over, in_time)),
    )


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 2)


@dataclass(frozen=True)
class Found:
    """One fault of a run.

    Attributes:
        fault: its name.
        words: what was done.
        seen: what callers saw; None: it was skipped.
        kept: what was looked at so that nothing is lost, each with whether it is so.
        notes: figures beside it.
        skipped: why it was not done; "": it was.
    """

    fault: str
    words: str
    seen: Seen | None = None
    kept: Mapping[str, bool] = field(default_factory=dict)
    notes: Mapping[str, Any] = field(default_factory=dict)
    skipped: str = ""

    @property
    def lost(self) -> int:
        """Calls that raised an error in a user's face."""
        return 0 if self.seen is None else sum(self.seen.failed.values())

    def as_json(self) -> dict[str, Any]:
        """For the last line."""
        return {**asdict(self), "lost": self.lost}


def summary(found: Sequence[Found], expected: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    """All faults, and the worst of them.

    Args:
        found: each of them.
        expected: statuses that callers are to see of a fault, by name: a deadline that passed while
            the only process that could answer stood still is nobody's loss but time's.
    """
    done = [each for each in found if each.seen is not None]
    lost = {
        each.fault: {
            code: number
            for code, number in (each.seen.failed if each.seen else {}).items()
            if code not in expected.get(each.fault, ())
        }
        for each in done
    }
    recoveries = [each.seen.recovery_s for each in done if each.seen]
    return {
        "lost": sum(sum(each.values()) for each in lost.values()),
        "worst_recovery_s": None if None in recoveries else max(recoveries, default=None),
        "all_kept": all(all(each.kept.values()) for each in done),
        "skipped": {each.fault: each.skipped for each in found if each.skipped},
        "faults": [each.as_json() for each in found],
    }
