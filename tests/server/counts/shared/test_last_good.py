"""What a file said when it was last right, as processes that part from one another see it."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from cascade_server.counts.shared.last_good import LastGood
from cascade_server.errors import ConfigError


def parse(text: str) -> int:
    if not text.isdigit():
        raise ConfigError(f"{text!r} is no number")
    return int(text)


def of(path: Path, parse: Callable[[str], int] = parse) -> LastGood[int]:
    return LastGood(path.read_text, parse)


def test_what_is_right_holds(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("1")
    file = of(path)
    assert file.to_begin_with() == (1, None)
    path.write_text("2")
    assert file.to_begin_with() == (2, None)


def test_one_that_was_never_right_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("one")
    with pytest.raises(ConfigError, match="'one' is no number"):
        of(path).to_begin_with()


@pytest.mark.parametrize("length", [1, 30, 7000])
def test_who_begins_while_it_is_not_has_what_another_process_read(
    tmp_path: Path, length: int, caplog: pytest.LogCaptureFixture
) -> None:
    path, longer = tmp_path / "file", "2" * length
    path.write_text("1")
    file = LastGood(path.read_text, lambda text: str(parse(text[:1])) + text[1:])
    file.now()
    # Longer and shorter ones by turns, of which each takes the place of the one before.
    for said in (longer, "3", longer, longer + "4"):
        path.write_text(said)
        pid = os.fork()
        if pid == 0:
            os._exit(0 if file.now() == said else 1)
        assert os.waitpid(pid, 0)[1] == 0
        path.write_text("none")
        found, refused = file.to_begin_with()
        assert found == said
        assert "is no number" in str(refused)
    assert "what held before still does" in caplog.text


def test_who_takes_long_to_parse_does_not_bring_back_what_is_old(tmp_path: Path) -> None:
    """A tenant that was taken out of a file meanwhile would be let in again."""
    path = tmp_path / "file"
    path.write_text("1")

    def slow(text: str) -> int:
        if text == "1":
            path.write_text("2")
            assert file.now() == 2  # another process, that is faster
        return parse(text)

    file = of(path, slow)
    assert file.now() == 1
    path.write_text("none")
    assert file.to_begin_with()[0] == 2
