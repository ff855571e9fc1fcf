"""All descriptions of a job's rows: files by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from cascade_jobs.descriptions.croissant import croissant
from cascade_jobs.descriptions.known import Known, document
from cascade_jobs.descriptions.provenance import provenance
from cascade_jobs.job import CROISSANT, PROVENANCE, Job, Part


def describe(job: Job, parts: Sequence[Part]) -> Mapping[str, bytes]:
    """Return the descriptions of a job's rows; empty if nothing about the release was recorded.

    Args:
        job: whose rows they are.
        parts: its files with rows, all of them.
    """
    if job.facts is None:
        return {}
    known = Known(job.specification, job.facts, parts)
    return {
        CROISSANT: document(croissant(known)),
        PROVENANCE: document(provenance(known)),
    }
