"""Builds the answer of `DescribeTable`: a table's columns and releases."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cascade_proto import synthesis_pb2 as pb
from cascade_tables import Schema

from cascade_server.config import ServerConfig


def describe(
    response: pb.DescribeTableResponse,
    schema: Schema,
    manifests: Mapping[int, Any],
    config: ServerConfig,
) -> None:
    """Fill in a table's schema, its releases and the limits of one request."""
    response.max_rows, response.max_message_bytes = config.max_rows, config.max_message_bytes
    for column in schema.columns:
        out = response.columns.add(
            name=column.name,
            kind=column.kind.value,
            nullable=column.nullable,
            dtype=column.dtype,
            categories=column.categories,
            other=column.other or "",
        )
        if column.minimum is not None and column.maximum is not None:
            out.minimum, out.maximum = float(column.minimum), float(column.maximum)
    for dropped in schema.dropped:
        response.dropped.add(name=dropped.name, reason=dropped.reason)
    for version, manifest in manifests.items():
        release = response.releases.add(
            version=version,
            created=manifest.created,
            schema_fingerprint=manifest.schema_fingerprint,
            libraries=dict(manifest.libraries),
        )
        if manifest.epsilon is not None:
            release.epsilon = manifest.epsilon
        for tier, figures in manifest.fidelity.items():
            numbers = {key: float(value) for key, value in figures.items()}
            release.fidelity.add(tier=tier, figures=numbers)
