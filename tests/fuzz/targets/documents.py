"""Files that people write, and files that servers leave for one another."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.fuzz.target import Target

# Where files cost no disk.
MEMORY = "/dev/shm" if Path("/dev/shm").is_dir() else None


def of_file(name: str, read: Callable[[Path], Any], *allowed: type[Exception]) -> Any:
    """Opens a target that reads a file.

    Args:
        name: of the file, whose suffix may mean something.
        read: reads it.
        allowed: what it may raise.
    """

    def opened() -> Callable[[bytes], None]:
        # Kept with the function, and removed when the process ends.
        folder = tempfile.TemporaryDirectory(prefix="fuzz-", dir=MEMORY)
        path = Path(folder.name) / name

        def run(data: bytes) -> None:
            path.write_bytes(data)
            with contextlib.suppress(*allowed):
                read(path)
            for each in path.parent.iterdir():
                each.unlink()

        run.folder = folder  # type: ignore[attr-defined]
        return run

    return opened


# Schema files.

SCHEMA_YAML = b"""\
defaults: {rare: group, min_count: 3}
columns:
  amount: {kind: continuous, nullable: true, minimum: 0, maximum: 1e5, point_masses: [0, 9.5]}
  "no": {kind: categorical, max_categories: 7, rare: other, other: "(others)", min_count: 2}
  at: {kind: date_time, minimum: 2020-01-01, dates: day_first, null_values: ["-", "?"]}
  dropped: {drop: true}
  said: {decimal_mark: comma}
relations:
  "total = injury + vehicle": declared
  "closed = opened + days": refused
"""
SCHEMA_TOML = b"""\
[defaults]
rare = "group"
[columns.amount]
kind = "continuous"
point_masses = [0.0, 1e9]
maximum = 2020-01-01T00:00:00
[columns."a b"]
kind = "integer"
[relations]
"a = b" = "found"
"""
SCHEMA_WORDS = (
    b"kind", b"continuous", b"categorical", b"integer", b"boolean", b"date-time", b"drop", b"rare",
    b"min_count", b"columns", b"relations", b"defaults", b"declared", b"refused", b"found", b"&a ",
    b"*a", b"<<: ", b" = ", b" + ", b" - ", b" <= ", b"!!python/object", b"? ", b"- ", b"---",
    b"max_categories", b"other", b"group", b"keep", b"[columns]", b"'''", b'"""',
)  # fmt: skip


def _schema(path: Path) -> None:
    from cascade_tables import SchemaError
    from cascade_tables import overrides as o

    for load in (o.load_overrides, o.load_rare_rule, o.load_relation_overrides):
        with contextlib.suppress(SchemaError):
            load(path)


def _yaml(path: Path) -> None:
    from cascade_tables.yaml_files import load_yaml_with_lines

    load_yaml_with_lines(path)


def _refused() -> type[Exception]:
    from cascade_tables.errors import FileRefused

    return FileRefused


# What a server is told.

POLICY = b"""\
publisher: {name: Example Bank, url: "https://bank.example"}
tables:
  credit: {residency: [eu], sensitivity: confidential, uses: [research, evaluation], license: MIT}
  "*": {residency: anywhere, sensitivity: internal}
executors:
  local: {region: eu, trust: restricted}
  cloud: {kind: ray, region: eu, trust: confidential, burst: true}
burst: {max_epsilon: 3}
"""
SLO = b"""\
service: cascade
window_days: 28
least_bad_events: 3
objectives:
  - table: "*"
    class: realtime
    latency: [{threshold_ms: 5, target: 0.9}, {threshold_ms: 50, target: 0.99}]
    availability: {target: 0.999}
    fidelity: {tier: teacher, target: 0.5}
  - {table: credit, class: batch, availability: {target: 0.99}}
"""
CONFIGURATION = b"""\
port: 8470
host: "127.0.0.1"
workers: 2
serve: [credit=latest:2, adult]
max_request_rows: 1000
canary_share: 5%
runtime: cpu
slo: slo.yaml
"""
CONFIGURATION_TOML = b"""\
port = 8470
host = "::1"
serve = ["credit=1,3"]
max-jobs = 3
"""
SLA = b"""\
promises:
  - {calls: "*", latency_ms: {p50: 10, p99.9: 50}, answered: 0.99, least: 10}
  - {calls: scoring, answered: 1}
"""


def _policy(path: Path) -> None:
    from cascade_jobs.policy.gate import read_policy

    policy = read_policy(path)
    for table in ("credit", "unknown"):
        policy.terms(table)


def _slo(path: Path) -> None:
    from cascade_server.objectives.objective import load_slo
    from cascade_server.objectives.prometheus_rules import rules

    config = load_slo(path)
    config.for_tables(["credit", "adult"])
    rules(config, ["credit", "adult"])


def _configuration(path: Path) -> None:
    from cascade_server.config import ServerConfig
    from cascade_server.configuration.sources import effective

    ServerConfig(**effective({}, {}, path).fields())


def _sla(path: Path) -> None:
    from cascade_loadtest.sla import load

    load(path, ("scoring", "batch"))


# What servers leave for one another.


def _state(path: Path) -> None:
    from cascade_server.counts.state_file import decode, encode

    state = decode(path.read_bytes())
    assert decode(encode(state)).names == state.names


def _desired(path: Path) -> None:
    from cascade_server.releases.desired_file import DesiredFile
    from cascade_server.releases.policy import Desired

    file = DesiredFile(path.parent)
    wanted = file.restored(Desired())
    wanted.wanted({"credit": [1, 2, 3], "adult": [1]}, {"credit": [1]})
    for table in (*wanted.tables, "credit"):
        wanted.state_of(table).answering([1, 2])
    assert file.restored(wanted) is not None


def _specification(path: Path) -> None:
    from cascade_jobs.specification import Specification

    text = path.read_bytes().decode("utf-8", "replace")
    found = Specification.from_json(text)
    assert Specification.from_json(found.to_json()) == found, "it is read as it was written"
    assert found.digest


def _audit(path: Path) -> None:
    """The log, then its checkpoints, with a byte 0 between them."""
    from cascade_jobs.audit.commands import document, line_of, report
    from cascade_jobs.audit.log import CHECKPOINTS, LOG
    from cascade_jobs.audit.verifying import checkpoint_of, content_of, read_entries, verify

    entries, _, checkpoints = path.read_bytes().partition(b"\0")
    folder = path.parent
    (folder / LOG).write_bytes(entries)
    (folder / CHECKPOINTS).write_bytes(checkpoints)
    content = content_of(folder)
    findings = verify(content)
    report(findings)
    document(findings)
    for entry in read_entries(content):
        line_of(entry)
    verify(content, checkpoint_of(folder / CHECKPOINTS))


def _appended(path: Path) -> None:
    """A log that somebody changed, and goes on to be written to."""
    from cascade_jobs.audit.log import CHECKPOINTS, LOG, AuditLog

    entries, _, checkpoints = path.read_bytes().partition(b"\0")
    (path.parent / LOG).write_bytes(entries)
    (path.parent / CHECKPOINTS).write_bytes(checkpoints)
    AuditLog(path.parent).append({"event": "asked", "job": "one"})


def _audit_seed() -> bytes:
    from cascade_jobs.audit.log import CHECKPOINTS, LOG, AuditLog

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        log = AuditLog(folder, clock=lambda: 1.0)
        for number in range(3):
            log.append({"event": "decided", "job": f"job{number}", "table": "credit"})
        return (folder / LOG).read_bytes() + b"\0" + (folder / CHECKPOINTS).read_bytes()


def _state_seed() -> bytes:
    import numpy as np
    from cascade_server.counts.state_file import Cells, State, encode

    counts = np.arange(8).reshape(2, 4) * 0 + [3, 1, 5, 5]
    return encode(State(1.5, ("a", "b"), (Cells(60, 7, counts), Cells(3600, 1, counts))))


def _specification_seed() -> bytes:
    from dataclasses import replace

    from cascade_jobs.specification import Balance

    from tests.jobs.made_up import SPECIFICATION

    return (
        replace(
            SPECIFICATION,
            given={"label": "one", "number": 2.5, "flag": True, "none": None},
            balance=Balance("label", (("one", 500), (None, 2000))),
        )
        .to_json()
        .encode()
    )


DESIRED = (
    b'{"format": 1, "tables": {"credit": {"also": [1], "without": [2], "stable": 1, '
    b'"previous": 2, "canary": 3, "share": 0.05}}}'
)
JSON_WORDS = (
    b'"format": 1', b"{", b"}", b"[", b"]", b'"', b": ", b", ", b"null", b"true", b"1e400", b"NaN",
    b"Infinity", b"-Infinity", b"[" * 2000, b'{"a":' * 700, b"9" * 400, b"9" * 4301, b"\\ud800",
)  # fmt: skip
YAML_WORDS = (*SCHEMA_WORDS, b"9" * 400, b"{", b"}", b"[", b"]", b": ", b", ")


def document(
    name: str,
    about: str,
    file: str,
    read: Callable[[Path], Any],
    allowed: Callable[[], tuple[type[Exception], ...]],
    seeds: tuple[bytes, ...] | Callable[[], tuple[bytes, ...]],
    words: tuple[bytes, ...],
    *packages: str,
) -> Target:
    return Target(
        name,
        about,
        lambda: of_file(file, read, *allowed())(),
        seeds if callable(seeds) else lambda: seeds,
        words,
        packages or ("cascade_tables",),
    )


def _schema_refused() -> tuple[type[Exception], ...]:
    from cascade_tables import SchemaError

    return (SchemaError,)


def _config_refused() -> tuple[type[Exception], ...]:
    from cascade_server.errors import ConfigError

    return (ConfigError,)


def _policy_refused() -> tuple[type[Exception], ...]:
    from cascade_jobs.errors import PolicyRefused

    return (PolicyRefused,)


def _promise_refused() -> tuple[type[Exception], ...]:
    from cascade_loadtest.errors import PromiseError

    return (PromiseError,)


def _state_refused() -> tuple[type[Exception], ...]:
    from cascade_server.counts.state_file import StateDamaged

    return (StateDamaged,)


def _specification_refused() -> tuple[type[Exception], ...]:
    from cascade_jobs.errors import SpecificationRefused

    return (SpecificationRefused,)


def _audit_refused() -> tuple[type[Exception], ...]:
    from cascade_jobs.errors import AuditRefused

    return (AuditRefused,)


SETTINGS = (
    b"port host workers serve repository runtime transport slo_file executor state_dir".split()
)
SERVER = "cascade_server"

TARGETS = (
    document("schema-yaml", "a schema's overrides, YAML", "schema.yaml", _schema, _schema_refused,
            (SCHEMA_YAML,), YAML_WORDS),
    document("schema-toml", "a schema's overrides, TOML", "schema.toml", _schema, _schema_refused,
            (SCHEMA_TOML,), SCHEMA_WORDS),
    document("yaml", "any file of ours in YAML", "any.yaml", _yaml, lambda: (_refused(),),
            (SCHEMA_YAML, SLO, POLICY), YAML_WORDS),
    document("policy", "policy.yaml", "policy.yaml", _policy, _policy_refused, (POLICY,),
            (*YAML_WORDS, b"residency", b"sensitivity", b"restricted", b"burst", b"max_epsilon"),
            "cascade_jobs.policy", "cascade_tables.yaml_files"),
    document("slo", "slo.yaml", "slo.yaml", _slo, _config_refused, (SLO,),
            (*YAML_WORDS, b"objectives", b"threshold_ms", b"target", b"window_days", b"latency"),
            "cascade_server.objectives", "cascade_tables.yaml_files"),
    document("configuration", "a server's configuration, YAML", "cascade.yaml", _configuration,
            _config_refused, (CONFIGURATION,), (*YAML_WORDS, *SETTINGS),
            "cascade_server.config", "cascade_server.configuration", "cascade_server.settings"),
    document("configuration-toml", "a server's configuration, TOML", "cascade.toml", _configuration,
            _config_refused, (CONFIGURATION_TOML,), tuple(SETTINGS),
            "cascade_server.config", "cascade_server.configuration", "cascade_server.settings"),
    document("sla", "loadtest/sla.yaml", "sla.yaml", _sla, _promise_refused, (SLA,),
            (*YAML_WORDS, b"promises", b"latency_ms", b"answered", b"p99"), "cascade_loadtest.sla",
            "cascade_tables.yaml_files"),
    document("state", "the counters of error budgets", "ledger.json", _state, _state_refused,
            lambda: (_state_seed(),), JSON_WORDS, "cascade_server.counts.state_file"),
    document("desired", "what is wanted of the releases", "releases.json", _desired, tuple,
            (DESIRED,), JSON_WORDS, "cascade_server.releases"),
    document("specification", "a job in the ledger", "job.json", _specification,
            _specification_refused, lambda: (_specification_seed(),), JSON_WORDS,
            "cascade_jobs.specification"),
    document("audit", "an audit log and its checkpoints, verified", "both", _audit, _audit_refused,
            lambda: (_audit_seed(),), (*JSON_WORDS, b'"index": ', b'"event": ', b"\n"),
            "cascade_jobs.audit"),
    document("audit-append", "an audit log that is written to", "both", _appended, _audit_refused,
            lambda: (_audit_seed(),), (*JSON_WORDS, b'"index": ', b"\n"), "cascade_jobs.audit"),
)  # fmt: skip
