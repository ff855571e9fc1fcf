"""Choice of network size and training length from a table's rows and columns.

A large network memorises a table of few rows, whatever the number of steps, and a small one does
not learn a table of many rows. So the size grows with the rows, and regularisation (dropout, few
steps) shrinks. Between 8,000 and 100,000 rows the choice is the same; docs/training.md has the
figures and the reasons. All functions are pure.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from cascade_distill.models.student import StudentConfig
from cascade_distill.models.teacher import TeacherConfig
from cascade_distill.training.schedule import TrainConfig

# From this many columns, the network is one size larger.
MANY_COLUMNS = 100
# The range in which this project has been measured; outside of it, `warnings` says so.
MOST_COLUMNS, FEWEST_ROWS, ROWS_A_COLUMN = 200, 1_000, 20
# Rows to hold out: a tenth, but at least the first number, and never more than a fifth.
FEWEST_HELD_OUT, MOST_HELD_OUT = 100, 4_096
MOST_HELD_OUT_LESSONS = 1_024
# Probabilities that lessons may keep in memory, of two bytes each; and the fewest lessons, however
# wide rows are.
MOST_PROBABILITIES, FEWEST_LESSONS = 2**27, 1_024
# The teacher's probabilities are kept for one row in this many.
ROWS_OF_ONE_ASKED = 3
# With fewer rows none are held out: their loss would be noise.
TOO_FEW_TO_HOLD_OUT = 50


@dataclass(frozen=True)
class TeacherRecipe:
    """Settings of `cascade fit`: the network's size and its training; see `teacher_recipe`.

    The defaults are for a table of tens of thousands of rows, which is small: dropout and weight
    decay keep the network from memorising its rows; see docs/adr/0003.
    """

    model: TeacherConfig = field(default_factory=TeacherConfig)
    train: TrainConfig = field(
        default_factory=lambda: TrainConfig(steps=8000, weight_decay=0.3, tolerance=0.003)
    )


@dataclass(frozen=True)
class StudentRecipe:
    """Settings of `cascade distill`; see `student_recipe`.

    Attributes:
        model: the student's size.
        train: its training.
        rows: rows that the teacher draws, each a lesson (see `distilling.lessons`); some of them
            are held out.
        listened: weight of the teacher's probabilities in the loss, from 0 to 1; the rest is that
            of the rows themselves.
        table_share: share of the table's own rows in each step. 0 for tables without held-out rows,
            where nothing would tell when to stop.
    """

    model: StudentConfig = field(default_factory=StudentConfig)
    train: TrainConfig = field(
        default_factory=lambda: TrainConfig(
            steps=4000, batch_rows=256, learning_rate=3e-3, patience=10, tolerance=0.01
        )
    )
    rows: int = 98_304
    listened: float = 0.5
    table_share: float = 0.25


@dataclass(frozen=True)
class DistillingPace:
    """Speed of `cascade distill` on a machine.

    Attributes:
        seconds_a_row: time to draw one row with the teacher, including its share of computing
            probabilities.
        seconds_a_step: time per step of the student's training.
    """

    seconds_a_row: float
    seconds_a_step: float

    def seconds(self, recipe: StudentRecipe) -> float:
        """Return the most seconds that distilling by a recipe takes."""
        return recipe.rows * self.seconds_a_row + recipe.train.steps * self.seconds_a_step


@dataclass(frozen=True)
class _Size:
    """Sizes chosen for tables of at least `rows` rows.

    Attributes:
        rows: training rows.
        width: of the teacher's stream; its blocks are twice as wide.
        fine_width: see `TeacherConfig`.
        dropout: of the teacher's blocks; its input's is half of that.
        steps: most steps of the teacher.
        batch_rows: rows per step of the teacher.
        student_steps, teacher_rows: of the student.
        tolerance, student_tolerance: of the two trainings; see `TrainConfig`.
        table_share: see `StudentRecipe`.
    """

    rows: int
    width: int
    fine_width: int
    dropout: float
    steps: int
    batch_rows: int
    student_steps: int
    teacher_rows: int
    tolerance: float = 0.0
    student_tolerance: float = 0.0
    table_share: float = 0.0


SIZES = (
    _Size(0, 32, 16, 0.4, 1_000, 256, 300, 24_576),
    _Size(500, 64, 16, 0.4, 2_000, 256, 400, 24_576),
    _Size(2_000, 128, 32, 0.3, 4_000, 512, 1_000, 49_152),
    _Size(8_000, 256, 48, 0.2, 8_000, 1024, 4_000, 98_304, 0.003, 0.01, 0.25),
    _Size(100_000, 256, 48, 0.1, 12_000, 1024, 6_000, 196_608, 0.003, 0.01, 0.25),
    _Size(1_000_000, 384, 64, 0.05, 20_000, 2048, 8_000, 196_608, 0.003, 0.01, 0.25),
)


# Network width below which casting to bfloat16 takes longer than it saves.
WORTH_CASTING = 256
# Available widths; a table of many columns gets the next larger one than its rows require.
WIDTHS = (32, 64, 128, 256, 384, 512)


def _size(rows: int, columns: int) -> tuple[_Size, int]:
    """Return the size for a number of rows, and the width, which also depends on the columns."""
    size = max((each for each in SIZES if rows >= each.rows), key=lambda each: each.rows)
    index = WIDTHS.index(size.width) + (columns >= MANY_COLUMNS)
    return size, WIDTHS[index]


def teacher_recipe(
    rows: int, columns: int, held_out: bool = True, bfloat16: bool = True
) -> TeacherRecipe:
    """Choose the teacher for a table.

    Args:
        rows: training rows.
        columns: of the schema.
        held_out: whether held-out rows can tell when to stop; without them a table of few rows gets
            a quarter of the steps.
        bfloat16: whether the machine has it; see `training.fast_bfloat16`.
    """
    size, width = _size(rows, columns)
    plain = TeacherRecipe()
    model = replace(
        plain.model,
        width=width,
        hidden=2 * width,
        fine_width=size.fine_width,
        dropout=size.dropout,
        input_dropout=size.dropout / 2,
    )
    steps = size.steps if held_out else min(size.steps, max(250, size.steps // 4))
    train = replace(
        plain.train,
        batch_rows=size.batch_rows,
        bfloat16=bfloat16 and width >= WORTH_CASTING,
        evaluate_every=max(20, size.steps // 80),
        patience=10,
        tolerance=size.tolerance,
    )
    return TeacherRecipe(model, with_steps(train, steps))


def student_recipe(rows: int, columns: int, bfloat16: bool = True) -> StudentRecipe:
    """Choose the student for a table; the arguments are those of `teacher_recipe`."""
    size, _ = _size(rows, columns)
    plain = StudentRecipe()
    train = replace(
        plain.train,
        bfloat16=bfloat16 and size.width >= WORTH_CASTING,
        evaluate_every=max(10, size.student_steps // 40),
        tolerance=size.student_tolerance,
    )
    return replace(
        plain,
        train=with_steps(train, size.student_steps),
        rows=size.teacher_rows,
        table_share=size.table_share,
    )


def lessons_to_hold_out(rows: int) -> int:
    """Return how many of a teacher's rows to hold out, to tell when the student should stop."""
    return min(MOST_HELD_OUT_LESSONS, rows // 8)


def fitting_memory(recipe: StudentRecipe, sizes: Sequence[int]) -> StudentRecipe:
    """Limit a recipe to the number of lessons that fit into memory.

    Args:
        recipe: the recipe for the table.
        sizes: tokens of each slot; a lesson keeps one probability per token.
    """
    most = max(FEWEST_LESSONS, MOST_PROBABILITIES // sum(sizes))
    return replace(recipe, rows=min(recipe.rows, ROWS_OF_ONE_ASKED * most))


def asked_about(rows: int) -> int:
    """Return for how many of its rows the teacher computes probabilities."""
    return max(1, rows // ROWS_OF_ONE_ASKED)


def with_steps(train: TrainConfig, steps: int) -> TrainConfig:
    """Return the same training over another number of steps.

    Warm-up and the interval of evaluation are a tenth of the steps at most.
    """
    part = max(1, steps // 10)
    return replace(
        train,
        steps=steps,
        warmup_steps=min(train.warmup_steps, part),
        evaluate_every=min(train.evaluate_every, part),
    )


def within(recipe: TeacherRecipe, minutes: float, seconds_a_step: float) -> TeacherRecipe:
    """Limit a recipe to the steps that fit into the minutes; the clock also ends training after
    them.

    The learning rate falls to zero over the steps that fit, so that a shorter run ends properly
    instead of half-way.

    Args:
        recipe: the recipe for the table.
        minutes: time limit of its training.
        seconds_a_step: as measured on this machine.
    """
    # A twentieth is left for evaluating the held-out rows, and for checkpoints.
    fit = max(1, math.floor(0.95 * 60 * minutes / seconds_a_step))
    train = with_steps(recipe.train, min(recipe.train.steps, fit))
    return replace(recipe, train=replace(train, most_seconds=60 * minutes))


def distilling_within(recipe: StudentRecipe, minutes: float, pace: DistillingPace) -> StudentRecipe:
    """Limit a recipe to the rows and steps that fit into the minutes; as `within`.

    Rows get up to a third of the time. The clock bounds the steps by the remaining time.
    """
    seconds = 0.95 * 60 * minutes
    rows = min(recipe.rows, max(FEWEST_LESSONS, math.floor(seconds / 3 / pace.seconds_a_row)))
    left = max(0.0, seconds - rows * pace.seconds_a_row)
    steps = min(recipe.train.steps, max(1, math.floor(left / pace.seconds_a_step)))
    train = replace(with_steps(recipe.train, steps), most_seconds=max(1.0, left))
    return replace(recipe, train=train, rows=rows)


def rows_to_hold_out(rows: int) -> int:
    """Return how many of a table's rows to hold out: a tenth, or a larger part of a small table."""
    if rows < TOO_FEW_TO_HOLD_OUT:
        return 0
    return min(MOST_HELD_OUT, max(rows // 10, min(FEWEST_HELD_OUT, rows // 5)))


def warnings(rows: int, columns: int) -> list[str]:
    """Return sentences that warn about a table that is too small or too wide."""
    said = []
    if rows < TOO_FEW_TO_HOLD_OUT:
        said.append(
            f"{rows:,} rows are too few to hold any out: nothing tells when training should end, "
            "and nothing that is learnt of them can be checked"
        )
    elif rows < FEWEST_ROWS:
        said.append(
            f"{rows:,} rows are few: expect the shape of single columns and the strongest "
            "relations between them, not more; see what `cascade evaluate` says of copies"
        )
    elif rows < ROWS_A_COLUMN * columns:
        said.append(
            f"{rows:,} rows are few for {columns:,} columns: leave out columns that nobody will "
            "ask for ({drop: true} in the schema file)"
        )
    if columns > MOST_COLUMNS:
        said.append(
            f"{columns:,} columns are many (this was made with up to {MOST_COLUMNS}): the student "
            "draws one after the other and the teacher takes a pass a column, so that both get "
            "slower with each; leave out columns that nobody will ask for"
        )
    return said


def described(recipe: TeacherRecipe, rows: int, columns: int, held_out: int) -> str:
    """Describe the recipe in a few lines for the terminal."""
    model, train = recipe.model, recipe.train
    lines = [
        f"teacher for {rows:,} rows of {columns:,} columns: width {model.width}, "
        f"{model.blocks} blocks of {model.hidden}, dropout {model.dropout:g}, "
        f"weight decay {train.weight_decay:g}",
        f"training: at most {train.steps:,} steps of {train.batch_rows:,} rows",
    ]
    if held_out and train.patience:
        lines.append(
            f"held out: {held_out:,} rows, looked at every {train.evaluate_every:,} steps; when "
            f"{train.patience} looks in a row are worse than the best the learning rate falls to "
            "nothing over a quarter more steps, and it ends; the last good state is kept"
        )
    return "\n".join(lines)


def duration(seconds: float) -> str:
    """Format a duration as a person says it: "about 40 seconds", "about 6 minutes"."""
    for size, unit in ((3600.0, "hour"), (60.0, "minute")):
        if seconds >= 1.5 * size:
            count = seconds / size
            return f"about {count:.1f} {unit}s" if count < 10 else f"about {count:.0f} {unit}s"
    count = max(1, round(seconds))
    return f"about {count} second{'s' * (count != 1)}"
