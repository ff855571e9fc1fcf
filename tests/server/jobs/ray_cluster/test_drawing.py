"""A Ray cluster, as a job is told of it, where there is none."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
from cascade_jobs.errors import Cause, JobWaits
from cascade_jobs.shards import Shard
from cascade_server.jobs.ray_cluster.drawing import RayDrawing

from tests.jobs.made_up import SPECIFICATION


def test_a_cluster_that_cannot_be_reached_is_away(tmp_path: Path) -> None:
    """By that it is counted, too."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # nobody listens
        address = f"ray://127.0.0.1:{taken.getsockname()[1]}"
        rows = RayDrawing(address, tmp_path).rows(SPECIFICATION, b"", Shard(0, 0, 10))
        with pytest.raises(JobWaits, match=f"Ray at {address} cannot be reached: ") as raised:
            next(rows)
    assert raised.value.cause is Cause.AWAY
