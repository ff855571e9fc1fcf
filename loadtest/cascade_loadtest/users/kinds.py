"""What calls of Locust's users are called, by whose they are; Locust need not be installed."""

from __future__ import annotations

from cascade_loadtest.scoring import SITUATIONS

SCORING, AUGMENTER = "scoring", "augmenter"
OPEN_INFERENCE, MISBEHAVING = "open inference", "misbehaving"
KINDS = (
    *(f"{SCORING}: {each.name}" for each in SITUATIONS),
    *(f"{AUGMENTER}: {each}" for each in ("generate", "job")),
    *(f"{OPEN_INFERENCE}: {each}" for each in ("infer", "ready")),
    *(
        f"{MISBEHAVING}: {each}"
        for each in ("huge", "malformed", "nonsense", "abandoned", "unread", "impatient")
    ),
)
# How all of their names begin.
BEGINS = tuple(f"{each}: " for each in (SCORING, AUGMENTER, OPEN_INFERENCE, MISBEHAVING))
