"""What keeps the teacher from learning rows by heart: its loss on rows it saw and rows held out.

    python -m benchmarks.regularisation --table credit --steps 3000

Trains one teacher a variant and prints, for each, the order-averaged negative log-likelihood in
nats a row of train and of held-out rows. The last line is one JSON object: {variant: {train, test}}
"""

from __future__ import annotations

import argparse
import json
import tempfile
from dataclasses import asdict, replace
from pathlib import Path

import torch
from cascade_distill.models.neighbours import chosen_neighbours, neighbours_of
from cascade_distill.models.teacher import Denoiser, random_observed
from cascade_distill.recipes import TeacherRecipe
from cascade_distill.training.loop import fingerprint, train
from cascade_distill.training.progress import bar
from cascade_tables import Codec, infer_schema
from rich.console import Console
from torch import Tensor

from benchmarks.tables import named

ROWS, REPEATS = 6000, 4
console = Console(stderr=True)


def variants(recipe: TeacherRecipe) -> dict[str, TeacherRecipe]:
    """The recipe, and what is left when parts of it are taken away."""
    no_dropout = replace(recipe.model, input_dropout=0.0, dropout=0.0)
    no_decay = replace(recipe.train, weight_decay=1e-4)
    return {
        "neither": replace(recipe, model=no_dropout, train=no_decay),
        "dropout": replace(recipe, train=no_decay),
        "weight decay": replace(recipe, model=no_dropout),
        "both": recipe,
    }


@torch.no_grad()
def mean_loss(model: Denoiser, tokens: Tensor) -> float:
    """Over the first rows, with the same masks for every model."""
    generator = torch.Generator().manual_seed(1)
    losses = []
    for _ in range(REPEATS):
        for part in tokens[:ROWS].split(1024):
            observed = random_observed(len(part), model.layout, generator)
            losses.append(float(model.loss(part, observed)))
    return sum(losses) / len(losses)


def learn(recipe: TeacherRecipe, tokens: Tensor, codec: Codec, name: str) -> Denoiser:
    """One teacher, kept nowhere."""
    torch.manual_seed(recipe.train.seed)
    targets = neighbours_of(codec, chosen_neighbours(codec, tokens.numpy()))
    model = Denoiser(codec.layout, recipe.model, targets)
    rows = recipe.train.batch_rows

    def loss(generator: torch.Generator) -> Tensor:
        picked = torch.randint(len(tokens), (rows,), generator=generator)
        observed = random_observed(rows, codec.layout, generator)
        return model.loss(tokens[picked], observed, generator)

    with tempfile.TemporaryDirectory() as folder, bar(name, "steps", console) as progress:
        path = Path(folder) / "checkpoint.safetensors"
        train(model, loss, recipe.train, path, fingerprint(name, asdict(recipe)), progress)
    return model


def main() -> None:
    """Train with each setting, measure, and print how they compare."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.regularisation", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--table", required=True)
    parser.add_argument("--steps", type=int, required=True)
    options = parser.parse_args()
    table = named(options.table)
    codec = Codec.fit(infer_schema(table.train, table.overrides, rule=table.rule), table.train)
    seen, held_out = (
        torch.from_numpy(codec.learnable(part)).long() for part in (table.train, table.test)
    )
    recipe = TeacherRecipe()
    recipe = replace(recipe, train=replace(recipe.train, steps=options.steps))
    result = {}
    for name, variant in variants(recipe).items():
        model = learn(variant, seen, codec, name)
        result[name] = {
            "train": round(mean_loss(model, seen), 2),
            "test": round(mean_loss(model, held_out), 2),
        }
        console.print(f"{name}: {result[name]}")
    print(json.dumps({"table": options.table, "steps": options.steps, **result}))


if __name__ == "__main__":
    main()
