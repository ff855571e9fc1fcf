"""What the server says prints readably."""

from __future__ import annotations

import dataclasses

import pytest
from cascade_client import Client, Provenance, Tier, Timings


class TestPrinted:
    """`str` of an answer is for reading."""

    def test_a_table(self, client: Client) -> None:
        text = str(client.describe("people"))
        lines = text.splitlines()
        assert lines[0] == "people v3: 6 columns"
        assert lines[1].split() == ["column", "kind", "dtype", "allowed"]
        assert lines[2].split(maxsplit=3)[3] == "an integer from 0 to 100"
        assert "left out: id (identifier)" in lines
        assert lines[-1].strip() == "student: xgb_c2st 0.94"

    def test_a_summary(self, client: Client) -> None:
        assert str(client.tables()[0]) == "people: 6 columns, version 1, 3"

    def test_provenance(self) -> None:
        made = Provenance(
            True, "credit", 2, Tier.TEACHER, 12, 99, True, 3.0, Timings(compute=0.0125)
        )
        assert str(made) == (
            "credit v2 · teacher, 12 steps · from the pool · ε = 3 · 12.50 ms in the server"
        )
        made = dataclasses.replace(made, from_pool=False, cached=True)
        assert str(made) == (
            "credit v2 · teacher, 12 steps · ε = 3 · seed 99 · cached · 12.50 ms in the server"
        )


class TestFrozen:
    """Answers are values."""

    def test_fields_cannot_be_set(self, client: Client) -> None:
        described = client.describe("people")
        with pytest.raises(dataclasses.FrozenInstanceError):
            described.table = "other"  # type: ignore[misc]
