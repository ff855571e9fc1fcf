"""Tables: schema, codec and release format. NumPy only; every other package may import it."""

from cascade_tables.codecs.absent import ABSENT
from cascade_tables.codecs.codec import Codec
from cascade_tables.codecs.columns.outside import OutsideKind, OutsideValue, OutsideValues
from cascade_tables.codecs.given_rows import Encoded
from cascade_tables.codecs.layout import TokenLayout
from cascade_tables.codecs.native.scanning import ScannedRequest, scan_request
from cascade_tables.codecs.native.wire_row import WireRow
from cascade_tables.errors import (
    CascadeTablesError,
    DataError,
    FileRefused,
    ReleaseError,
    SchemaError,
    UnknownColumn,
    ValueNotAllowed,
    ValuesNotAllowed,
)
from cascade_tables.files import read_table
from cascade_tables.frame import ColumnData, Frame
from cascade_tables.infer import infer_schema
from cascade_tables.overrides import (
    ColumnOverride,
    Rare,
    RareRule,
    RelationOverride,
    Wish,
    load_overrides,
    load_rare_rule,
    load_relation_overrides,
)
from cascade_tables.relation import Formula, Relation
from cascade_tables.relations.finding import find_relations
from cascade_tables.relations.measuring import Outcome, measure_formula
from cascade_tables.releases.release import (
    Release,
    ReleaseManifest,
    list_releases,
    load_release,
    read_manifest,
    write_release,
)
from cascade_tables.schema import Column, Dropped, Kind, Schema
from cascade_tables.schema_file import schema_file

__all__ = [
    "ABSENT",
    "CascadeTablesError",
    "Codec",
    "Column",
    "ColumnData",
    "ColumnOverride",
    "DataError",
    "Dropped",
    "Encoded",
    "FileRefused",
    "Formula",
    "Frame",
    "Kind",
    "Outcome",
    "OutsideKind",
    "OutsideValue",
    "OutsideValues",
    "Rare",
    "RareRule",
    "Relation",
    "RelationOverride",
    "Release",
    "ReleaseError",
    "ReleaseManifest",
    "ScannedRequest",
    "Schema",
    "SchemaError",
    "TokenLayout",
    "UnknownColumn",
    "ValueNotAllowed",
    "ValuesNotAllowed",
    "WireRow",
    "Wish",
    "find_relations",
    "infer_schema",
    "list_releases",
    "load_overrides",
    "load_rare_rule",
    "load_relation_overrides",
    "load_release",
    "measure_formula",
    "read_manifest",
    "read_table",
    "scan_request",
    "schema_file",
    "write_release",
]
