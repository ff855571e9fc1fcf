"""What takes long is begun first, by one process each."""

from __future__ import annotations

from itertools import accumulate
from pathlib import Path

import pytest

from tests.begun_first import SECONDS, in_order, parts

LONG = list(SECONDS)
FILES = [f"tests/a/test_{number // 10}.py" for number in range(3000)]
for number, name in enumerate(LONG):
    FILES[200 * number // 2 : 200 * number // 2] = [name] * (3 + number)


@pytest.mark.parametrize("processes", [1, 2, 3, 4])
def test_each_process_begins_with_whole_files(processes: int) -> None:
    order = in_order(FILES, processes)
    assert sorted(order) == list(range(len(FILES)))
    sizes = parts(len(FILES), processes)
    assert sum(sizes) == len(FILES)
    seconds = []
    for end, size in zip(accumulate(sizes), sizes, strict=True):
        part = [FILES[place] for place in order[end - size : end]]
        long = [name for name in part if name in SECONDS]
        assert part[: len(long)] == long
        assert all(long.count(name) == FILES.count(name) for name in long)
        seconds.append(sum(SECONDS[name] for name in dict.fromkeys(long)))
    assert sum(seconds) == sum(SECONDS.values())
    assert max(seconds) - min(seconds) <= max(SECONDS.values()) / 2


def test_the_others_stay_in_their_order() -> None:
    order = [place for place in in_order(FILES, 3) if FILES[place] not in SECONDS]
    assert order == sorted(order)


def test_of_few_tests_none_is_lost() -> None:
    files = [LONG[0]] * 5 + ["tests/a/test_b.py"]
    assert sorted(in_order(files, 4)) == list(range(6))


def test_they_are_there() -> None:
    root = Path(__file__).parents[1]
    assert [name for name in SECONDS if not (root / name).is_file()] == []
