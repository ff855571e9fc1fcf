"""Tables: schema, codec and release format. NumPy only; every other package may import it."""

from cascade_tables.codecs.absent import ABSENT
from cascade_tables.codecs.codec import Codec, Encoded
from cascade_tables.codecs.layout import TokenLayout
from cascade_tables.codecs.outside import OutsideKind, OutsideValue, OutsideValues
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
from cascade_tables.overrides import ColumnOverride, load_overrides
from cascade_tables.releases.release import (
    Release,
    ReleaseManifest,
    list_releases,
    load_release,
    read_manifest,
    write_release,
)
from cascade_tables.schema import Column, Dropped, Kind, Schema

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
    "Frame",
    "Kind",
    "OutsideKind",
    "OutsideValue",
    "OutsideValues",
    "Release",
    "ReleaseError",
    "ReleaseManifest",
    "Schema",
    "SchemaError",
    "TokenLayout",
    "UnknownColumn",
    "ValueNotAllowed",
    "ValuesNotAllowed",
    "infer_schema",
    "list_releases",
    "load_overrides",
    "load_release",
    "read_manifest",
    "read_table",
    "write_release",
]
