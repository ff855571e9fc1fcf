"""The table of docs/jobs.md, from what `benchmarks.jobs` measured."""

from __future__ import annotations

from pathlib import Path

from benchmarks.report.figures import kept, markdown

JOBS = {
    "teacher_rows_per_s": "the teacher, {teacher_rows:,} rows, rows/s",
    "student_rows_per_s": "the student, {student_rows:,} rows, rows/s",
    "peak_rss_mb": "memory of whoever makes these, at most, MB",
    "resume_seconds": "from a kill to the next rows, s",
    "realtime_p99_ms": "a real-time call with nothing beside it, p99 ms",
    "beside_p99_ms": "beside a job, p99 ms",
    "realtime_p50_ratio": "beside a job, of alone: p50",
    "realtime_p99_ratio": "p99",
    "one_counter_p99_ratio": "beside a process of the idle class that counts, of alone: p99",
    "counters_p99_ratio": "beside {cores} of them",
    "beside_rows_per_s": "a job of the student beside real-time calls, rows/s",
    "flight_mb_per_s": "read over Arrow Flight, MB/s",
    "pyarrow_flight_mb_per_s": "from pyarrow's own server, MB/s",
    "flight_ratio": "of that server's, the median of rounds",
    "ray_speedup_2": "two workers of Ray, of one",
}


def jobs_table(name: str, folder: Path) -> str:
    """One column, of the table whose rows were made; none where it was not measured."""
    figures = kept(folder, name or "jobs") or {}
    labels = {key: label.format_map(figures) for key, label in JOBS.items() if key in figures}
    return markdown(labels, {str(figures.get("table", "")): figures})
