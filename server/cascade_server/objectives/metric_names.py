"""Names of metrics and their labels, as the server exposes them and rules read them.

The service's own names follow Prometheus: base units, `_total`. Names for objectives are those of
Sloth (https://sloth.dev), so that its dashboards work.
"""

from __future__ import annotations

from cascade_server.objectives.objective import Objective

REQUESTS = "cascade_requests_total"
DURATION = "cascade_request_duration_seconds"
ROWS = "cascade_rows_total"
CERTIFICATE_EXPIRY = "cascade_tls_certificate_expiry_timestamp_seconds"
CERTIFICATE_REFUSED = "cascade_tls_files_refused"

# The label of a call that no tier drew for.
NO_TIER = "none"

# Upper bounds in seconds; the thresholds of latency objectives are added.
BUCKETS = (
    *(0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5),
    *(1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0),
)

ERROR_RATIO = "slo:sli_error:ratio_rate{window}"
OBJECTIVE = "slo:objective:ratio"
ERROR_BUDGET = "slo:error_budget:ratio"
PERIOD_DAYS = "slo:time_period:days"
CURRENT_BURN_RATE = "slo:current_burn_rate:ratio"
PERIOD_BURN_RATE = "slo:period_burn_rate:ratio"
BUDGET_REMAINING = "slo:period_error_budget_remaining:ratio"
INFO = "sloth_slo_info"


def identity(service: str, objective: Objective) -> dict[str, str]:
    """Return the labels that tell one objective's series from all others."""
    return {
        "sloth_id": f"{service}-{objective.name}",
        "sloth_service": service,
        "sloth_slo": objective.name,
    }


def descriptive(objective: Objective) -> dict[str, str]:
    """Return the labels for people and for routing."""
    return {"table": objective.table, "class": str(objective.service)}
