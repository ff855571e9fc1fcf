"""Locust users: callers of a server as they come.

    locust -f loadtest/locustfile.py --host 127.0.0.1:8470                    its page, on :8089
    locust -f loadtest/locustfile.py --host 127.0.0.1:8470 --headless -u 8 -t 30s
    locust -f loadtest/locustfile.py --master                                 and on other machines:
    locust -f - --worker --master-host ADDRESS

Names of users on the command line choose among them (`FraudScoring MisbehavingClient`), and so does
Locust's page with `--class-picker`. Locust's users are a closed loop, whose callers wait for their
answers before they ask again: what a server does at a given rate `make loadtest` measures.
"""

from __future__ import annotations

import grpc.experimental.gevent

# Before any channel is made: else a call holds up every other user of this process.
grpc.experimental.gevent.init_gevent()

import locust.runners  # noqa: E402
from cascade_loadtest.users.augmenter import BatchAugmenter  # noqa: E402
from cascade_loadtest.users.inference import OpenInferenceClient  # noqa: E402
from cascade_loadtest.users.misbehaving import MisbehavingClient  # noqa: E402
from cascade_loadtest.users.scoring import FraudScoring  # noqa: E402

# Heartbeats, one a second, that a worker may miss before its master gives it up. While its first
# users begin, a worker of a busy machine is silent for longer than Locust's own three seconds, and
# a master whose last worker is missing ends the run.
locust.runners.HEARTBEAT_LIVENESS = 30

__all__ = ["BatchAugmenter", "FraudScoring", "MisbehavingClient", "OpenInferenceClient"]
