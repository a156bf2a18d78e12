# SPDX-License-Identifier: Apache-2.0
"""Groups and roles as the `bolt` driver keeps them: JSON text, with number and times."""

from __future__ import annotations

from dataclasses import replace

from tidegate.model.group import Group, Role
from tidegate.store import storages


def dump_group(group: Group) -> bytes:
    """The text of a group."""
    from tidegate.store.group_documents import group_text

    numbers = {"id": group.id, "created_at": group.created_at, "updated_at": group.updated_at}
    return storages.json_text({**numbers, "document": group_text(group)}).encode()


def load_group(text: bytes) -> Group:
    """Read what `dump_group` wrote.

    Raises:
        ValueError: it is no such text.
    """
    from tidegate.store.group_documents import group_of_text

    stored = storages.json_object(text)
    document = stored.pop("document", "")
    if not isinstance(document, str) or set(stored) != {"id", "created_at", "updated_at"}:
        raise ValueError("no group")
    return replace(group_of_text(document), **stored)


def dump_role(role: Role) -> bytes:
    """The text of a role."""
    from tidegate.store.group_documents import role_adapter

    return role_adapter().dump_json(role)


def load_role(text: bytes) -> Role:
    """Read what `dump_role` wrote.

    Raises:
        ValueError: it is no such text.
    """
    from tidegate.store.group_documents import role_adapter

    role: Role = role_adapter().validate_json(text)
    return role
