"""The wire contract only grows: what older clients say, every newer server reads."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cascade_proto import jobs_pb2, synthesis_pb2
from google.protobuf.descriptor import Descriptor, FieldDescriptor, FileDescriptor

# What a version had, written at its release: python -m tests.proto.test_compatibility FILE
RELEASED = sorted(Path(__file__).parent.glob("contract-*.json"))
FILES: tuple[FileDescriptor, ...] = (synthesis_pb2.DESCRIPTOR, jobs_pb2.DESCRIPTOR)


def _field(field: FieldDescriptor) -> list[Any]:
    """What of a field a peer depends on: its number, its type, whether there are many."""
    of_type = field.message_type or field.enum_type
    return [field.number, of_type.full_name if of_type else field.type, field.is_repeated]


def _messages(messages: Iterator[Descriptor]) -> dict[str, dict[str, list[Any]]]:
    found: dict[str, dict[str, list[Any]]] = {}
    for message in messages:
        found[message.full_name] = {field.name: _field(field) for field in message.fields}
        found |= _messages(iter(message.nested_types))
    return found


def contract() -> dict[str, dict[str, dict[str, Any]]]:
    """Messages, enumerations and methods of this version."""
    messages: dict[str, dict[str, Any]] = {}
    enums: dict[str, dict[str, Any]] = {}
    methods: dict[str, dict[str, Any]] = {}
    for file in FILES:
        messages |= _messages(iter(file.message_types_by_name.values()))
        for enum in file.enum_types_by_name.values():
            enums[enum.full_name] = {value.name: value.number for value in enum.values}
        for service in file.services_by_name.values():
            methods[service.full_name] = {
                method.name: [
                    *(method.input_type.full_name, method.output_type.full_name),
                    *(method.client_streaming, method.server_streaming),
                ]
                for method in service.methods
            }
    return {"messages": messages, "enums": enums, "methods": methods}


@pytest.mark.parametrize("released", RELEASED, ids=lambda path: path.stem)
def test_nothing_is_taken_away(released: Path) -> None:
    now = contract()
    changed = [
        f"{name}.{member}: {was} is {now[kind].get(name, {}).get(member, 'gone')}"
        for kind, things in json.loads(released.read_text()).items()
        for name, members in things.items()
        for member, was in members.items()
        if now[kind].get(name, {}).get(member) != was
    ]
    assert changed == []


def test_there_is_something_to_hold_to() -> None:
    assert RELEASED


def written(content: dict[str, dict[str, dict[str, Any]]]) -> str:
    """A member a line, so that what a version adds can be read in its change."""
    kinds = []
    for kind, things in content.items():
        named = [
            f"  {json.dumps(name)}: {{"
            + ",".join(f"\n   {json.dumps(key)}: {json.dumps(is_)}" for key, is_ in members.items())
            + "}"
            for name, members in things.items()
        ]
        kinds.append(f" {json.dumps(kind)}: {{\n" + ",\n".join(named) + "}")
    return "{\n" + ",\n".join(kinds) + "}\n"


if __name__ == "__main__":
    import sys

    Path(sys.argv[1]).write_text(written(contract()))
