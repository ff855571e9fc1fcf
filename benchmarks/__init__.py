"""What docs/ says, measured: each program prints one JSON object on its last line.

Programs live in rooms, by what they measure. Each is run by its own name, whichever room it is in:
`python -m benchmarks.latency`. So what people type, and what docs/ and Makefile say, outlives a
move to another room. Rooms are on this package's path for that, and their programs' names differ.
Imports name the room too, as everywhere: `from benchmarks.learning.fidelity import learn`.
"""

from pathlib import Path

ROOMS = ("load", "networks", "learning", "watching")
__path__ += [str(Path(__file__).with_name(room)) for room in ROOMS]
