"""Make the bundled tables from their published sources, so that anyone can check what was changed.

    python -m examples.make_examples FOLDER

FOLDER holds the sources as Parquet: adult_train.parquet and adult_test.parquet (UCI Adult's own
split) and default_credit.parquet (UCI Default of Credit Card Clients).
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as csv
import pyarrow.parquet as pq

HERE = Path(__file__).parent
# The credit table has no split of its own: every fifth row of a permutation with this seed.
CREDIT_SEED = 20_091
CREDIT_TEST_SHARE = 0.2
DEMO_ROWS = 200


def write(table: pa.Table, path: Path) -> None:
    path.parent.mkdir(exist_ok=True)
    pq.write_table(table, path, compression="zstd", compression_level=19)
    print(f"{path.relative_to(HERE)}: {table.num_rows:,} rows, {path.stat().st_size / 1e3:,.0f} kB")


def main(sources: Path) -> None:
    for part in ("train", "test"):
        write(pq.read_table(sources / f"adult_{part}.parquet"), HERE / "adult" / f"{part}.parquet")
    credit = pq.read_table(sources / "default_credit.parquet")
    credit = credit.rename_columns([name.lower() for name in credit.column_names])
    order = np.random.default_rng(CREDIT_SEED).permutation(credit.num_rows)
    held_out = round(credit.num_rows * CREDIT_TEST_SHARE)
    # Sorted, so that both parts keep the source's row order.
    write(credit.take(np.sort(order[held_out:])), HERE / "credit" / "train.parquet")
    test = credit.take(np.sort(order[:held_out]))
    write(test, HERE / "credit" / "test.parquet")
    # A few held-out rows as CSV, which the demo reads without pyarrow.
    csv.write_csv(test.slice(0, DEMO_ROWS), HERE / "credit" / "sample.csv")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(Path(sys.argv[1]))
