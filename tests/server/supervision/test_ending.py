"""A process ends all that it is made of."""

from __future__ import annotations

import pytest
from cascade_server.supervision.ending import all_end


async def test_what_one_raises_keeps_no_other_from_ending(
    caplog: pytest.LogCaptureFixture,
) -> None:
    ended: list[int] = []

    async def ends() -> None:
        ended.append(1)

    async def raises() -> None:
        raise KeyError("odd")

    await all_end(ends, raises, ends)
    assert ended == [1, 1]
    assert "KeyError: 'odd'" in caplog.text
