"""The protocol's repository extension: lists models, and loads and unloads them by name."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from cascade_proto import inference_pb2 as pb
from cascade_tables.errors import listing

from cascade_server.cascade.repository import Repository
from cascade_server.errors import BadRequest, UnknownTable
from cascade_server.services.open_inference.models import models
from cascade_server.terms import Tier

READY, UNAVAILABLE, LOADING = "READY", "UNAVAILABLE", "LOADING"
DRAINING = "the server is draining"
# Keyed by the supervisor's name of a release's state.
STATES = {
    "loaded": (READY, ""),
    "missing": (READY, "it is no longer in the repository"),
    "loading": (LOADING, ""),
    "available": (UNAVAILABLE, "it is not loaded"),
    "refused": (UNAVAILABLE, ""),
}

ModelIndex = pb.RepositoryIndexResponse.ModelIndex


def loaded(repository: Repository, state: str, reason: str) -> list[ModelIndex]:
    """List the releases that this process has, all in one state."""
    return [
        ModelIndex(name=model.name, version=str(version), state=state, reason=reason)
        for model in models(repository)
        for version in repository.versions(model.table)
    ]


def told(listing: Mapping[str, Any]) -> list[ModelIndex]:
    """List the supervisor's view of the repository: tables, then their networks."""
    releases = listing["releases"]
    tables = {each["table"] for each in releases}
    out = []
    for suffix in ("", *(f"_{tier}" for tier in Tier)):
        for each in releases:
            if suffix and (name := each["table"] + suffix) in tables:
                continue
            name = each["table"] + suffix
            state, reason = STATES[each["state"]]
            reason = reason or (each["reason"] if each["state"] == "refused" else "")
            out.append(
                ModelIndex(name=name, version=str(each["version"]), state=state, reason=reason)
            )
    return out


def table_of(name: str, known: Mapping[str, Any]) -> tuple[str, bool]:
    """Return the table of a model, and whether the model is one of the table's networks.

    Args:
        name: the model's name.
        known: the supervisor's listing.

    Raises:
        UnknownTable: names the tables that exist.
    """
    tables = sorted({each["table"] for each in known["releases"]})
    if name in tables:
        return name, False
    for tier in Tier:
        if (table := name.removesuffix(f"_{tier}")) != name and table in tables:
            return table, True
    raise UnknownTable(f"unknown model {name!r}; the repository holds: {listing(tables)}")


def check_parameters(given: Collection[str], allowed: Collection[str]) -> None:
    """Refuse parameters that would be ignored.

    Raises:
        BadRequest: names the parameter.
    """
    for name in given:
        if name not in allowed:
            raise BadRequest(
                f"parameter {name!r} is not served; allowed: {', '.join(allowed) or 'none'}"
            )
