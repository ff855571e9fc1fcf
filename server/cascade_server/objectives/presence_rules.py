"""An alert for servers that are down: calls that are not counted burn no budget.

A ratio without events is absent. If all servers are down or cannot be scraped, all ratios are
absent, and every other alert is silent.
"""

from __future__ import annotations

import json
from typing import Any

from cascade_server.objectives.alert_groups import Alert, alert_group
from cascade_server.objectives.metric_names import OBJECTIVE


def presence_group(service: str) -> dict[str, Any]:
    """Return the alert as a group of a rules file; `service` is the deployment's name."""
    # Series that a server exposes have an instance; rules record the same names without one.
    chosen = f'sloth_service={json.dumps(service)}, instance!=""'
    alert = Alert(
        "CascadeServersGone",
        "page",
        f"absent({OBJECTIVE}{{{chosen}}})",
        "5m",
        f"no server of {service} is seen",
        "None runs, or Prometheus scrapes none. Of calls that nobody counts no budget burns, so "
        "that no other alert says so.",
    )
    return alert_group("cascade-presence", [alert])
