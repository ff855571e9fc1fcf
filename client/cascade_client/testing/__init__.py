"""A server for tests of code that uses the SDK: no network, no processes, no waiting.

>>> from cascade_client.testing import FakeServer
>>> server = FakeServer({"credit": [{"age": 25, "income": 1800.0}, {"age": 61, "income": 2400.0}]})
>>> with server.client() as client:
...     client.synthesize("credit", {"age": 30}, seed=0).data
{'age': 30, 'income': 1800.0}

The client is the real one, with its retries, deadlines, turns, sessions and resumed streams; only
the channel under it is not. What the server answers with is one of: rows, a `TableDescription`
(kept from a real server's `Client.describe`), or a function from what was asked to rows. It can
refuse (`FakeServer.refuse`), be slow in pretended time (`FakeServer.slow`), and tell what it was
asked (`FakeServer.asked`). docs/testing.md has an example of each.
"""

from cascade_client.testing.learner import FakeLearner
from cascade_client.testing.server import FakeServer
from cascade_client.testing.tables import Asked, FakeTable

__all__ = ["Asked", "FakeLearner", "FakeServer", "FakeTable"]
