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

from cascade_loadtest.users.augmenter import BatchAugmenter  # noqa: E402
from cascade_loadtest.users.inference import OpenInferenceClient  # noqa: E402
from cascade_loadtest.users.misbehaving import MisbehavingClient  # noqa: E402
from cascade_loadtest.users.scoring import FraudScoring  # noqa: E402

__all__ = ["BatchAugmenter", "FraudScoring", "MisbehavingClient", "OpenInferenceClient"]
