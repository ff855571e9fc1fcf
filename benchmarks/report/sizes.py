"""The table of docs/training.md, from what `benchmarks.sizes` measured."""

from __future__ import annotations

from pathlib import Path

from benchmarks.report.figures import kept, markdown

# A command's figure, and what its row is called.
ROWS = {
    ("fit", "read_seconds"): "`fit`: reading, deciding and encoding, s",
    ("fit", "seconds_a_step"): "`fit`: a step, s",
    ("fit", "seconds"): "`fit`: all of it, s",
    ("fit", "peak_mib"): "`fit`: memory at most, MiB",
    ("distill", "rows_per_s"): "`distill`: the teacher's rows/s",
    ("distill", "seconds_a_step"): "`distill`: a step, s",
    ("distill", "seconds"): "`distill`: all of it, s",
    ("distill", "peak_mib"): "`distill`: memory at most, MiB",
    ("evaluate", "seconds"): "`evaluate`: all of it, s",
    ("evaluate", "peak_mib"): "`evaluate`: memory at most, MiB",
}


def sizes_table(folder: Path) -> str:
    """A column a size of a table; "": it has not been measured."""
    figures = kept(folder, "sizes")
    if figures is None:
        return ""
    labels = {f"{command} {figure}": label for (command, figure), label in ROWS.items()}
    columns = {}
    for size, commands in figures["tables"].items():
        rows, _, width = size.partition("x")
        columns[f"{int(rows):,} × {width}"] = {
            f"{command} {figure}": commands[command][figure]
            for command, figure in ROWS
            if figure in commands.get(command, {})
        }
    table = markdown(labels, columns)
    for size, why in figures.get("failed", {}).items():
        table += f"\n\n{size}: {why}."
    return table
