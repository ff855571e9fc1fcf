"""What a fraud team knows of a card transaction: its customer's and its terminal's last weeks.

The features of "Reproducible Machine Learning for Credit Card Fraud Detection" (Le Borgne,
Siblini, Lebichot, Bontempi, 2022, chapter 3): how many transactions a customer had in 1, 7 and 30
days and of what mean amount, and how many a terminal had and which share of them was fraud, told
with a delay of a week, since fraud is not known at once. Such lookups are what times out.
"""

from __future__ import annotations

import pandas as pd

DAYS = (1, 7, 30)
# Days until it is known that a transaction was fraud.
DELAY = 7
# Days since 2018-04-01: the book's week to learn from (07-25 to 07-31) and its week to score.
LEARNT, SCORED = range(115, 122), range(129, 136)


def with_history(frame: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Transactions with what is known of their customer and terminal: a week, and a later one."""
    rows = frame.sort_values("TX_TIME_SECONDS", kind="stable").reset_index(drop=True)
    when = pd.to_datetime(rows["TX_TIME_SECONDS"], unit="s")
    hour, weekday = when.dt.hour, (rows["TX_TIME_DAYS"] + 6) % 7  # 2018-04-01 was a Sunday
    out = pd.DataFrame(
        {
            "amount": rows["TX_AMOUNT"],
            "weekend": (weekday >= 5).astype("int64"),
            "night": (hour <= 6).astype("int64"),
        }
    )
    fraud = rows["TX_FRAUD"].astype(float)
    for days in DAYS:
        amounts = _sums(rows["CUSTOMER_ID"], when, rows["TX_AMOUNT"], days)
        out[f"customer_count_{days}d"] = amounts["count"].astype("int64")
        out[f"customer_mean_{days}d"] = (amounts["sum"] / amounts["count"]).round(2)
    late = _sums(rows["TERMINAL_ID"], when, fraud, DELAY)
    for days in DAYS:
        known = _sums(rows["TERMINAL_ID"], when, fraud, DELAY + days)
        count = (known["count"] - late["count"]).astype("int64")
        frauds = (known["sum"] - late["sum"]).round()
        out[f"terminal_count_{days}d"] = count
        out[f"terminal_risk_{days}d"] = (frauds / count.clip(lower=1)).round(4)
    out["TX_FRAUD"] = rows["TX_FRAUD"]
    day = rows["TX_TIME_DAYS"]
    return out[day.isin(LEARNT)], out[day.isin(SCORED)]


def _sums(key: pd.Series, when: pd.Series, values: pd.Series, days: int) -> pd.DataFrame:
    """Count and sum of a key's values in the days before each row, itself included."""
    rows = pd.DataFrame({"key": key.to_numpy(), "value": values.to_numpy()}, index=when)
    rows["row"] = range(len(rows))
    rolled = rows.groupby("key")[["value"]].rolling(f"{days}D")["value"].agg(["count", "sum"])
    # Groups come one after another, each in the order of its rows.
    order = rows.sort_values("key", kind="stable")["row"].to_numpy()
    return rolled.set_axis(order).sort_index()
