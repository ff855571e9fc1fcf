"""Flight's service, over either transport."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.server.services.flight.flights import Flights, flights


@pytest.fixture(params=["http2", "grpcio"])
async def flown(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Flights]:
    async with flights(tmp_path, request.param) as found:
        yield found
