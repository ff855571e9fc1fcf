"""A transport for the tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.server.transport.serving import Serving, serving


@pytest.fixture
def transport() -> Iterator[Serving]:
    with serving() as found:
        yield found
