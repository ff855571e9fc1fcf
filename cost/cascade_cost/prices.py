"""Prices of processors, memory and GPUs: `prices.yaml`.

currency: EUR
core_hour: 0.035        # one core for an hour
gib_hour: 0.0045        # one GiB of memory for an hour
gpu_hour: 0.62          # one GPU for an hour
reserved:               # what you pay for whether it is used or not; leave it out where you
  cores: 4              # pay for what is used only
  memory_gib: 8
  gpus: 0
bill:                   # how the lines of a FOCUS file are named
  provider: Example Cloud
  account: "1234"
  region: eu-west-1
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

from cascade_tables.errors import FileRefused
from cascade_tables.value_reader import ValueReader
from cascade_tables.yaml_files import Place, parse_yaml, read_text

from cascade_cost.errors import PricesRefused

PRICES = ("core_hour", "gib_hour", "gpu_hour")
RESERVED = ("cores", "memory_gib", "gpus")
BILL = ("provider", "account", "region")
KEYS = ("currency", *PRICES, "reserved", "bill")
# Upper bound of any price or number of cores.
MOST = Decimal(10) ** 9


@dataclass(frozen=True)
class Reserved:
    """Resources that are paid for whether they are used or not."""

    cores: Decimal = Decimal(0)
    memory_gib: Decimal = Decimal(0)
    gpus: Decimal = Decimal(0)


@dataclass(frozen=True)
class Bill:
    """Names for the lines of a FOCUS file.

    Attributes:
        provider: seller of the machines.
        account: the billed account.
        region: location of the machines; empty: unspecified.
    """

    provider: str = "self-hosted"
    account: str = "cascade"
    region: str = ""


@dataclass(frozen=True)
class Prices:
    """Prices of machines.

    Attributes:
        currency: three letters of ISO 4217.
        core_hour, gib_hour, gpu_hour: of a processor, of a GiB of memory, of a GPU.
        reserved: None: only usage is paid for.
        bill: names for a FOCUS file.
        source: where the prices come from.
    """

    currency: str
    core_hour: Decimal
    gib_hour: Decimal = Decimal(0)
    gpu_hour: Decimal = Decimal(0)
    reserved: Reserved | None = None
    bill: Bill = Bill()
    source: str = ""


def load_prices(path: Path) -> Prices:
    """Read a file of prices.

    Raises:
        PricesRefused: names file, line and what is allowed.
    """
    try:
        return parse_prices(read_text(path), str(path))
    except FileRefused as exc:
        raise PricesRefused(str(exc)) from exc


def parse_prices(text: str, name: str = "prices.yaml") -> Prices:
    """Parse the text of a price file; `name` is its name in messages.

    Raises:
        PricesRefused: names file, line and what is allowed.
    """
    try:
        content, lines = parse_yaml(text, name)
    except FileRefused as exc:
        raise PricesRefused(str(exc)) from exc
    reader = _Reader(name, lines, PricesRefused)
    top = reader.mapping(content, (), KEYS)
    for wanted in ("currency", "core_hour"):
        if top.get(wanted) is None:
            reader.refuse((), f"there is no {wanted}; wanted are currency and core_hour")
    found = {key: reader.amount(top[key], (key,)) for key in PRICES if top.get(key) is not None}
    reserved = None
    if top.get("reserved") is not None:
        each = reader.mapping(top["reserved"], ("reserved",), RESERVED)
        reserved = Reserved(
            **{key: reader.amount(value, ("reserved", key)) for key, value in each.items()}
        )
    named = reader.mapping(top.get("bill"), ("bill",), BILL)
    bill = Bill(**{key: reader.word(value, ("bill", key)) for key, value in named.items()})
    return Prices(
        reader.currency(top["currency"]), **found, reserved=reserved, bill=bill, source=name
    )


class _Reader(ValueReader):
    """Reader of the values that only price files have."""

    def amount(self, value: Any, place: Place) -> Decimal:
        """Read a price or an amount: a number from 0."""
        try:
            found = Decimal(str(value)) if type(value) in (int, float, str) else Decimal("NaN")
        except InvalidOperation:
            found = Decimal("NaN")
        if not found.is_finite() or not 0 <= found <= MOST:
            self.wrong(place, value, "a number from 0 on")
        return found

    def word(self, value: Any, place: Place) -> str:
        """Read a text on one line; an account may be written as a number."""
        return self.text(str(value) if type(value) is int else value, place)

    def currency(self, value: Any) -> str:
        """Read a currency as three letters of ISO 4217."""
        if not (isinstance(value, str) and len(value) == 3 and value.isascii() and value.isupper()):
            allowed = "three capital letters of ISO 4217, such as USD or EUR"
            self.wrong(("currency",), value, allowed)
        return value


DEFAULT_PRICES = parse_prices(
    Path(__file__).with_name("prices.yaml").read_text(encoding="utf-8"),
    "the example prices that come with cascade",
)
