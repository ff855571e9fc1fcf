"""What `cascade fit` decides before it trains: what is asked of a run, how its teacher is trained,
and how long that takes at most."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from cascade_tables import RareRule, load_overrides, load_rare_rule, load_relation_overrides

from cascade_distill import recipes
from cascade_distill.given_tables import Given, fetched
from cascade_distill.learning import preparing
from cascade_distill.learning.preparing import Asked, Size
from cascade_distill.learning.student import distilling_pace
from cascade_distill.learning.teacher import pace, untaught_teacher
from cascade_distill.recipes import TeacherRecipe
from cascade_distill.runs.run import Run


def asked_of(
    tables: Sequence[Given],
    validation: Given | None,
    folder: Path | None,
    overrides: Path | None,
    encoding: str | None,
    delimiter: str | None,
    seed: int,
) -> Asked:
    """What decides the tokens of a run; what is behind URLs or comes out of a pipe is copied.

    Args:
        tables: one table, in one file or several.
        validation: rows to hold out; None: some of the table's.
        folder: of the run; None: it is not written to, and a pipe is left to whoever reads it.
        overrides: a file with corrections of the schema; None: there are none.
        encoding, delimiter: of text files; None: they are found.
        seed: of which rows are held out.

    Raises:
        CascadeTablesError: a file of overrides or a table cannot be read; names it.
        DiskFull: there is no room for a copy.
    """
    wishes = load_overrides(overrides) if overrides else {}
    relations = load_relation_overrides(overrides) if overrides else ()
    rule = load_rare_rule(overrides) if overrides else RareRule()
    paths: Sequence[Path] = fetched(tables, folder)
    held_out = fetched([validation], folder)[0] if validation else None
    if folder is not None:
        paths = preparing.spool(paths, folder)
    return Asked(tuple(paths), wishes, relations, held_out, encoding, delimiter, seed, rule)


def recipe_of(size: Size, bfloat16: bool, steps: int | None, seed: int) -> TeacherRecipe:
    """How a table's teacher is trained.

    Args:
        size: of the table.
        bfloat16: whether matrix products are in it.
        steps: at most; None: as the size says.
        seed: of training.
    """
    recipe = recipes.teacher_recipe(size.learnt, size.columns, size.held_out > 0, bfloat16)
    train = recipes.with_steps(recipe.train, steps or recipe.train.steps)
    return replace(recipe, train=replace(train, seed=seed))


def durations(run: Run, recipe: TeacherRecipe, size: Size, bfloat16: bool, threads: int) -> str:
    """In words, how long `fit` and `distill` take at most here; some steps of each are timed.

    Args:
        run: whose tokens are there.
        recipe: of the teacher.
        size: of the table.
        bfloat16: whether matrix products are in it.
        threads: that draw the teacher's rows.
    """
    fitting = recipe.train.steps * pace(run, recipe)
    student = recipes.student_recipe(size.learnt, size.columns, bfloat16)
    student = recipes.fitting_memory(student, run.codec().layout.sizes)
    untaught = untaught_teacher(run, recipe)
    distilling = distilling_pace(run, untaught, student, threads).seconds(student)
    return (
        f"fit takes {recipes.duration(fitting)} at most, cascade distill "
        f"{recipes.duration(distilling)} at most after it"
    )
