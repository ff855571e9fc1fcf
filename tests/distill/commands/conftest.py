"""A table as a file, and a run that has learnt it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.distill.commands.typed import cascade, write_csv
from tests.releases import payments


@pytest.fixture(scope="session")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "payments.csv"
    write_csv(payments(600), path)
    return path


@pytest.fixture(scope="session")
def run(table: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "payments"
    fitted = cascade("fit", table, "--out", folder, "--steps", "40", "--threads", "1")
    assert fitted.exit_code == 0, fitted.output
    distilled = cascade("distill", folder, "--steps", "40", "--rows", "2000", "--threads", "1")
    assert distilled.exit_code == 0, distilled.output
    return folder
