"""Triton's files for a release: a `config.pbtxt` per model, and a `model.py` for Python models.

They follow from the release and add no information, so no manifest hashes them: they may be
rewritten for another runtime at any time, and edited by hand. See docs/triton.md for each model's
inputs, and triton-inference-server's model_config.proto for the fields.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Any

from cascade_proto.cells import ABSENT_CELL

from cascade_tables.errors import ReleaseError, listing
from cascade_tables.releases.release import Release, list_releases, load_release
from cascade_tables.schema import Kind, Schema


class TritonRuntime(StrEnum):
    """Runtime of the student in Triton; the teacher's passes and the cascade always run in
    Python.
    """

    PYTHON = "python"
    ONNXRUNTIME = "onnxruntime"
    TENSORRT = "tensorrt"


class Word(str):
    """A value written without quotes, such as an enum's."""


# Most rows of one request, and of one batch.
MAX_BATCH = 1024
# Most rows of one pass of the teacher; see cascade_server.engines.teacher.
TEACHER_BATCH = 256
# Most requests that may wait at each priority before more are refused.
MAX_QUEUE = 1024
REALTIME, OFFLINE = 1, 2
CONFIG, MODEL, WARMUP = "config.pbtxt", "model.py", "warmup/absent"
STATE_TYPE = Word("TYPE_UINT8")
COLUMN_TYPES: Mapping[Kind, Word] = {
    Kind.CATEGORICAL: Word("TYPE_STRING"),
    Kind.BOOLEAN: Word("TYPE_BOOL"),
    Kind.INTEGER: Word("TYPE_INT64"),
    Kind.CONTINUOUS: Word("TYPE_FP64"),
    Kind.DATETIME: Word("TYPE_INT64"),
}
PROGRAM = '''\
"""The {module} of {table!r} in Triton; see Cascade's docs/triton.md."""

from cascade_server.triton_models.{module} import TritonPythonModel

__all__ = ["TritonPythonModel"]
'''


def configure(
    repository: Path,
    runtime: TritonRuntime = TritonRuntime.PYTHON,
    table: str | None = None,
    priorities: bool = False,
) -> dict[str, int]:
    """Write Triton's files for each table's latest release.

    Args:
        repository: a model repository.
        runtime: of the student.
        table: only this one; None: all.
        priorities: whether Triton queues requests of a table by priority; see docs/triton.md for
            the cost.

    Returns:
        Tables and the versions that the files are for.

    Raises:
        ReleaseError: there is no such table, or a release is not whole.
    """
    found = list_releases(repository)
    if table is not None and table not in found:
        known = listing(found) or "none"
        raise ReleaseError(f"{repository} holds no release of {table!r}; its tables are: {known}")
    written = {}
    for name in found if table is None else (table,):
        release = load_release(repository, name, found[name][-1])
        write_files(repository, release, runtime, priorities)
        written[name] = release.manifest.version
    return written


def files_of(table: str, version: int) -> list[str]:
    """Return the possible paths of Triton's files in a repository; which exist depends on the
    runtime.
    """
    names = (table, f"{table}_student", f"{table}_teacher")
    programs = [f"{name}/{version}/{MODEL}" for name in names]
    return [*programs, f"{table}/{WARMUP}", *(f"{name}/{CONFIG}" for name in names)]


def write_files(
    repository: Path, release: Release, runtime: TritonRuntime, priorities: bool = False
) -> None:
    """Write one release's files; remove those of another runtime that this one lacks."""
    table, version = release.manifest.table, str(release.manifest.version)
    programs = {table: "cascade", f"{table}_student": "student", f"{table}_teacher": "teacher"}
    if runtime is not TritonRuntime.PYTHON:
        (repository / f"{table}_student" / version / MODEL).unlink(missing_ok=True)
        del programs[f"{table}_student"]
    for name, module in programs.items():
        program = PROGRAM.format(module=module, table=table)
        (repository / name / version / MODEL).write_text(program, encoding="utf-8")
    sample = repository / table / WARMUP
    sample.parent.mkdir(exist_ok=True)
    sample.write_bytes(ABSENT_CELL)
    for name, config in configs(release, runtime, priorities).items():
        (repository / name / CONFIG).write_text(pbtxt(config), encoding="utf-8")


def configs(
    release: Release, runtime: TritonRuntime, priorities: bool = False
) -> dict[str, dict[str, Any]]:
    """Return the `ModelConfig` of each model by its name, as mappings of the message's fields."""
    manifest, slots = release.manifest, len(release.codec.layout.sizes)
    table = manifest.table
    student = _network(slots, int(manifest.student["noise_width"]), runtime)
    teacher = _network(slots, int(manifest.teacher["noise_width"]), TritonRuntime.PYTHON)
    teacher["max_batch_size"] = TEACHER_BATCH
    teacher["output"].append(_tensor("log_likelihood", Word("TYPE_FP64"), 1))
    bodies = {
        table: _cascade(release.codec.schema, runtime, priorities),
        f"{table}_student": student,
        f"{table}_teacher": teacher,
    }
    return {name: {"name": name, **body} for name, body in bodies.items()}


def _scheduling(priorities: bool = False) -> dict[str, Any]:
    """Return the queueing settings.

    Args:
        priorities: whether real-time requests go first, late ones are refused in the queue, and its
            length is bounded. If the queue has any policy, Triton does not wake its batcher when an
            instance becomes idle: it sleeps until the next request, or for half a second. With two
            instances that is rarer.
    """
    # A batch is what arrived during the previous run; no request waits to fill a batch.
    batching: dict[str, Any] = {"max_queue_delay_microseconds": 0}
    if priorities:
        batching |= {
            "priority_levels": OFFLINE,
            "default_priority_level": REALTIME,
            "default_queue_policy": {
                "timeout_action": Word("REJECT"),
                "allow_timeout_override": True,
                "max_queue_size": MAX_QUEUE,
            },
        }
    return {
        "dynamic_batching": batching,
        "instance_group": [{"count": 1 + priorities, "kind": Word("KIND_CPU")}],
        # The cache key is the inputs alone, without parameters such as the seed, and a request
        # without a seed wants different rows each time.
        "response_cache": {"enable": False},
        "version_policy": {"latest": {"num_versions": 1}},
    }


def _network(slots: int, noise: int, runtime: TritonRuntime) -> dict[str, Any]:
    """Return a network's config: tokens in, tokens out.

    Args:
        slots: tokens per row.
        noise: uniform numbers per row.
        runtime: that runs it.
    """
    python = runtime is TritonRuntime.PYTHON
    # A graph has no optional inputs; in Python, missing noise is generated from a seed.
    given = {"optional": True} if python else {}
    warm = {
        "tokens": {"data_type": Word("TYPE_INT32"), "dims": [slots], "zero_data": True},
        "observed": {"data_type": Word("TYPE_BOOL"), "dims": [slots], "zero_data": True},
        "noise": {"data_type": Word("TYPE_FP32"), "dims": [noise], "zero_data": True},
    }
    files = {TritonRuntime.ONNXRUNTIME: "model.onnx", TritonRuntime.TENSORRT: "model.plan"}
    body: dict[str, Any] = {
        "backend": runtime.value,
        "default_model_filename": files.get(runtime, MODEL),
        "max_batch_size": MAX_BATCH,
        "input": [
            _tensor("tokens", Word("TYPE_INT32"), slots),
            _tensor("observed", Word("TYPE_BOOL"), slots),
            {**_tensor("noise", Word("TYPE_FP32"), noise), **given},
        ],
        "output": [_tensor("drawn", Word("TYPE_INT32"), slots)],
        **_scheduling(),
        "model_warmup": [
            {
                "name": f"{rows} row{'s' * (rows > 1)}",
                "batch_size": rows,
                "inputs": [{"key": name, "value": value} for name, value in warm.items()],
            }
            for rows in (1, 16)
        ],
    }
    if runtime is TritonRuntime.TENSORRT:
        body["instance_group"] = [{"count": 1, "kind": Word("KIND_GPU")}]
    if runtime is TritonRuntime.ONNXRUNTIME:
        threads = {"key": "intra_op_thread_count", "value": {"string_value": "1"}}
        body["parameters"] = [threads]
    return body


def _cascade(schema: Schema, runtime: TritonRuntime, priorities: bool) -> dict[str, Any]:
    """Return the config of the table's model, which takes and returns values: one tensor per column
    and its states, or a whole row in one.
    """
    # Calling another model costs the server more than running the student; but the cascade itself
    # can only run what runs in Python.
    where = "here" if runtime is TritonRuntime.PYTHON else "called"
    columns, names = schema.columns, schema.names
    inputs, outputs = [], []
    for column in columns:
        tensor = _tensor(column.name, COLUMN_TYPES[column.kind], 1)
        inputs.append({**tensor, "optional": True})
        outputs.append(tensor)
    states = [column for column in columns if f"{column.name}.state" not in names]
    for column in states:
        tensor = _tensor(f"{column.name}.state", STATE_TYPE, 1)
        inputs.append({**tensor, "optional": True})
        outputs.append(tensor)
    row = [_tensor("row", Word("TYPE_FP64"), len(columns))]
    row.append(_tensor("row.state", STATE_TYPE, len(columns)))
    said = [_tensor("log_likelihood", Word("TYPE_FP64"), 1)]
    said.append(_tensor("provenance", Word("TYPE_STRING"), 1))
    # A column of the same name takes precedence.
    inputs += [{**each, "optional": True} for each in row if each["name"] not in names]
    outputs += [each for each in (*row, *said) if each["name"] not in names]
    sample = {
        "key": f"{states[0].name}.state",
        "value": {"data_type": STATE_TYPE, "dims": [1], "input_data_file": Path(WARMUP).name},
    }
    return {
        "backend": "python",
        "default_model_filename": MODEL,
        "max_batch_size": MAX_BATCH,
        "input": inputs,
        "output": outputs,
        **_scheduling(priorities),
        "parameters": [{"key": "student", "value": {"string_value": where}}],
        "model_warmup": [{"name": "one row", "batch_size": 1, "inputs": [sample]}],
    }


def _tensor(name: str, data_type: Word, width: int) -> dict[str, Any]:
    return {"name": name, "data_type": data_type, "dims": [width]}


def pbtxt(message: Mapping[str, Any]) -> str:
    """Format a message in protobuf's text format."""
    return "".join(f"{line}\n" for line in _fields(message))


def _fields(message: Mapping[str, Any]) -> Iterator[str]:
    for name, value in message.items():
        if isinstance(value, Mapping):
            yield f"{name} {{"
            yield from (f"  {line}" for line in _fields(value))
            yield "}"
        elif isinstance(value, list) and value and isinstance(value[0], Mapping):
            for each in value:
                inside = list(_fields(each))
                if all("{" not in line for line in inside):
                    yield f"{name} {{ {' '.join(inside)} }}"
                else:
                    yield from _fields({name: each})
        elif isinstance(value, list):
            yield f"{name}: [{', '.join(map(_literal, value))}]"
        else:
            yield f"{name}: {_literal(value)}"


def _literal(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str) and not isinstance(value, Word):
        return json.dumps(value, ensure_ascii=False)
    return str(value)
