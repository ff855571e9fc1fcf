"""Alerts for the server's certificate: it expires, or a new one is refused."""

from __future__ import annotations

from typing import Any

from cascade_server.objectives.alert_groups import Alert, alert_group
from cascade_server.objectives.metric_names import CERTIFICATE_EXPIRY, CERTIFICATE_REFUSED

DAY = 86_400
# Certificates are usually renewed when a third of their time is left: thirty of ninety days.
SOON, LATE = 14 * DAY, 2 * DAY

ALERTS = (
    Alert(
        "CascadeCertificateExpires",
        "ticket",
        f"{CERTIFICATE_EXPIRY} - time() < {SOON}",
        "1h",
        "the certificate of a server expires within two weeks",
        "What renews it has not done so, or the server does not see it: the server's log says so.",
    ),
    Alert(
        "CascadeCertificateExpiresSoon",
        "page",
        f"{CERTIFICATE_EXPIRY} - time() < {LATE}",
        "5m",
        "the certificate of a server expires within two days",
        "Then every client refuses it. Renew it: the server takes the new files up by itself.",
    ),
    Alert(
        "CascadeCertificateRefused",
        "ticket",
        f"{CERTIFICATE_REFUSED} == 1",
        "10m",
        "new files of a server's TLS are not used",
        "They are not sound, and it goes on with those from before. Its log says what is wrong.",
    ),
)


def certificate_group() -> dict[str, Any]:
    """Return the alerts as a group of a rules file."""
    return alert_group("cascade-certificate", ALERTS)
