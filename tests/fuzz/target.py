"""What is fuzzed: a function of bytes, with inputs to begin from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Target:
    """Something that reads bytes of strangers.

    Attributes:
        name: as it is asked for, `make fuzz TARGET=name`; of its files, too.
        about: whose bytes they are, and who reads them.
        opened: makes ready what takes long, and returns the function that reads one input. That
            raises what is a defect and nothing else.
        seeds: inputs that are read without objection, or nearly so, to be changed.
        words: parts of inputs that chance does not come upon: keys, names, numbers at an edge.
        packages: whose code is watched for parts that no input has reached before.
        most_bytes: of an input.
        native: whether compiled code of the project reads it.
        seconds: of processor time that an input may take.
    """

    name: str
    about: str
    opened: Callable[[], Callable[[bytes], None]]
    seeds: Callable[[], Sequence[bytes]]
    words: Sequence[bytes] = ()
    packages: Sequence[str] = field(default=("cascade_tables",))
    most_bytes: int = 4096
    native: bool = False
    seconds: float = 5.0
