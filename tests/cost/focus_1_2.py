"""What FOCUS 1.2 says of its columns (specification/columns of the FinOps Open Cost and Usage
Specification, tag v1.2): how they are to be there, whether they may be null, and their type.

The published validator, focus-validator 1.0.0, has rules up to 1.0, some of them under names that
the specification never had. These are facts of the specification, in our words, from which its
rule files for 1.2 are written, so that it can be run.
"""

from __future__ import annotations

from pathlib import Path

MANDATORY, RECOMMENDED, CONDITIONAL = "Mandatory", "Recommended", "Conditional"
DECIMAL, STRING, DATE, JSON = "decimal", "string", "datetime", "stringified-json-object"
# Level, whether it may be null, type.
COLUMNS: dict[str, tuple[str, bool, str]] = {
    "AvailabilityZone": (RECOMMENDED, True, STRING),
    "BilledCost": (MANDATORY, False, DECIMAL),
    "BillingAccountId": (MANDATORY, False, STRING),
    "BillingAccountName": (MANDATORY, True, STRING),
    "BillingAccountType": (CONDITIONAL, False, STRING),
    "BillingCurrency": (MANDATORY, False, "currency-code"),
    "BillingPeriodEnd": (MANDATORY, False, DATE),
    "BillingPeriodStart": (MANDATORY, False, DATE),
    "ChargeCategory": (MANDATORY, False, STRING),
    "ChargeClass": (MANDATORY, True, STRING),
    "ChargeDescription": (MANDATORY, True, STRING),
    "ChargeFrequency": (RECOMMENDED, False, STRING),
    "ChargePeriodEnd": (MANDATORY, False, DATE),
    "ChargePeriodStart": (MANDATORY, False, DATE),
    "ConsumedQuantity": (CONDITIONAL, True, DECIMAL),
    "ConsumedUnit": (CONDITIONAL, True, STRING),
    "ContractedCost": (MANDATORY, False, DECIMAL),
    "ContractedUnitPrice": (CONDITIONAL, True, DECIMAL),
    "EffectiveCost": (MANDATORY, False, DECIMAL),
    "InvoiceIssuerName": (MANDATORY, False, STRING),
    "ListCost": (MANDATORY, False, DECIMAL),
    "ListUnitPrice": (CONDITIONAL, True, DECIMAL),
    "PricingCategory": (CONDITIONAL, True, STRING),
    "PricingQuantity": (MANDATORY, True, DECIMAL),
    "PricingUnit": (MANDATORY, True, STRING),
    "ProviderName": (MANDATORY, False, STRING),
    "PublisherName": (MANDATORY, False, STRING),
    "RegionId": (CONDITIONAL, True, STRING),
    "RegionName": (CONDITIONAL, True, STRING),
    "ResourceId": (CONDITIONAL, True, STRING),
    "ResourceName": (CONDITIONAL, True, STRING),
    "ResourceType": (CONDITIONAL, True, STRING),
    "ServiceCategory": (MANDATORY, False, STRING),
    "ServiceName": (MANDATORY, False, STRING),
    "ServiceSubcategory": (RECOMMENDED, False, STRING),
    "SkuId": (CONDITIONAL, True, STRING),
    "SkuMeter": (CONDITIONAL, True, STRING),
    "SkuPriceId": (CONDITIONAL, True, STRING),
    "SubAccountId": (CONDITIONAL, True, STRING),
    "SubAccountName": (CONDITIONAL, True, STRING),
    "SubAccountType": (CONDITIONAL, True, STRING),
    "Tags": (CONDITIONAL, True, JSON),
}
VALUES = {
    "ChargeCategory": ("Usage", "Purchase", "Tax", "Credit", "Adjustment"),
    "ChargeClass": ("Correction",),
    "ChargeFrequency": ("One-Time", "Recurring", "Usage-Based"),
    "PricingCategory": ("Standard", "Dynamic", "Committed", "Other"),
}


def write_rules(folder: Path) -> Path:
    """The same as rule files of focus-validator: returns the folder of all sets."""
    rules = folder / "1.2"
    rules.mkdir(parents=True)
    for column, (level, nullable, kind) in COLUMNS.items():
        checks = {"Nulls": f"check:\n  allow_nulls: {str(nullable).lower()}"}
        checks["Type"] = f"check:\n  data_type: {kind}"
        if level == MANDATORY:
            checks["Required"] = "check: column_required"
        if column in VALUES:
            checks["Enum"] = "check:\n  value_in:\n" + "\n".join(
                f'    - "{each}"' for each in VALUES[column]
            )
        for name, check in checks.items():
            text = f"column_id: {column}\n{check}\n"
            (rules / f"{column}_{name}.yaml").write_text(text)
    return folder
