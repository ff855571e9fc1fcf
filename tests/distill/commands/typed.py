"""Commands as a person types them, and tables as files."""

from __future__ import annotations

from pathlib import Path

from cascade_cli.program import main
from cascade_tables import Frame
from click.testing import CliRunner, Result


def cascade(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, [str(a) for a in arguments])


def write_csv(frame: Frame, path: Path) -> None:
    frame.to_pandas().to_csv(path, index=False)
