"""All targets in turn, what was found, and what is kept of it.

python -m tests.fuzz                              all targets, a minute each
python -m tests.fuzz run --target yaml --seconds 600
python -m tests.fuzz replay yaml fuzz-findings/yaml-1f2e3d4c5b6a
python -m tests.fuzz keep yaml fuzz-findings/yaml-1f2e3d4c5b6a "a bomb of aliases"
"""

from __future__ import annotations

import argparse
import json
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from tests.fuzz import inputs, sanitised
from tests.fuzz.child import HEAD
from tests.fuzz.judging import Bounds, judge, listening
from tests.fuzz.registry import TARGETS
from tests.fuzz.target import Target

ROOT = Path(__file__).parents[2]
FINDINGS = ROOT / "fuzz-findings"
REPORT = ROOT / "docs" / "figures" / "fuzzing.json"
# Seconds beyond what a process was given, after which it is ended.
GRACE = 120
NO_ATHERIS = (
    "atheris is not installed: inputs are changed by chance alone, not after what they reach; "
    "pip install 'cascade-synthesis[fuzz]'"
)


@dataclass
class Result:
    """What came of a target.

    Attributes:
        inputs: that it read, by driver.
        seconds: that this took.
        findings: paths of inputs that are defects.
        leaked: bytes that it kept of inputs which it had read before; None: nobody looked.
    """

    target: str
    inputs: dict[str, int] = field(default_factory=dict)
    seconds: float = 0.0
    findings: list[str] = field(default_factory=list)
    leaked: int | None = None


def fuzz(target: Target, seconds: float, seed: int, drivers: Sequence[str]) -> Result:
    """Have a target read inputs for so long, and keep what is worth it."""
    result = Result(target.name)
    with tempfile.TemporaryDirectory(prefix="fuzz-") as name:
        folder = Path(name)
        for driver in drivers:
            began = time.monotonic()
            sanitising = driver.endswith("-sanitised")
            plain = driver.removesuffix("-sanitised")
            _run(target, folder, plain, seconds / len(drivers), seed, sanitising)
            result.seconds += time.monotonic() - began
            result.inputs[driver] = _count(folder)
            (folder / "note").unlink(missing_ok=True)
        if (folder / "corpus").exists():
            _run(target, folder, "least", 40, seed, False)
            _keep_least(target, folder)
            (folder / "note").unlink(missing_ok=True)
        _run(target, folder, "leaks", 60, seed, False)
        if (told := folder / "leaks.json").exists():
            result.leaked = int(json.loads(told.read_text())["grown"])
        result.findings = _findings(target, folder)
    return result


def _run(
    target: Target, folder: Path, driver: str, seconds: float, seed: int, sanitising: bool
) -> None:
    command = [sys.executable, "-m", "tests.fuzz.child", target.name, str(folder)]
    command += ["--driver", driver, "--seconds", f"{seconds:g}", "--seed", str(seed)]
    environment = sanitised.environment(driver == "coverage") if sanitising else sanitised.plain()
    log = folder / "log"
    with log.open("wb") as file:
        try:
            ended = subprocess.run(
                command, cwd=ROOT, env=environment, stdout=file, stderr=file,
                timeout=seconds + GRACE, check=False,
            ).returncode  # fmt: skip
        except subprocess.TimeoutExpired:
            ended = -1
    if ended and driver in ("coverage", "changes"):
        _crashed(folder, driver, ended, log.read_bytes()[-20_000:].decode("utf-8", "replace"))


def _crashed(folder: Path, driver: str, ended: int, said: str) -> None:
    """A process that did not end by itself: what it was reading is the finding."""
    data = _note(folder)[1]
    path = folder / f"found-{inputs.short_name(data)}"
    path.write_bytes(data)
    path.with_suffix(".txt").write_text(f"{driver} ended with {ended}\n{said}")


def _note(folder: Path) -> tuple[int, bytes]:
    path = folder / "note"
    if not path.exists():
        return 0, b""
    content = path.read_bytes()
    count, size = HEAD.unpack_from(content)
    return count, content[HEAD.size : HEAD.size + size]


def _count(folder: Path) -> int:
    return _note(folder)[0]


def _keep_least(target: Target, folder: Path) -> None:
    least = [path.read_bytes() for path in (folder / "least").glob("*")]
    if least:
        before = inputs.read(inputs.CORPUS, target.name)
        found = inputs.smallest([*least, *before])
        inputs.write(inputs.CORPUS, target.name, {each: before.get(each, "") for each in found})


def _findings(target: Target, folder: Path) -> list[str]:
    out = []
    for path in sorted(folder.glob("found-*.txt")):
        FINDINGS.mkdir(exist_ok=True)
        name = f"{target.name}-{path.stem.removeprefix('found-')}"
        shutil.copy(path.with_suffix(""), FINDINGS / name)
        shutil.copy(path, FINDINGS / f"{name}.txt")
        mark = path.read_text(errors="replace").partition("\n")[0]
        print(f"  {mark}\n    python -m tests.fuzz replay {target.name} fuzz-findings/{name}")
        out.append(f"{name}: {mark}")
    return out


def drivers_of(target: Target, asked: str) -> list[str]:
    """How a target is driven, as far as this machine can."""
    plain = "coverage" if find_spec("atheris") is not None else "changes"
    if asked != "all":
        return [asked]
    found = [plain]
    if target.native and (how := sanitised.available()):
        found.append(f"{how}-sanitised")
    return found


def run(asked: argparse.Namespace) -> int:
    """Run targets in turn; 1: something was found."""
    names = asked.target or list(TARGETS)
    if find_spec("atheris") is None:
        print(NO_ATHERIS)
    results = []
    for name in names:
        target = TARGETS[name]
        result = fuzz(target, asked.seconds, asked.seed, drivers_of(target, asked.driver))
        results.append(result)
        counts = ", ".join(f"{count:,} by {driver}" for driver, count in result.inputs.items())
        leaked = "" if result.leaked is None else f", {result.leaked / 2**20:+.1f} MiB kept"
        print(f"{name}: {counts}{leaked}, {len(result.findings)} findings", flush=True)
        if asked.report:
            note(asked.report, [result])
    found = sum(len(each.findings) for each in results)
    count = sum(sum(each.inputs.values()) for each in results)
    print(json.dumps({"inputs": count, "targets": len(results), "findings": found}))
    return 1 if found else 0


def note(path: Path, results: Sequence[Result]) -> None:
    """Add to the report that is kept: inputs and findings by target, over all runs."""
    kept: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    by_target: dict[str, Any] = kept.get("targets", {})
    for each in results:
        before = by_target.get(each.target, {"inputs": {}, "seconds": 0.0, "findings": 0})
        inputs_of = {
            driver: before["inputs"].get(driver, 0) + each.inputs.get(driver, 0)
            for driver in sorted({*before["inputs"], *each.inputs})
        }
        by_target[each.target] = {
            "about": TARGETS[each.target].about,
            "inputs": inputs_of,
            "seconds": round(before["seconds"] + each.seconds, 1),
            "findings": before["findings"] + len(each.findings),
            "kept_bytes_grown": each.leaked,
        }
    ordered = {name: by_target[name] for name in TARGETS if name in by_target}
    content = {
        "python": platform.python_version(),
        "inputs": sum(sum(each["inputs"].values()) for each in ordered.values()),
        "targets": ordered,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=2) + "\n")


def table(report: Mapping[str, Any]) -> str:
    """The report as docs/fuzzing.md has it."""
    lines = [
        "| target | what it reads | inputs | of these sanitised |",
        "| --- | --- | ---: | ---: |",
    ]
    for name, each in report["targets"].items():
        every = each["inputs"]
        hard = sum(count for driver, count in every.items() if driver.endswith("-sanitised"))
        told = f"{hard:,}" if hard else ""
        lines.append(f"| `{name}` | {each['about']} | {sum(every.values()):,} | {told} |")
    return "\n".join(lines)


def replay(name: str, data: bytes, bounds: Bounds | None = None) -> None:
    """Read one input as fuzzing does; raises Defect."""
    target = TARGETS[name]
    run = target.opened()
    with listening() as taken:
        judge(run, data, taken, bounds or Bounds(target.seconds))


def keep(name: str, data: bytes, about: str) -> None:
    """Keep an input that was a defect, so that the tests read it from now on."""
    found = inputs.read(inputs.FOUND, name)
    inputs.write(inputs.FOUND, name, {**found, data: about})


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    runs = commands.add_parser("run", help="have targets read inputs")
    runs.add_argument("--target", action="append", choices=sorted(TARGETS))
    runs.add_argument("--seconds", type=float, default=60.0, help="of each target")
    runs.add_argument("--seed", type=int, default=int(time.time()))
    runs.add_argument("--driver", default="all",
                      choices=("all", "coverage", "changes", "coverage-sanitised",
                               "changes-sanitised"))  # fmt: skip
    runs.add_argument("--report", type=Path, help="add counts to this file")
    again = commands.add_parser("replay", help="read one input again")
    again.add_argument("name", choices=sorted(TARGETS))
    again.add_argument("input", type=Path)
    keeps = commands.add_parser("keep", help="have the tests read an input from now on")
    keeps.add_argument("name", choices=sorted(TARGETS))
    keeps.add_argument("input", type=Path)
    keeps.add_argument("about", help="what was wrong")
    commands.add_parser("list", help="name the targets")
    commands.add_parser("report", help="print the kept report as a table")
    asked = parser.parse_args(arguments)
    if asked.command == "run":
        return run(asked)
    if asked.command == "replay":
        replay(asked.name, asked.input.read_bytes())
        print("it was taken as it should be")
    elif asked.command == "keep":
        keep(asked.name, asked.input.read_bytes(), asked.about)
    elif asked.command == "list":
        for name, target in TARGETS.items():
            print(f"{name:20} {target.about}")
    else:
        print(table(json.loads(REPORT.read_text())))
    return 0
