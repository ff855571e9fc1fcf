"""A codec that was damaged, or that somebody wrote who means harm, is refused by name: none is
opened that fails, or never ends, when a row comes."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from functools import cache
from typing import Any

import numpy as np
import pytest
from cascade_tables import Codec, SchemaError, ValueNotAllowed, infer_schema
from hypothesis import given, settings
from hypothesis import strategies as st

from tests import ledgers
from tests.releases import every_kind, payments

HUGE = 10**400
VALUES: list[Any] = [
    *(None, True, 0, -1, 5, 400, 10**30, HUGE, 1.5, math.nan, math.inf, "x", [], {}),
    *([None], ["x"], [1, 1], ["x", "x"], [[1]], {"a": 1}),
]
Path = tuple[str | int, ...]


@cache
def texts() -> dict[str, str]:
    """Codecs as JSON: columns of every sort, and relations of every sort."""
    table = payments()
    codecs = {
        "payments": Codec.fit(infer_schema(table), table),
        "every kind": every_kind(),
        "claims": ledgers.codec(),
        "settlements": ledgers.settlements_codec(),
    }
    return {name: json.dumps(codec.to_dict()) for name, codec in codecs.items()}


def paths(content: Any, path: Path = ()) -> Iterator[Path]:
    """Where something stands in JSON; of long lists the first few places."""
    if path:
        yield path
    within: Any = ()
    if isinstance(content, dict):
        within = content.items()
    elif isinstance(content, list):
        within = list(enumerate(content))[: 9 if len(path) < 3 else 2]
    for key, each in within:
        yield from paths(each, (*path, key))


@cache
def places() -> list[tuple[str, Path]]:
    return [(name, path) for name, text in texts().items() for path in paths(json.loads(text))]


def damaged(name: str, path: Path, value: Any) -> Any:
    """A codec's content with something else in one place."""
    content = at = json.loads(texts()[name])
    for key in path[:-1]:
        at = at[key]
    at[path[-1]] = value
    return content


def use(codec: Codec) -> None:
    """Draw rows, and take them, and odd ones, from a caller."""
    rng = np.random.default_rng(0)
    sizes = np.array(codec.layout.sizes)
    tokens = rng.integers(0, sizes, (3, len(sizes)), np.int32)
    drawn = codec.decode(tokens, rng)
    codec.decode_row(tokens[0].tolist(), rng, codec.schema.names)
    rows: list[dict[str, list[Any]]] = [{n: c.to_list() for n, c in drawn.columns.items()}]
    for value in (None, 0, -1.5, "a", True):
        rows.append({name: [value] for name in codec.schema.names})
    for values in rows:
        count = len(next(iter(values.values())))
        try:
            codec.encode_partial(values, count)
            codec.encode_partial({name: cells[:1] for name, cells in values.items()}, 1)
        except ValueNotAllowed:
            continue


@settings(max_examples=300, deadline=None)
@given(place=st.deferred(lambda: st.sampled_from(places())), value=st.sampled_from(VALUES))
def test_whatever_stands_anywhere_it_is_refused_or_of_use(
    place: tuple[str, Path], value: Any
) -> None:
    try:
        codec = Codec.from_dict(damaged(*place, value))
    except SchemaError:
        return
    use(codec)


COLUMN = ("schema", "columns")


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        # A slot without a token: there would be none to draw.
        ((*COLUMN, 7, "other"), "a", "'label': 'a' is both"),
        ((*COLUMN, 7, "categories"), [], "column 'label' has no categories; allowed: at least 1"),
        ((*COLUMN, 7, "categories"), ["a", "a"], "'label': its categories is ('a', 'a')"),
        ((*COLUMN, 7, "minimum"), 0, "allowed: nothing, in a column of this kind"),
        ((*COLUMN, 0, "other"), "rest", "'real': its other is 'rest'; allowed: nothing"),
        ((*COLUMN, 0, "nullable"), 2**40, "'real': its nullable is 1099511627776; allowed: true"),
        ((*COLUMN, 0, "minimum"), None, "'real': its minimum is None; allowed: a finite number"),
        ((*COLUMN, 0, "minimum"), math.nan, "'real': its minimum is nan; allowed: a finite number"),
        ((*COLUMN, 0, "minimum"), 1e9, "'real': its minimum 1000000000.0 is above its maximum"),
        ((*COLUMN, 0, "decimals"), HUGE, "'real': its decimals is 100000000"),
        ((*COLUMN, 0, "point_masses"), [1.0, 0.0], "allowed: increasing numbers of the column's"),
        ((*COLUMN, 2, "step"), 0, "'whole': its step is 0; allowed: a whole number from 1"),
        ((*COLUMN, 2, "step"), 2**64, "its step is 18446744073709551616; allowed: a whole number"),
        ((*COLUMN, 2, "maximum"), 2**63, "allowed: a whole number of 64 bits"),
        (("columns", 1, "values"), [1.25, 0.5, -3.0], "'real_listed': its values and ranks"),
        (("columns", 1, "ranks"), [0.1, 0.2, None], "'real_listed': its values and ranks"),
        (("columns", 2, "edges", 0), 10**30, "'whole': its edges and ranks"),
    ],
)
def test_what_is_said_of_it(path: Path, value: Any, said: str) -> None:
    content = damaged("every kind", path, value)
    if said.endswith("at least 1"):
        content["schema"]["columns"][7]["other"] = None
    with pytest.raises(SchemaError) as caught:
        Codec.from_dict(content)
    assert said in str(caught.value)


def test_decimals_of_a_relation_have_an_end() -> None:
    """10 to the power of what stands there is computed."""
    with pytest.raises(SchemaError, match=r"its decimals are 1000.* from 0 to 6, or null"):
        Codec.from_dict(damaged("claims", ("schema", "relations", 0, "decimals"), HUGE))


def test_a_relation_of_columns_that_are_not_there() -> None:
    with pytest.raises(SchemaError, match="unknown column 'here'"):
        Codec.from_dict(damaged("claims", ("schema", "relations", 0, "formula"), "here = there"))
