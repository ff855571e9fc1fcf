"""What a server's answers cost, and how large a server is needed: usage times prices, and curves.

Nothing here asks a server or a clock. `Usage` is what a server says it has used, `Prices` what that
costs; `statement` makes a bill of both, `focus_rows` a FOCUS 1.2 file of the bill, and `size` says
from measured curves how many cores a load takes.
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
