"""What a server has to know to draw a release's rows.

A codec or a student may have what older servers know nothing of. They pass over it, load the
release, and draw wrong rows: tokens that they take for others, numbers that do not add up. So a
manifest names what its release needs, and a server refuses what it does not know by name. A release
that needs nothing is of the first format, which every server reads; one that does is of the second,
which servers refuse that are older than this list.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from cascade_tables.codecs.codec import Codec
from cascade_tables.codecs.columns.listed_codec import ListedCodec
from cascade_tables.errors import listing
from cascade_tables.releases.weights import metadata

#: Of manifests that this version reads, and those whose manifests say what they need.
FORMATS, NAMING = (1, 2), (2,)
# Under this name a student's metadata say what it is told of numbers and their neighbours.
NEARNESS = "cascade.nearness"
#: What this version knows, and in words.
KNOWN = {
    "relations": "numbers that follow from others, and columns that are drawn first for it",
    "folded": "rare categories that answers have in the place of the label they share",
    "folded_groups": "rare categories that share several tokens",
    "neighbours": "a student that is told where a number's neighbours lie",
}


def needs_of(codec: Codec, student: bytes) -> tuple[str, ...]:
    """What a release needs, of `KNOWN`.

    Args:
        codec: of its table.
        student: its graph.

    Raises:
        Malformed: the graph is not ONNX.
    """
    content = codec.to_dict()
    listed = [each for each in codec.columns if isinstance(each, ListedCodec)]
    found = {
        "relations": bool(
            codec.schema.relations or content.get("leading") or content.get("evident")
        ),
        "folded": any(each.column.min_count is not None for each in codec.columns),
        "folded_groups": any(each.folded and each.folded.groups > 1 for each in listed),
        "neighbours": NEARNESS in metadata(student),
    }
    return tuple(name for name in KNOWN if found[name])


def format_of(needs: Sequence[str]) -> int:
    """The format of a manifest that names these."""
    return 2 if needs else 1


def objection(format_: Any, needs: Any) -> str | None:
    """Why a release cannot be served, as far as its manifest's format says; None: it can.

    Args:
        format_, needs: as they stand in the manifest.
    """
    if type(format_) is not int or format_ not in FORMATS:
        return "; this version reads formats " + listing(FORMATS)
    if format_ not in NAMING:
        return None
    if not isinstance(needs, list) or not all(isinstance(each, str) for each in needs):
        return "; it does not say what the release needs, a list of texts"
    unknown = [each for each in needs if each not in KNOWN]
    if unknown:
        return (
            f", and the release needs {listing(unknown)}; this version knows {listing(KNOWN)}: "
            "a newer one can serve it"
        )
    return None
