"""Croissant 1.1 (MLCommons): a data set's files and columns as JSON-LD, so that programs find and
load it; with its provenance in terms of W3C PROV, and what it may be used for.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from cascade_jobs.descriptions.known import SOFTWARE, UNSTATED, Known

CONFORMS_TO = "http://mlcommons.org/croissant/1.1"
RAI = "http://mlcommons.org/croissant/RAI/1.0"
# Terms of use have the names of the Data Provenance Standards.
TERMS_OF_USE = "https://docs.oasis-open.org/dps/prov-meta/v1.0/schema/data-provenance.json"
DATA_TYPES = {
    "categorical": "sc:Text",
    "boolean": "sc:Boolean",
    "integer": "sc:Integer",
    "continuous": "sc:Float",
    "datetime": "sc:DateTime",
}
RECORDS, FILES = "rows", "parquet-files"
ENCODING = "application/x-parquet"

# The parts of the specification's appendix 1 that are used here.
_CROISSANT = (
    *("citeAs", "column", "containedIn", "equivalentProperty", "excludes", "extract", "field"),
    *("fileObject", "fileProperty", "fileSet", "format", "includes", "isLiveDataset", "jsonPath"),
    *("key", "md5", "parentField", "path", "recordSet", "references", "regex", "repeated"),
    *("replace", "samplingRate", "separator", "source", "subField", "transform"),
)
CONTEXT = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "cr": "http://mlcommons.org/croissant/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "dct": "http://purl.org/dc/terms/",
    "prov": "http://www.w3.org/ns/prov#",
    "sc": "https://schema.org/",
    "conformsTo": "dct:conformsTo",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "examples": {"@id": "cr:examples", "@type": "@json"},
    **{name: f"cr:{name}" for name in _CROISSANT},
}


def croissant(known: Known) -> dict[str, Any]:
    """The description, as JSON-LD."""
    terms, released = known.facts.terms, known.released.isoformat()
    publisher: dict[str, str] = {"@type": "Organization", "name": terms.publisher or UNSTATED}
    if terms.publisher_url:
        publisher["url"] = terms.publisher_url
    return {
        "@context": CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": [CONFORMS_TO, RAI],
        "name": f"{known.made.table}-synthetic",
        "description": f"{known.title}. {known.method}",
        "url": f"urn:uuid:{known.id}",
        "version": f"{known.made.version}.0.0",
        "datePublished": released,
        "creator": publisher,
        "publisher": publisher,
        "license": terms.license
        or {
            "@type": "CreativeWork",
            "name": UNSTATED,
            "description": "Nobody has said under which licence; ask whoever made the rows.",
        },
        "keywords": ["synthetic data", "tabular", known.made.table],
        "citeAs": f"{known.title}, release {known.release}, seed {known.made.seed}",
        "isLiveDataset": False,
        "usageInfo": [
            {
                "@type": "DefinedTerm",
                "name": code,
                "description": meaning,
                "termCode": code,
                "inDefinedTermSet": TERMS_OF_USE,
            }
            for code, meaning in known.uses
        ],
        "rai:dataCollection": known.method,
        "rai:dataCollectionType": ["Software Collection"],
        "rai:dataUseCases": [f"{code}: {meaning}" for code, meaning in known.uses],
        "rai:dataLimitations": known.limits,
        "rai:personalSensitiveInformation": known.privacy,
        "prov:wasDerivedFrom": {"@id": f"urn:cascade:release:{known.made.release}"},
        "prov:wasGeneratedBy": {
            "@type": "prov:Activity",
            "prov:label": f"{SOFTWARE} job",
            "description": known.method,
            "additionalProperty": [
                {"@type": "PropertyValue", "name": name, "value": _plain(value)}
                for name, value in known.properties.items()
            ],
        },
        "distribution": [*_files(known), _file_set(known)],
        "recordSet": [_record_set(known)],
    }


def _plain(value: object) -> object:
    """Convert a value to JSON-LD without loss: JSON-LD drops null, and treats lists as sets."""
    if isinstance(value, bool | str | int | float):
        return value
    return {"@type": "@json", "@value": value}


def _files(known: Known) -> list[dict[str, Any]]:
    return [
        {
            "@type": "cr:FileObject",
            "@id": part.name,
            "name": part.name,
            "description": f"Rows {part.first_row:,} to {part.first_row + part.rows - 1:,}.",
            "contentUrl": part.name,
            "contentSize": f"{part.bytes} B",
            "encodingFormat": ENCODING,
            "sha256": part.sha256,
        }
        for part in known.parts
    ]


def _file_set(known: Known) -> dict[str, Any]:
    # Files of older jobs have no folder of their own.
    folder, slash, _ = known.parts[0].name.rpartition("/")
    return {
        "@type": "cr:FileSet",
        "@id": FILES,
        "name": FILES,
        "description": "All files with rows, which are in the order of their names.",
        "encodingFormat": ENCODING,
        "includes": f"{folder}{slash}part-*.parquet",
    }


def _record_set(known: Known) -> dict[str, Any]:
    return {
        "@type": "cr:RecordSet",
        "@id": RECORDS,
        "name": RECORDS,
        "description": known.title + ".",
        "field": [
            {
                "@type": "cr:Field",
                # Column names are arbitrary; a slash or a space would change the IRI.
                "@id": f"{RECORDS}/{quote(column.name, safe='')}",
                "name": column.name,
                "description": f"{column.kind}, {'may' if column.nullable else 'never'} NULL",
                "dataType": DATA_TYPES.get(column.kind, "sc:Text"),
                "source": {"fileSet": {"@id": FILES}, "extract": {"column": column.name}},
            }
            for column in known.facts.columns
        ],
    }
