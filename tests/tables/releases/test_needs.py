"""What a release needs of whoever serves it is said in its manifest."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
from cascade_distill.export.student_nearness_graph import NEARNESS as exported
from cascade_distill.models.neighbours import Target, neighbours_of
from cascade_server.engines.native.walk_nearness import NEARNESS as walked
from cascade_tables import (
    Codec,
    ColumnOverride,
    Frame,
    ReleaseManifest,
    infer_schema,
    list_releases,
    load_release,
)
from cascade_tables.releases.needs import KNOWN, NEARNESS

from tests import ledgers
from tests.distill.bills import bills
from tests.releases import write_untaught


class TestNeeds:
    """A server that would draw wrong rows of a release refuses it by name."""

    def written(
        self, folder: Path, codec: Codec, targets: Sequence[Target] = ()
    ) -> ReleaseManifest:
        write_untaught(folder, codec, "table", 1, 3, targets)
        return load_release(folder, "table", 1).manifest

    def test_one_that_needs_nothing_is_as_older_servers_read_it(self, pristine: Path) -> None:
        content = json.loads((pristine / "payments/1/release.json").read_text())
        assert content["format"] == 1
        assert "needs" not in content
        assert load_release(pristine, "payments", 1).manifest.needs == ()

    def test_the_bundled_ones_are_read(self) -> None:
        repository = Path(__file__).parents[3] / "model_repository"
        for table, versions in list_releases(repository).items():
            for version in versions:
                assert set(load_release(repository, table, version).manifest.needs) <= KNOWN.keys()

    def test_relations(self, tmp_path: Path) -> None:
        found = self.written(tmp_path, ledgers.codec())
        assert (found.format, list(found.needs)) == (2, ["relations"])

    def test_rare_categories(self, tmp_path: Path) -> None:
        shop = ["a"] * 60 + ["b"] * 50 + [f"rare {n // 6}" for n in range(60)]
        table = Frame.from_arrow(pa.table({"shop": shop, "member": [True, False] * 85}))
        schema = infer_schema(table, {"shop": ColumnOverride(max_categories=4)})
        found = self.written(tmp_path, Codec.fit(schema, table))
        assert found.format == 2
        assert "folded" in found.needs

    def test_neighbours(self, tmp_path: Path) -> None:
        frame = bills()
        codec = Codec.fit(infer_schema(frame), frame)
        found = self.written(tmp_path, codec, neighbours_of(codec, ((0, (((1, 1),),)),)))
        assert (found.format, list(found.needs)) == (2, ["neighbours"])

    def test_all_say_neighbours_alike(self) -> None:
        assert NEARNESS == exported == walked
