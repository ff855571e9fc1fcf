"""One server for all cases of a file: each case has a connection of its own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.server.transport.serving import Serving, serving


@pytest.fixture(scope="module")
def server() -> Iterator[Serving]:
    with serving() as found:
        yield found
