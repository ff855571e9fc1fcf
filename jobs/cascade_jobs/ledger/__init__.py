"""The ledger of jobs: recorded jobs, leases on their files, and liveness of the lease owners."""

from cascade_jobs.ledger.ledger import NAME, Asked, Ledger, Limits, Remains

__all__ = ["NAME", "Asked", "Ledger", "Limits", "Remains"]
