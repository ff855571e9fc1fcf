"""Answers of figures, without those of tables that whoever asks does not see."""

from __future__ import annotations

from google.protobuf.message import Message

from cascade_server.access.grants import Caller

TABLE, TABLES, TENANT = "table", "tables", "tenant"
# Fields whose keys are tables.
BY_TABLE = frozenset({"steps_down"})


def only_seen(message: Message, caller: Caller) -> None:
    """Leave out of a message, and of what is in it, all that names a table which is not seen, and
    all that is another tenant's.

    Args:
        message: changed in place.
        caller: who asks.
    """
    if caller.sees_all_tenants:
        return
    grant = caller.grant
    for field, value in message.ListFields():
        if field.message_type is None:
            if field.is_repeated and field.name == TABLES:
                seen = grant.seen(value)
                del value[:]
                value.extend(seen)
            continue
        if field.message_type.GetOptions().map_entry:
            if field.name in BY_TABLE:
                for name in [each for each in value if not grant.sees(each)]:
                    del value[name]
        elif not field.is_repeated:
            only_seen(value, caller)
        elif field.message_type.fields_by_name.get(TABLE) is not None:
            has_tenants = field.message_type.fields_by_name.get(TENANT) is not None
            kept = [
                each
                for each in value
                if grant.sees(each.table) and (not has_tenants or caller.owns(each.tenant))
            ]
            if len(kept) < len(value):
                copies = [type(each).FromString(each.SerializeToString()) for each in kept]
                del value[:]
                value.extend(copies)
            for each in value:
                only_seen(each, caller)
        else:
            for each in value:
                only_seen(each, caller)
