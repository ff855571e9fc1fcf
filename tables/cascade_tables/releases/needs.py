"""Capabilities that a server needs to draw a release's rows.

A codec or a student may use features that older servers do not know. They would ignore them, load
the release, and draw wrong rows: misread tokens, or numbers that do not add up. So a manifest names
what its release needs, and a server refuses needs that it does not know. A release without needs
has the first format, which every server reads; others have the second, which servers older than
this list refuse.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from cascade_tables.codecs.codec import Codec
from cascade_tables.codecs.columns.listed_codec import ListedCodec
from cascade_tables.errors import listing
from cascade_tables.releases.weights import metadata

# Manifest formats that this version reads, and those that list needs.
FORMATS, NAMING = (1, 2), (2,)
# Metadata key under which a student describes its inputs about numbers and their neighbours.
NEARNESS = "cascade.nearness"
# Needs that this version supports, with descriptions.
KNOWN = {
    "relations": "numbers that follow from others, and columns that are drawn first for it",
    "folded": "rare categories that answers have in the place of the label they share",
    "folded_groups": "rare categories that share several tokens",
    "neighbours": "a student that is told where a number's neighbours lie",
}


def needs_of(codec: Codec, student: bytes) -> tuple[str, ...]:
    """Return what a release needs, from `KNOWN`.

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
    """Return the manifest format for these needs."""
    return 2 if needs else 1


def objection(format_: Any, needs: Any) -> str | None:
    """Return why a manifest's format or needs prevent serving the release; None: they do not.

    Args:
        format_, needs: as in the manifest.
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
