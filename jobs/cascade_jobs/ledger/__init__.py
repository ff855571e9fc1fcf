"""The ledger of jobs: what is written down, who makes which file, and who of these still lives."""

from cascade_jobs.ledger.ledger import NAME, Asked, Ledger, Limits, Remains

__all__ = ["NAME", "Asked", "Ledger", "Limits", "Remains"]
