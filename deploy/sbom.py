"""The software bill of materials: what is installed beside the project, and what lies in it.

    python -m deploy.sbom deploy/sbom.cdx.json

It is CycloneDX 1.6 (https://cyclonedx.org/docs/1.6/json/), of what constraints.txt pins, and the
same bytes each time: no time, and a serial number that follows from the content. Which of the pins
a server needs, `scope` says: `required` of `cascade-synthesis[server]`, `optional` of its other
extras, `excluded` of development alone. Licences are those that packages declare where they are
installed in the pinned version.
"""

from __future__ import annotations

import hashlib
import json
import re
import sys
import tomllib
from collections.abc import Iterable, Iterator
from importlib import metadata
from pathlib import Path
from uuid import NAMESPACE_URL, uuid5

from cyclonedx.contrib.license.factories import LicenseFactory
from cyclonedx.model import HashAlgorithm, HashType, Property
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentScope, ComponentType
from cyclonedx.output.json import JsonV1Dot6
from packageurl import PackageURL
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
# What is in the source tree or its wheel and was made by others: kind, name, version, licence, the
# files, and whether the wheel has it.
CC_BY = "CC-BY-4.0"
BUNDLED = (
    (ComponentType.LIBRARY, "uPlot", "1.6.32", "MIT",
     "server/cascade_server/page/assets/vendor/uplot/uPlot.esm.js", ComponentScope.REQUIRED),
    (ComponentType.DATA, "adult", "10.24432/C5XW20", CC_BY, "examples/adult/train.parquet",
     ComponentScope.EXCLUDED),
    (ComponentType.DATA, "credit", "10.24432/C55S3H", CC_BY, "examples/credit/train.parquet",
     ComponentScope.EXCLUDED),
)  # fmt: skip
# Extras that nobody needs who serves, asks or learns.
OF_DEVELOPMENT = ("dev", "fuzz", "loadtest")


def pins(text: str) -> dict[str, str]:
    """Versions by the names that constraints.txt has."""
    found = re.findall(r"^([A-Za-z0-9._-]+)==([^\s;]+)", text, re.MULTILINE)
    return dict(found)


def needed(roots: Iterable[str]) -> set[str]:
    """Packages that requirements bring with them, as far as they are installed here."""
    waiting, seen = [Requirement(each) for each in roots], set[tuple[str, str]]()
    while waiting:
        asked = waiting.pop()
        if asked.marker is not None and not asked.marker.evaluate({"extra": ""}):
            continue
        for extra in ("", *asked.extras):
            key = (str(canonicalize_name(asked.name)), extra)
            if key in seen:
                continue
            seen.add(key)
            waiting += _requires(asked.name, extra)
    return {name for name, _ in seen}


def _requires(name: str, extra: str) -> Iterator[Requirement]:
    try:
        every = metadata.requires(name) or []
    except metadata.PackageNotFoundError:
        return
    for each in map(Requirement, every):
        if each.marker is None or each.marker.evaluate({"extra": extra}):
            each.marker = None
            yield each


def declared_licence(name: str, version: str) -> str:
    """What a package says of its licence; "": it is not installed in this version, or says nothing
    that is short enough to be a name."""
    try:
        found = metadata.metadata(name)
    except metadata.PackageNotFoundError:
        return ""
    if metadata.version(name) != version:
        return ""
    if expression := found.get("License-Expression"):
        return expression
    classifiers = found.get_all("Classifier") or []
    named = [each for each in classifiers if each.startswith("License :: ")]
    if named:
        return named[0].rpartition(" :: ")[2]
    text = found.get("License") or ""
    return text if len(text) < 60 else ""


def bill() -> Bom:
    """The whole of it."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    served = needed([*project["dependencies"], *extras["server"]])
    optional = needed(
        line for name, lines in extras.items() if name not in OF_DEVELOPMENT for line in lines
    )
    licences = LicenseFactory()

    def component(
        kind: ComponentType, name: str, version: str, licence: str, scope: ComponentScope
    ) -> Component:
        known = [licences.make_from_string(licence)] if licence else []
        return Component(type=kind, name=name, version=version, licenses=known, scope=scope,
                         bom_ref=f"{kind.value}:{name}@{version}")  # fmt: skip

    bom = Bom()
    root = component(
        ComponentType.APPLICATION, project["name"], project["version"], project["license"],
        ComponentScope.REQUIRED,
    )  # fmt: skip
    bom.metadata.component = root
    parts = []
    for name, version in pins((ROOT / "constraints.txt").read_text()).items():
        key = str(canonicalize_name(name))
        scope = ComponentScope.EXCLUDED
        if key in optional:
            scope = ComponentScope.OPTIONAL
        if key in served:
            scope = ComponentScope.REQUIRED
        licence = declared_licence(name, version)
        each = component(ComponentType.LIBRARY, key, version, licence, scope)
        each.purl = PackageURL("pypi", None, key, version)
        parts.append(each)
    for kind, name, version, licence, path, scope in BUNDLED:
        each = component(kind, name, version, licence, scope)
        digest = hashlib.sha256((ROOT / path).read_bytes()).hexdigest()
        each.hashes.add(HashType(alg=HashAlgorithm.SHA_256, content=digest))
        each.properties.add(Property(name="cascade:path", value=path))
        parts.append(each)
    for each in parts:
        bom.components.add(each)
    bom.register_dependency(root, parts)
    return bom


def written(bom: Bom) -> str:
    """As JSON, the same bytes for the same content."""
    content = json.loads(JsonV1Dot6(bom).output_as_string())
    content["metadata"].pop("timestamp", None)
    content.pop("serialNumber", None)
    text = json.dumps(content, sort_keys=True)
    content["serialNumber"] = uuid5(NAMESPACE_URL, text).urn
    return json.dumps(content, indent=1, sort_keys=True, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(written(bill()))
