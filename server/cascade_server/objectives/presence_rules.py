"""An alert for servers that are not there: of calls that nobody counts no budget burns.

A ratio without events is absent, and so is each ratio of servers that are all down, or cannot be
scraped: every other alert is silent then.
"""

from __future__ import annotations

import json
from typing import Any

from cascade_server.objectives.alert_groups import Alert, alert_group
from cascade_server.objectives.metric_names import OBJECTIVE


def presence_group(service: str) -> dict[str, Any]:
    """The alert as a group of a rules file; `service`: what the deployment is called."""
    # What a server exposes, which has an instance; rules record the same name without one.
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
