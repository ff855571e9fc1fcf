"""All that is said of a job's rows beside them: files by their names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from cascade_jobs.descriptions.croissant import croissant
from cascade_jobs.descriptions.known import Known, document
from cascade_jobs.descriptions.provenance import provenance
from cascade_jobs.job import CROISSANT, PROVENANCE, Job, Part


def describe(job: Job, parts: Sequence[Part]) -> Mapping[str, bytes]:
    """What is written beside a job's files; nothing where nobody kept what is known of the release.

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
