"""The same student in our server and in a real Triton, each with the whole machine.

    python -m benchmarks.triton --table credit

Triton runs the bare student: tokens in, tokens out, once a batch in its Python backend; whoever
calls it has to encode and decode. Ours does the whole job: values in, values out, checked, with
provenance, objectives counted. h2load asks for one row with three features late a call: the default
server one call at a time, then a server with two workers (`--workers`, all else as it ships) 16 in
flight, and 16 in flight with 16 rows a call, since Triton has the whole machine too. Over
`SynthesizeStream`, 16 in flight on four streams, ours is asked by `cascade_loadtest.stream_loop`.
Keys with `open_inference` compare like with like: ours is asked for the bare student too, by
Triton's own protocol and with the same tensors.

The three servers take turns, and the others are gone meanwhile: each is started, warmed with what
it is about to be asked, asked and ended.

    python -m benchmarks.triton --inside

asks a table's own models in one Triton beside the bare student: see `benchmarks.triton.inside`;
inside_throughput_ratio is calls/s of the cascade to the bare student's.

The last line is one JSON object; ratios are ours to Triton's, medians over the rounds: p50_ratio_1,
p99_ratio_1, p99_ratio_16, throughput_ratio_16, stream_throughput_ratio_16, rows_ratio_16,
open_inference_throughput_ratio_16.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from cascade_loadtest.errors import LoadFailed

from benchmarks.load.triton import inside, side_by_side
from benchmarks.peers.environments import NotInstalled
from benchmarks.peers.triton_server import TritonFailed
from benchmarks.tables import ROOT


def main() -> None:
    """Start, warm, ask and end each in turn, then print."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.triton", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--table", default="credit")
    parser.add_argument("--repository", type=Path, default=ROOT / "model_repository")
    parser.add_argument("--instances", type=int, default=1, help="of the model in Triton")
    parser.add_argument("--workers", type=int, default=2, help="of ours, at 16 in flight")
    parser.add_argument("--inside", action="store_true", help="the cascade inside Triton")
    parser.add_argument(
        "--student",
        choices=("here", "called"),
        help="with --inside: who runs the student for the cascade; as configured by default",
    )
    parser.add_argument(
        "--priorities",
        action="store_true",
        help="with --inside: Triton queues the cascade's requests by priority",
    )
    parser.add_argument("--rounds", type=int, help="5; with --inside 60, which are shorter")
    parser.add_argument("--calls", type=int, help="4000; with --inside 1500")
    options = parser.parse_args()
    # Inside one Triton rounds may be short: a change of the machine's speed is then in all models
    # of a round.
    rounds, calls = (60, 1500) if options.inside else (5, 4000)
    options.rounds, options.calls = options.rounds or rounds, options.calls or calls
    measured = inside.measured if options.inside else side_by_side.measured
    try:
        found = measured(options)
    except (LoadFailed, NotInstalled, TritonFailed) as exc:
        sys.exit(f"error: {exc}")
    print(json.dumps(found))


if __name__ == "__main__":
    main()
