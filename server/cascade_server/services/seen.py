"""Answers of figures, without those of tables that whoever asks does not see."""

from __future__ import annotations

from google.protobuf.message import Message

from cascade_server.access.grants import Grant

TABLE = "table"
# Fields whose keys are tables.
BY_TABLE = frozenset({"steps_down"})


def only_seen(message: Message, grant: Grant) -> None:
    """Leave out of a message, and of what is in it, all that names a table which is not seen.

    Args:
        message: changed in place.
        grant: of who asks.
    """
    if grant.tables is None:
        return
    for field, value in message.ListFields():
        if field.message_type is None:
            continue
        if field.message_type.GetOptions().map_entry:
            if field.name in BY_TABLE:
                for name in [each for each in value if not grant.sees(each)]:
                    del value[name]
        elif not field.is_repeated:
            only_seen(value, grant)
        elif field.message_type.fields_by_name.get(TABLE) is not None:
            kept = [each for each in value if grant.sees(each.table)]
            if len(kept) < len(value):
                copies = [type(each).FromString(each.SerializeToString()) for each in kept]
                del value[:]
                value.extend(copies)
            for each in value:
                only_seen(each, grant)
        else:
            for each in value:
                only_seen(each, grant)
