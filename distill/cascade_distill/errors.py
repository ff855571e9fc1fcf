"""Errors of training and distillation.

DistillError
├── DiskFull            nothing was lost but the file being written
├── CheckpointMismatch  a run folder holds another table's or configuration's training
├── TrainingStopped     Ctrl-C; the run can resume from here
├── DrawingStopped      likewise, while the teacher drew rows for the student
├── TrainingDiverged    the loss is no longer a number
├── RunIncomplete       an earlier step has not been done
├── RunDamaged          a file of a run folder cannot be read
├── RunBusy             another command is using the run folder
├── HeldOutRefused      the validation rows cannot be used
├── NothingHeldOut      there are no real rows to compare with
├── OtherTable          a file is not the one that a run was trained on
├── LeansOnItsRows      synthetic rows are closer to the training rows than real ones are
├── ParityError         an exported graph disagrees with its network
└── TrackingError       MLflow is configured, but cannot be used
"""

from __future__ import annotations

from pathlib import Path


class DistillError(Exception):
    """Base of this package's errors; its message is written for the user at the terminal."""


class DiskFull(DistillError):
    """The disk filled up while `path` was written; the previous file is intact."""

    def __init__(self, path: Path, needed: int) -> None:
        super().__init__(
            f"no space left to write {path} ({needed / 1e6:.1f} MB needed); nothing half-written "
            "was left behind; free some space and run the same command again to resume"
        )


class CheckpointMismatch(DistillError):
    """A checkpoint belongs to a different training run than the requested one."""

    def __init__(self, path: Path, found: str, expected: str) -> None:
        super().__init__(
            f"{path} belongs to another run (its fingerprint is {found[:12]}, this run's is "
            f"{expected[:12]}): the data, the seed or the configuration differ; choose another "
            "folder or delete it"
        )


class TrainingStopped(DistillError):
    """The user stopped the training; everything so far is saved."""

    def __init__(self, step: int, steps: int, path: Path) -> None:
        super().__init__(
            f"stopped at step {step:,} of {steps:,}; saved in {path}; "
            "run the same command again to resume"
        )


class DrawingStopped(DistillError):
    """The user stopped the drawing of a teacher's rows; whole batches are kept."""

    def __init__(self, done: int, rows: int, folder: Path) -> None:
        super().__init__(
            f"stopped at {done:,} of {rows:,} teacher rows; kept in {folder}; "
            "run the same command again to resume"
        )


class TrainingDiverged(DistillError):
    """The loss became NaN or infinite."""

    def __init__(self, step: int, learning_rate: float) -> None:
        super().__init__(
            f"the loss is not a finite number at step {step:,} (learning rate "
            f"{learning_rate:.2g}); a smaller learning rate usually helps"
        )


class RunIncomplete(DistillError):
    """A run folder lacks the input of this command."""


class RunDamaged(DistillError):
    """A file of a run folder is not what this package wrote: cut off, or another program's."""

    def __init__(self, path: Path, why: object) -> None:
        super().__init__(
            f"{path} cannot be read ({str(why) or type(why).__name__}); delete it, and run "
            "`cascade fit` and `cascade distill` again: they make anew what is not there"
        )


class RunBusy(DistillError):
    """Another command is using the run folder."""


class HeldOutRefused(DistillError):
    """The validation rows lack columns, or none of them can be used."""


class NothingHeldOut(DistillError):
    """A run held out no rows of its table, and was given no others to compare with."""


class OtherTable(DistillError):
    """The given file is not the one that the run was trained on."""


class LeansOnItsRows(DistillError):
    """A release's rows are closer to the training rows than held-out rows are."""


class ParityError(DistillError):
    """An exported graph's tokens differ from its network's on too many rows."""


class TrackingError(DistillError):
    """MLflow is configured, but its client is not installed or its server does not answer."""
