"""Examples of docstrings, and of docs/sdk.md, run: what stands there is what can be typed."""

from __future__ import annotations

import ast
import asyncio
import doctest
import functools
import importlib
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cascade_client
import numpy as np
import pandas as pd
import pytest
from cascade_client.testing import FakeServer

PAGE = Path(__file__).parents[2] / "docs/sdk.md"
MODULES = ("cascade_client", "cascade_client.testing", "cascade_client.sklearn")
BESIDE = {
    "cascade_client.job_control": ("Jobs",),
    "cascade_client.async_job_control": ("AsyncJobs",),
}
TARGET = "default_payment_next_month"
ROWS = [
    {"limit_bal": 20000 * (row + 1), "age": 21 + row, "education": "ab"[row % 2], TARGET: row % 2}
    for row in range(40)
]


class Model:
    """As scikit-learn's: all rows are as likely."""

    def fit(self, X: Any, y: Any) -> Model:
        assert len(X) == len(y)
        return self

    def predict_proba(self, X: Any) -> Any:
        return np.full((len(X), 2), 0.5)


def names() -> dict[str, Any]:
    """What examples take for granted."""
    server = FakeServer({"credit": ROWS}, chunk_rows=2000)
    train = pd.DataFrame(ROWS[:30])
    train = train[(train[TARGET] == 0) | (train.index < 6)]
    out: dict[str, Any] = {
        "Client": lambda *_, **__: server.client(),
        "Tls": cascade_client.Tls,
        "AsyncClient": lambda *_: server.async_client(),
        "client": server.client(),
        "server": server,
        "target": server.client,
        "frame": pd.DataFrame(ROWS[:5]).astype({"age": "Int64"}),
        "train": train.reset_index(drop=True),
        "features": ["limit_bal", "age"],
        "model": Model(),
        "Path": Path,
        "FakeServer": FakeServer,
        "Overloaded": cascade_client.Overloaded,
        "CascadeImputer": importlib.import_module("cascade_client.sklearn").CascadeImputer,
        "FakeLearner": importlib.import_module("cascade_client.testing").FakeLearner,
        "Jobs": importlib.import_module("cascade_client.job_control").Jobs,
    }
    out["frame"].loc[1, "age"] = pd.NA
    return out


def documented() -> Iterator[Any]:
    """What users read of: modules, their classes and functions, and these's methods."""
    found: list[tuple[str, Any]] = []
    for name in MODULES:
        module = importlib.import_module(name)
        found.append((name, module))
        if name != "cascade_client.sklearn":
            found += [(each, getattr(module, each)) for each in module.__all__]
    for name, members in BESIDE.items():
        found += [(each, getattr(importlib.import_module(name), each)) for each in members]
    for name, each in found:
        members = inspect.getmembers(each) if inspect.isclass(each) else []
        for inner, member in [("", each), *members]:
            text = inspect.getdoc(member) or ""
            if ">>>" in text and not inner.startswith("_"):
                yield pytest.param(text, id=f"{name}.{inner}".rstrip("."))


def run(source: str, known: dict[str, Any], runner: asyncio.Runner) -> None:
    """Run an example, which may await."""
    code = compile(source, "<example>", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    if code.co_flags & inspect.CO_COROUTINE:
        runner.run(eval(code, known))
    else:
        exec(code, known)


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("text", list(documented()))
def test_examples(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Where an example says what comes, that comes."""
    known = names()
    if "await" in text and " client.submit" in text:
        known["client"] = known["server"].async_client()
    with asyncio.Runner() as runner:
        for example in doctest.DocTestParser().get_examples(text):
            # An import of the client's would undo what stands in for a server.
            if example.source.startswith("from cascade_client import Client"):
                continue
            example.source = example.source.replace('"127.0.0.1:8470"', "target")
            if example.want:
                lines = example.source.rstrip().splitlines()
                last = lines[-1].strip()
                lines[-1] = lines[-1].replace(last, f"print(repr({last}))")
                run("\n".join(lines), known, runner)
                assert capsys.readouterr().out.strip() == example.want.strip()
            else:
                run(example.source, known, runner)


@functools.cache
def snippets() -> list[str]:
    return re.findall(r"^```python\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)


def test_the_page() -> None:
    pytest.importorskip("imblearn", reason="imbalanced-learn is not installed")
    assert len(snippets()) >= 6
    known = names()
    for snippet in snippets():
        exec(snippet, known)
    assert (Path("rows") / "_manifest.json").is_file()
