"""Words that every room uses: which model draws, what a caller asks for, what a call counts as."""

from __future__ import annotations

from enum import StrEnum


class Tier(StrEnum):
    """Which model draws the values of an answer."""

    STUDENT = "student"
    TEACHER = "teacher"


class Wanted(StrEnum):
    """The fidelity that a caller asks for: the best in time, the fastest, or the teacher's."""

    AUTO = "auto"
    FAST = "fast"
    FULL = "full"


class ServiceClass(StrEnum):
    """What a call counts as: objectives and error budgets are kept apart by it."""

    REALTIME = "realtime"  # Synthesize, fidelity AUTO or FAST
    FULL = "full"  # Synthesize, fidelity FULL or with the log-likelihood
    OFFLINE = "offline"  # Generate, and what nobody waits for


class Priority(StrEnum):
    """Who is admitted first: somebody waits for real-time work, nobody for offline work."""

    REALTIME = "realtime"
    OFFLINE = "offline"
