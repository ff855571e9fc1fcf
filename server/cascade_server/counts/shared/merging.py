"""Merges the statistics of several processes into those of one server; pure.

Each field declares how it is merged in synthesis.proto, by the option `merge`: a new counter needs
no code here, and a field without the option is an error at the start.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, TypeAlias

from cascade_proto import synthesis_pb2 as pb
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

Together: TypeAlias = Callable[[Any, Any], Any]
# The value of a field for two processes together, by its kind of merging.
TOGETHER: Mapping[int, Together] = {
    pb.MERGE_SUM: lambda one, other: one + other,
    pb.MERGE_MAX: max,
    pb.MERGE_HELD_SUM: lambda one, other: one + other,
    pb.MERGE_HELD_MAX: max,
    pb.MERGE_HELD_ANY: lambda one, other: one or other,
    # All processes that describe shared state report the same.
    pb.MERGE_SHARED: lambda one, other: one or other,
}
# What a process holds is gone when it ends; its counts stay.
HELD = (pb.MERGE_HELD_SUM, pb.MERGE_HELD_MAX, pb.MERGE_HELD_ANY)


@dataclass(frozen=True)
class Fields:
    """How one type of message is merged; each attribute is a tuple of names.

    Attributes:
        keys: identify an entry of a list.
        values: each with the function that merges two of them.
        maps: the same, for the values of a map.
        messages: single messages, which may be unset.
        lists: lists of messages that have keys.
        counted: values that only grow.
        held: values and maps that are gone with their process.
        shared: name of the field that says whether a message describes shared state; empty if there
            is none.
    """

    keys: tuple[str, ...]
    values: tuple[tuple[str, Together], ...]
    maps: tuple[tuple[str, Together], ...]
    messages: tuple[str, ...]
    lists: tuple[str, ...]
    counted: tuple[str, ...]
    held: tuple[str, ...]
    shared: str

    @property
    def is_all_held(self) -> bool:
        """Whether nothing of such a message remains when its process ends."""
        rest = {name for name, _ in (*self.values, *self.maps)} - set(self.held)
        return not (rest or self.messages or self.lists)


@cache
def fields_of(message: Descriptor) -> Fields:
    """Return how the fields of a message type merge.

    Raises:
        TypeError: a field does not declare it; names the field and the allowed values.
    """
    keys: list[str] = []
    messages: list[str] = []
    lists: list[str] = []
    grow: list[str] = []
    held: list[str] = []
    values: list[tuple[str, Together]] = []
    maps: list[tuple[str, Together]] = []
    shared = ""
    for field in message.fields:
        inner, name = field.message_type, field.name
        is_map = inner is not None and inner.GetOptions().map_entry
        if inner is not None and not is_map:
            if field.is_repeated and not fields_of(inner).keys:
                raise TypeError(f"{inner.name} has no key to tell the {field.full_name} apart by")
            fields_of(inner)
            (lists if field.is_repeated else messages).append(name)
            continue
        how = _merge_of(field)
        if how == pb.MERGE_KEY:
            keys.append(name)
        else:
            (maps if is_map else values).append((name, TOGETHER[how]))
        if how in HELD:
            held.append(name)
        if how == pb.MERGE_SUM:
            grow.append(name)
        if how == pb.MERGE_SHARED:
            shared = name
    return Fields(
        keys=tuple(keys),
        values=tuple(values),
        maps=tuple(maps),
        messages=tuple(messages),
        lists=tuple(lists),
        counted=tuple(grow),
        held=tuple(held),
        shared=shared,
    )


def _merge_of(field: FieldDescriptor) -> int:
    how: int = field.GetOptions().Extensions[pb.merge]
    is_list = field.is_repeated and field.message_type is None
    if how == pb.MERGE_UNSPECIFIED or is_list:
        allowed = ", ".join(pb.Merge.keys()[1:])
        raise TypeError(
            f"{field.full_name} does not say how the values of several processes become one; give "
            f"it the option (cascade.v1.merge), one of {allowed}"
        )
    return how


def merged(parts: Sequence[pb.GetStatisticsResponse]) -> pb.GetStatisticsResponse:
    """Merge the statistics of a server's processes into what `GetStatistics` returns."""
    out = pb.GetStatisticsResponse()
    for part in parts:
        _merge(out, part)
    return out


def counted(part: pb.GetStatisticsResponse) -> pb.GetStatisticsResponse:
    """Return what remains of a process that has ended: its counts, without what it held."""
    out = pb.GetStatisticsResponse()
    out.CopyFrom(part)
    _let_go(out)
    return out


def _merge(out: Message, part: Message) -> None:
    fields = fields_of(out.DESCRIPTOR)
    if fields.shared and getattr(part, fields.shared):
        if _counts(part, fields) > _counts(out, fields):
            out.CopyFrom(part)
        return
    for name, together in fields.values:
        value = together(getattr(out, name), getattr(part, name))
        if value != getattr(out, name):
            setattr(out, name, value)
    for name, together in fields.maps:
        _merge_map(getattr(out, name), getattr(part, name), together)
    for name in fields.messages:
        if part.HasField(name):
            own = getattr(out, name)
            own.SetInParent()
            _merge(own, getattr(part, name))
    for name in fields.lists:
        _merge_list(getattr(out, name), getattr(part, name))


def _merge_map(
    out: MutableMapping[Any, Any],
    part: Mapping[Any, Any],
    together: Together,
) -> None:
    for key, value in part.items():
        out[key] = together(out[key], value) if key in out else value


def _merge_list(out: Any, part: Iterable[Message]) -> None:
    have = {_key(each): each for each in out}
    for each in part:
        found = have.get(_key(each))
        if found is None:
            have[_key(each)] = found = out.add()
            found.CopyFrom(each)
        else:
            _merge(found, each)


def _let_go(message: Message) -> None:
    fields = fields_of(message.DESCRIPTOR)
    for name in fields.held:
        message.ClearField(name)
    for name in fields.messages:
        if message.HasField(name):
            _let_go(getattr(message, name))
    for name in fields.lists:
        entries = getattr(message, name)
        kept = [each for each in entries if not _is_gone(each)]
        if len(kept) < len(entries):
            copies = [type(each).FromString(each.SerializeToString()) for each in kept]
            del entries[:]
            entries.extend(copies)
        for each in entries:
            _let_go(each)


def _is_gone(entry: Message) -> bool:
    """Return whether an entry of a list is gone with its process."""
    fields = fields_of(entry.DESCRIPTOR)
    return fields.is_all_held or bool(fields.shared and getattr(entry, fields.shared))


def _key(message: Message) -> tuple[Any, ...]:
    return tuple(getattr(message, name) for name in fields_of(message.DESCRIPTOR).keys)


def _counts(message: Message, fields: Fields) -> tuple[Any, ...]:
    return tuple(getattr(message, name) for name in fields.counted)


# Finds an error in the declarations when a server starts, not at the first request.
fields_of(pb.GetStatisticsResponse.DESCRIPTOR)
