"""What is said of connections that came to nothing, and how often."""

from __future__ import annotations

from cascade_server.transport.tls.remarks import MOST_KINDS, Remarks


class Said:
    """Remarks, and a clock that is set."""

    def __init__(self) -> None:
        self.now, self.lines = 0.0, []  # type: float, list[str]
        self.remarks = Remarks(30.0, lambda: self.now, self.lines.append)


def test_the_first_of_a_kind_is_said_at_once() -> None:
    said = Said()
    said.remarks.refused("10.0.0.7", "not TLS")
    said.remarks.refused("10.0.0.8", "no certificate")
    assert [line.partition(": ")[2] for line in said.lines] == ["not TLS", "no certificate"]


def test_the_others_are_counted() -> None:
    said = Said()
    for _ in range(1000):
        said.remarks.refused("10.0.0.7", "not TLS")
    assert len(said.lines) == 1
    said.now = 30.0
    said.remarks.refused("10.0.0.9", "not TLS")
    assert said.lines[1].endswith(
        "from 10.0.0.9 has come to nothing: not TLS (999 more since this was last said)"
    )


def test_kinds_without_end_are_one() -> None:
    said = Said()
    for number in range(10 * MOST_KINDS):
        said.remarks.refused("10.0.0.7", f"reason {number}")
    assert len(said.lines) == MOST_KINDS + 1
    assert said.lines[-1].endswith("another reason")
