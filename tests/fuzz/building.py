"""Messages that protobuf reads, built after their description: any fields, with values at an edge.

Bytes that are changed by chance are mostly no message at all. These are messages, and what is wrong
with them is what they ask for.
"""

from __future__ import annotations

from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message_factory import GetMessageClass
from hypothesis import strategies as st

MOST_DEPTH, MOST_REPEATED = 5, 3
NUMBERS = {
    FieldDescriptor.CPPTYPE_INT32: (-(2**31), 2**31 - 1),
    FieldDescriptor.CPPTYPE_INT64: (-(2**63), 2**63 - 1),
    FieldDescriptor.CPPTYPE_UINT32: (0, 2**32 - 1),
    FieldDescriptor.CPPTYPE_UINT64: (0, 2**64 - 1),
    FieldDescriptor.CPPTYPE_ENUM: (-(2**31), 2**31 - 1),
}


def messages(
    descriptor: Descriptor, words: tuple[bytes, ...], depth: int = MOST_DEPTH
) -> st.SearchStrategy[Any]:
    """Messages of a kind.

    Args:
        descriptor: of the kind.
        words: texts and bytes that fields may have, beside any others.
        depth: how deep messages may be in messages.
    """
    kind = GetMessageClass(descriptor)
    fields = {
        field.name: _values(field, words, depth)
        for field in descriptor.fields
        if depth or field.message_type is None
    }
    return st.fixed_dictionaries({}, optional=fields).map(lambda found: _made(kind, found))


def _made(kind: Any, found: dict[str, Any]) -> Any:
    message = kind()
    for name, value in found.items():
        field = kind.DESCRIPTOR.fields_by_name[name]
        place = getattr(message, name)
        if isinstance(value, dict):
            for key, each in value.items():
                if hasattr(place[key], "CopyFrom"):
                    place[key].CopyFrom(each)
                else:
                    place[key] = each
        elif isinstance(value, list):
            place.extend(value)
        elif field.message_type is not None:
            place.CopyFrom(value)
        else:
            setattr(message, name, value)
    return message


def _values(field: FieldDescriptor, words: tuple[bytes, ...], depth: int) -> st.SearchStrategy[Any]:
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        entry = field.message_type.fields_by_name
        keys, values = (_one(entry[name], words, depth) for name in ("key", "value"))
        return st.dictionaries(keys, values, max_size=MOST_REPEATED)
    one = _one(field, words, depth)
    return st.lists(one, max_size=MOST_REPEATED) if field.is_repeated else one


def _one(field: FieldDescriptor, words: tuple[bytes, ...], depth: int) -> st.SearchStrategy[Any]:
    if field.message_type is not None:
        return st.deferred(lambda: messages(field.message_type, words, depth - 1))
    if field.type == FieldDescriptor.TYPE_STRING:
        texts = sorted({word.decode() for word in words if word.isascii() and word.isalnum()})
        return st.one_of(st.sampled_from(["", *texts]), st.text(max_size=12))
    if field.type == FieldDescriptor.TYPE_BYTES:
        return st.one_of(st.sampled_from([b"", b"\0", b"\1", b"\2", *words]), st.binary(max_size=9))
    if field.cpp_type == FieldDescriptor.CPPTYPE_BOOL:
        return st.booleans()
    if field.cpp_type in (FieldDescriptor.CPPTYPE_DOUBLE, FieldDescriptor.CPPTYPE_FLOAT):
        width = 32 if field.cpp_type == FieldDescriptor.CPPTYPE_FLOAT else 64
        return st.floats(width=width)
    low, high = NUMBERS[field.cpp_type]
    return st.one_of(st.integers(max(low, -1), 3), st.integers(low, high))
