# SPDX-License-Identifier: Apache-2.0
"""Hides secrets of a kept foreign document, and keeps the hidden parts through an update."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import zip_longest
from typing import Any, Final

from tidegate.errors import BadRecord
from tidegate.model.sealing import SecretPlace, each_secret, is_redacted, sealed_payloads
from tidegate.model.secret_names import is_hidden

OUTER: Final = "_record"
"""Key in `extra` that holds foreign keys of the record itself, as against those of its filters."""


def without_secrets(document: dict[str, Any]) -> dict[str, Any]:
    """A copy without any value whose name says that it may be secret."""
    shown: dict[str, Any] = {}
    for key, value in document.items():
        if is_hidden(key):
            continue
        if isinstance(value, dict):
            value = without_secrets(value)
        elif isinstance(value, list):
            value = [without_secrets(item) if isinstance(item, dict) else item for item in value]
        shown[key] = value
    return shown


def keep_hidden(
    given: dict[str, Any], stored: dict[str, Any], hides: Callable[[str], bool] = is_hidden
) -> dict[str, Any]:
    """The document after an update: the given values, and the stored ones for hidden names it does not give.

    A document that was read without its secrets and is written back thereby loses none of them.
    """
    kept = _without_redacted(given, stored)
    for key, value in stored.items():
        if hides(key):
            kept.setdefault(key, value)
        elif isinstance(value, dict) and isinstance(kept.get(key), dict):
            kept[key] = keep_hidden(kept[key], value, hides)
    return kept


def check_given(
    given: Mapping[str, Any],
    stored: Mapping[str, Any],
    place: SecretPlace,
    where: str,
    *,
    moved: bool = False,
) -> None:
    """Check the secrets of a document that somebody gives, after `keep_hidden`.

    An encrypted one can only be the record's own: whoever has an old dump could have its secrets used.

    Args:
        given: options of storage, or kept parts of other versions.
        stored: the same as it is stored; empty for a new record.
        place: the field of the document, for errors.
        where: prefix of errors.
        moved: the stored secrets would be sent to another place than they were given for.

    Raises:
        BadRecord: one stands for a secret that is not stored, or is encrypted and not the record's own.
    """
    own = None
    for field, value in each_secret(given, place):
        if is_redacted(value):
            what = "is for another endpoint" if moved else "is not stored"
            raise BadRecord(f"{where}{field}", f"is Redacted, but the secret {what}: give it in plain text")
        for payload in sealed_payloads(value):
            own = set(sealed_payloads(stored)) if own is None else own
            if moved or payload not in own:
                what = "for another endpoint" if moved else "and not this record's own"
                raise BadRecord(f"{where}{field}", f"is encrypted {what}: give it in plain text")


def _without_redacted(given: dict[str, Any], stored: dict[str, Any]) -> dict[str, Any]:
    """A copy in which documents with the status Redacted are what is stored there."""
    kept: dict[str, Any] = {}
    for key, value in given.items():
        before = stored.get(key)
        if is_redacted(value) and before:
            value = before
        elif isinstance(value, list) and isinstance(before, list):
            pairs = zip_longest(value, before[: len(value)])
            value = [
                _without_redacted(item, old) if isinstance(item, dict) and isinstance(old, dict) else item
                for item, old in pairs
            ]
        elif isinstance(value, dict) and isinstance(before, dict) and not is_redacted(before):
            value = _without_redacted(value, before)
        kept[key] = value
    return kept
