"""Shared terms: the tier that draws, the requested fidelity, the class and priority of a call."""

from __future__ import annotations

from enum import StrEnum


class Tier(StrEnum):
    """The model that draws the values of an answer."""

    STUDENT = "student"
    TEACHER = "teacher"


class Wanted(StrEnum):
    """The fidelity that a caller requests: the best in time, the fastest, or the teacher's."""

    AUTO = "auto"
    FAST = "fast"
    FULL = "full"


class ServiceClass(StrEnum):
    """The class that a call counts for; each has its own objectives and error budgets."""

    REALTIME = "realtime"  # Synthesize, fidelity AUTO or FAST
    FULL = "full"  # Synthesize, fidelity FULL or with the log-likelihood
    OFFLINE = "offline"  # Generate, and other offline work


class Priority(StrEnum):
    """The priority of admission: a caller waits for real-time work, but not for offline work."""

    REALTIME = "realtime"
    OFFLINE = "offline"
