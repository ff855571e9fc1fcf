"""What can go wrong with costs and sizes; messages name the culprit and what is allowed.

CostError
├── PricesRefused   a file of prices cannot be read; names file, line and what is allowed
├── CurvesRefused   a file of measured curves cannot be read, or has not what is asked for
└── NotPossible     no number of cores keeps what is asked; says why
"""

from __future__ import annotations


class CostError(ValueError):
    """Base of this package's errors."""


class PricesRefused(CostError):
    """A file of prices cannot be read."""


class CurvesRefused(CostError):
    """A file of curves cannot be read, or lacks the requested data."""


class NotPossible(CostError):
    """No number of cores meets the request."""
