"""Cost of a server's answers, and required size of a server: usage times prices, and measured
curves.

Nothing here calls a server or reads a clock. `Usage` is a server's report of what it has used, and
`Prices` its cost; `statement` makes a bill from both, `focus_rows` converts the bill to FOCUS 1.2,
and `size` computes from measured curves how many cores a load takes.
"""

from cascade_cost.errors import CostError, CurvesRefused, NotPossible, PricesRefused
from cascade_cost.prices import DEFAULT_PRICES, Prices, load_prices
from cascade_cost.statement import Line, Savings, Statement, statement
from cascade_cost.usage import Compute, Processes, Usage

__all__ = [
    "DEFAULT_PRICES",
    "Compute",
    "CostError",
    "CurvesRefused",
    "Line",
    "NotPossible",
    "Prices",
    "PricesRefused",
    "Processes",
    "Savings",
    "Statement",
    "Usage",
    "load_prices",
    "statement",
]
