"""What anybody may send or leave on a disk, by the million: docs/fuzzing.md says how it is run.

A target takes bytes and does with them what the product does with those of a stranger. Whatever it
raises is a defect: errors that the project has a type for are caught by the target itself.

    target.py, judging.py   what a target is, and what counts as a defect
    registry.py, targets/   all of them
    changing.py, building.py  inputs: changed at random, and built after a message's description
    inputs.py               the kept inputs, one file a target: corpus/, found/
    child.py, program.py    one target in a process of its own, and all in turn
"""
