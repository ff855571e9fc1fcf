"""docs/testing.md is a promise: its snippets are run as they stand, one after the other."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

PAGE = Path(__file__).parents[3] / "docs/testing.md"


def test_snippets() -> None:
    names: dict[str, Any] = {}
    snippets = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    assert len(snippets) >= 7
    for snippet in snippets:
        exec(snippet, names)
