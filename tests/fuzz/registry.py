"""All targets, by name."""

from __future__ import annotations

from tests.fuzz.target import Target
from tests.fuzz.targets import documents, frames, native, operating, releases, rpcs, tables

TARGETS: dict[str, Target] = {
    each.name: each
    for room in (rpcs, frames, native, releases, tables, documents, operating)
    for each in room.TARGETS
}
