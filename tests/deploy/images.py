"""Dockerfiles, read into their stages."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[2]


@dataclass
class Stage:
    """From one FROM to the next.

    Attributes:
        base: an image, or another stage.
        steps: instructions with what follows them, in order.
    """

    base: str
    steps: list[tuple[str, str]] = field(default_factory=list)

    def all(self, instruction: str) -> list[str]:
        return [rest for name, rest in self.steps if name == instruction]

    def one(self, instruction: str) -> str:
        (found,) = self.all(instruction)
        return found

    def words(self, instruction: str) -> list[str]:
        """Of an instruction in its JSON form."""
        found: list[str] = json.loads(self.one(instruction))
        return found

    @property
    def environment(self) -> dict[str, str]:
        return dict(pair.split("=", 1) for env in self.all("ENV") for pair in env.split())


def stages(path: Path) -> dict[str, Stage]:
    """By name, in order; one without a name by its number."""
    text = "\n".join(
        line for line in path.read_text().splitlines() if not re.match(r"\s*(#|$)", line)
    )
    found: dict[str, Stage] = {}
    for line in text.replace("\\\n", " ").splitlines():
        instruction, rest = line.split(maxsplit=1)
        if instruction == "FROM":
            base, *name = re.split(" AS ", rest.strip())
            stage = found[name[0] if name else str(len(found))] = Stage(base)
        else:
            stage.steps.append((instruction, rest))
    return found
