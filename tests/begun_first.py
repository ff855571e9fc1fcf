"""In which order several processes run the tests.

Each is given a part of them, in their order, and who is done takes half of what another has left,
of its end (pytest-xdist's `worksteal`). So a file at a part's beginning is run by one process,
which makes what its tests share once, a server of Triton's or a cluster of Ray's, rather than each
process its own; and what takes long is begun early, not when the others are nearly done.
"""

from __future__ import annotations

from collections.abc import Sequence

# Seconds that each took on two cores; only how they compare counts.
SECONDS = {
    "tests/benchmarks/test_programs.py": 250,
    "tests/integration/jobs/test_ray.py": 140,
    "tests/integration/jobs/test_interrupted.py": 110,
    "tests/loadtest/test_program.py": 85,
    "tests/integration/test_triton.py": 80,
    "tests/integration/page/test_in_browser.py": 65,
    "tests/integration/releases/test_reloading.py": 60,
    "tests/integration/test_with_tritons.py": 60,
    "tests/integration/releases/test_control.py": 50,
    "tests/test_readme.py": 50,
    "tests/integration/jobs/test_pages.py": 45,
    "tests/distill/test_tracking.py": 45,
    "tests/integration/jobs/test_flight.py": 40,
    "tests/integration/test_estimator_checks.py": 37,
    "tests/integration/processes/test_ends.py": 36,
    "tests/distill/export/test_export.py": 36,
    "tests/benchmarks/test_utility.py": 33,
    "tests/integration/test_notebook.py": 28,
}


def parts(tests: int, processes: int) -> list[int]:
    """How many tests each process is given at first."""
    found = []
    for process in range(processes):
        found.append((tests - sum(found)) // (processes - process))
    return found


def in_order(files: Sequence[str], processes: int) -> list[int]:
    """The tests' order, by their places.

    Args:
        files: of each test, in the order in which they were found.
        processes: that run them.

    Returns:
        The same places, so that each process's part begins with files that take long, about as long
        in all; the others stay as they were.
    """
    places: dict[str, list[int]] = {name: [] for name in SECONDS}
    others = []
    for place, name in enumerate(files):
        places.get(name, others).append(place)
    taken = [0.0] * processes
    first: list[list[int]] = [[] for _ in range(processes)]
    for name in sorted(SECONDS, key=lambda name: -SECONDS[name]):
        if places[name]:
            process = taken.index(min(taken))
            taken[process] += SECONDS[name]
            first[process] += places[name]
    order: list[int] = []
    for begins, size in zip(first, parts(len(files), processes), strict=True):
        rest = max(0, size - len(begins))
        order += begins + others[:rest]
        others = others[rest:]
    return order + others
