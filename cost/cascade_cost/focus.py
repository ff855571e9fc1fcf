"""A bill as FOCUS 1.2, the FinOps Open Cost and Usage Specification (https://focus.finops.org), for
use beside the cloud provider's bill.

Each line has one row for the cores, one for the memory and one for the GPUs. All columns that the
specification requires of every dataset are present, and those optional ones that are informative
here. Idle and unused resources have tagged rows of their own. Quantities are rounded to twelve
places, and a cost is exactly its quantity times its price.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from decimal import ROUND_HALF_EVEN, Decimal

from cascade_cost.prices import Prices
from cascade_cost.statement import HOUR, Line, Statement

VERSION = "1.2"
COLUMNS = (
    "BilledCost",
    "BillingAccountId",
    "BillingAccountName",
    "BillingAccountType",
    "BillingCurrency",
    "BillingPeriodEnd",
    "BillingPeriodStart",
    "ChargeCategory",
    "ChargeClass",
    "ChargeDescription",
    "ChargeFrequency",
    "ChargePeriodEnd",
    "ChargePeriodStart",
    "ConsumedQuantity",
    "ConsumedUnit",
    "ContractedCost",
    "ContractedUnitPrice",
    "EffectiveCost",
    "InvoiceIssuerName",
    "ListCost",
    "ListUnitPrice",
    "PricingCategory",
    "PricingQuantity",
    "PricingUnit",
    "ProviderName",
    "PublisherName",
    "RegionId",
    "RegionName",
    "ResourceId",
    "ResourceName",
    "ResourceType",
    "ServiceCategory",
    "ServiceName",
    "ServiceSubcategory",
    "SkuId",
    "SkuMeter",
    "SkuPriceId",
    "SubAccountId",
    "SubAccountName",
    "SubAccountType",
    "Tags",
)
PLACES = Decimal("1e-12")
ACCOUNT_TYPE, TENANT, TIER = "Account", "Tenant", "Synthesis tier"


def as_csv(bill: Statement) -> str:
    """Return the file: a header and one line per row."""
    out = io.StringIO()
    writer = csv.DictWriter(out, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(focus_rows(bill))
    return out.getvalue()


def focus_rows(bill: Statement) -> Iterator[Mapping[str, str]]:
    """Yield a bill's rows; those with no usage are left out."""
    rest = [bill.idle] if bill.unused is None else [bill.idle, bill.unused]
    prices, period = bill.prices, _period(bill)
    for line in [*bill.lines, *rest]:
        for meter, unit, price, seconds in _meters(line, prices):
            quantity = (seconds / HOUR).quantize(PLACES, ROUND_HALF_EVEN)
            if quantity:
                yield {**period, **_row(line, prices, meter, unit, price, quantity)}


def _meters(line: Line, prices: Prices) -> Iterable[tuple[str, str, Decimal, Decimal]]:
    """Return the metered resources of a line: name, unit, price, and seconds of use."""
    return (
        ("Processors", "Core-Hours", prices.core_hour, line.core_seconds),
        ("Memory", "GiB-Hours", prices.gib_hour, line.gib_seconds),
        ("GPUs", "GPU-Hours", prices.gpu_hour, line.gpu_seconds),
    )


def _row(
    line: Line, prices: Prices, meter: str, unit: str, price: Decimal, quantity: Decimal
) -> Mapping[str, str]:
    cost, each, many = plain(quantity * price), plain(price), plain(quantity)
    whose = f" for table {line.table}" if line.table else ""
    tenant = f", tenant {line.tenant}" if line.tenant else ""
    tags = {"table": line.table, "tier": line.tier, "tenant": line.tenant}
    sku = f"{meter.lower()}/{unit.lower()}"
    return {
        "BilledCost": cost,
        "BillingAccountId": prices.bill.account,
        "BillingAccountName": prices.bill.account,
        "BillingAccountType": ACCOUNT_TYPE,
        "BillingCurrency": prices.currency,
        "ChargeCategory": "Usage",
        "ChargeClass": "",
        "ChargeDescription": f"{meter} of {line.tier}{whose}{tenant}",
        "ChargeFrequency": "Usage-Based",
        "ConsumedQuantity": many,
        "ConsumedUnit": unit,
        "ContractedCost": cost,
        "ContractedUnitPrice": each,
        "EffectiveCost": cost,
        "InvoiceIssuerName": prices.bill.provider,
        "ListCost": cost,
        "ListUnitPrice": each,
        "PricingCategory": "Standard",
        "PricingQuantity": many,
        "PricingUnit": unit,
        "ProviderName": prices.bill.provider,
        "PublisherName": prices.bill.provider,
        "RegionId": prices.bill.region,
        "RegionName": prices.bill.region,
        "ResourceId": "/".join(filter(None, ("cascade", line.table, line.tier))),
        "ResourceName": " ".join(filter(None, (line.table, line.tier))),
        "ResourceType": TIER,
        "ServiceCategory": "AI and Machine Learning",
        "ServiceName": "Cascade",
        "ServiceSubcategory": "Machine Learning",
        "SkuId": sku,
        "SkuMeter": meter,
        "SkuPriceId": f"{sku}/{prices.currency.lower()}",
        "SubAccountId": line.tenant,
        "SubAccountName": line.tenant,
        "SubAccountType": TENANT if line.tenant else "",
        "Tags": json.dumps({key: value for key, value in tags.items() if value}),
    }


def _period(bill: Statement) -> Mapping[str, str]:
    """Return the period of use, and the whole months that contain it."""
    since, until = (datetime.fromtimestamp(each, UTC) for each in (bill.since, bill.until))
    last = max(since, until)
    month = last.month % 12 + 1
    after = datetime(last.year + (month == 1), month, 1, tzinfo=UTC)
    return {
        "BillingPeriodStart": _written(datetime(since.year, since.month, 1, tzinfo=UTC)),
        "BillingPeriodEnd": _written(after),
        "ChargePeriodStart": _written(since),
        "ChargePeriodEnd": _written(last),
    }


def _written(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def plain(number: Decimal) -> str:
    """Format a number without an exponent or trailing zeros."""
    text = f"{number:f}"
    return (text.rstrip("0").rstrip(".") if "." in text else text) or "0"
