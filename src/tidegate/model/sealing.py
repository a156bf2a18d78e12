# SPDX-License-Identifier: Apache-2.0
"""Secrets of records as they are stored: where each belongs, its encrypted form, and walks over documents.

A record holds its secrets in the form in which they are stored; `open_secrets` is called right before a value
is used, and nowhere else. What encrypts is a `SealsSecrets`; `tidegate.sealing` has it (docs/adr/0044).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol

from tidegate.model.secret_names import is_secret_option
from tidegate.model.secrets import PLAIN, SEALED

TEXT: Final = 1
"""`mode` of a sealed secret that was a text."""
JSON: Final = 2
"""`mode` of a sealed secret that was another JSON value, for instance a document with ``status`` Plain."""
REDACTED: Final = "Redacted"
"""`status` of a document that stands for the stored secret."""
FORMAT: Final = "1"
"""Version of the format of payloads; they begin with it."""
PLAIN_KEY: Final = "plain"
"""Stands for the key id of a secret that is not encrypted, in `secrets_of`."""

_HOLDERS: Final = frozenset(("totp_config", "recovery_codes", "passkeys", "tls_certs"))
"""Hidden names whose values are no secrets, but hold some or none."""


@dataclass(frozen=True, slots=True)
class SecretPlace:
    """The place that a secret belongs to. Its encrypted form opens for no other one.

    Attributes:
        kind: of the record: ``user``, ``folder``, ``admin``.
        name: of the record.
        field: path in the record's document, ``filesystem.s3config.access_secret``; ``[]`` stands for every
            item of a list.
    """

    kind: str
    name: str
    field: str = ""

    def __str__(self) -> str:
        return f"{self.kind} {self.name}: {self.field}"

    def at(self, field: str) -> SecretPlace:
        """Another field of the same record."""
        return SecretPlace(self.kind, self.name, field)


class SecretLocked(ValueError):
    """An encrypted secret cannot be opened; the text says why and holds nothing of it.

    Args:
        what: the reason, to stand after the field's name.
        field: of the secret, where it is known.
    """

    def __init__(self, what: str, field: str = "") -> None:
        super().__init__(f"{field} {what}" if field else what)
        self.what = what
        self.field = field


class SealsSecrets(Protocol):
    """Encrypts secrets of records, and opens them. Calls take microseconds once the keys are read."""

    def __hash__(self) -> int:
        """By identity."""
        ...

    @property
    def seals(self) -> bool:
        """True if there is a key for new secrets."""
        ...

    def seal(self, value: str, place: SecretPlace) -> str:
        """The payload of a secret; its value itself may be empty.

        Raises:
            ValueError: there is no key (`seals` is False).
        """
        ...

    def open(self, payload: str, place: SecretPlace) -> str:
        """The value of a payload.

        Raises:
            SecretLocked: its key is not here, it belongs to another place, or it is damaged.
        """
        ...

    def renew(self, payload: str, place: SecretPlace) -> str:
        """The payload under the key for new secrets; the same if it is.

        Raises:
            SecretLocked: as `open`.
        """
        ...


class NoSealing:
    """No master key: secrets stay as they are, and encrypted ones cannot be opened."""

    @property
    def seals(self) -> bool:
        """False."""
        return False

    def seal(self, value: str, place: SecretPlace) -> str:
        """Nothing.

        Raises:
            ValueError: always.
        """
        del value, place
        raise ValueError("there is no master key (kms.secrets)")

    def open(self, payload: str, place: SecretPlace) -> str:
        """Nothing.

        Raises:
            SecretLocked: always.
        """
        del place
        raise SecretLocked(
            f"is encrypted under master key {key_of(payload)}, and no master key is configured"
        )

    def renew(self, payload: str, place: SecretPlace) -> str:
        """Nothing.

        Raises:
            SecretLocked: always.
        """
        return self.open(payload, place)


NO_SEALING: Final = NoSealing()


def is_sealed(value: object) -> bool:
    """True for the document of an encrypted secret."""
    return isinstance(value, Mapping) and value.get("status") == SEALED


def key_of(payload: object) -> str:
    """The id of the key that a payload names; ``unknown`` if it names none."""
    parts = payload.split(".") if isinstance(payload, str) else []
    known = len(parts) == 3 and parts[0] == FORMAT and len(parts[1]) == 16 and parts[1].isalnum()
    return parts[1] if known else "unknown"


def seal_secrets(document: Mapping[str, Any], seals: SealsSecrets, place: SecretPlace) -> dict[str, Any]:
    """A copy in which every secret is encrypted; what is encrypted stays as it is.

    Args:
        document: options of storage, or kept parts of other versions.
        seals: encrypts; without a key nothing changes.
        place: of the document; names are added to its field.
    """
    if not seals.seals:
        return dict(document)

    def change(value: Any, at: SecretPlace) -> Any:
        return value if _status_of(value) not in (None, PLAIN) else seal_value(value, seals, at)

    return _walked(document, change, place)


def renew_secrets(document: Mapping[str, Any], seals: SealsSecrets, place: SecretPlace) -> dict[str, Any]:
    """As `seal_secrets`; what is encrypted under another key comes under the key for new secrets.

    Raises:
        SecretLocked: one cannot be opened; the text begins with its field.
    """

    def change(value: Any, at: SecretPlace) -> Any:
        if not is_sealed(value):
            return value if _status_of(value) not in (None, PLAIN) else seal_value(value, seals, at)
        try:
            return {**value, "payload": seals.renew(_payload(value), at)}
        except SecretLocked as error:
            raise SecretLocked(error.what, at.field) from None

    return _walked(document, change, place)


def open_secrets(document: Mapping[str, Any], seals: SealsSecrets, place: SecretPlace) -> dict[str, Any]:
    """A copy in which every encrypted secret is as it was given. For whoever uses the values right now.

    Raises:
        SecretLocked: one cannot be opened; the text begins with its field.
    """

    def change(value: Any, at: SecretPlace) -> Any:
        return open_value(value, seals, at) if is_sealed(value) else value

    return _walked(document, change, place)


def secrets_of(document: Mapping[str, Any], place: SecretPlace) -> Iterator[tuple[str, str]]:
    """The field and key of each secret of a document: an id, `PLAIN_KEY`, or the name of a foreign method."""
    for field, value in each_secret(document, place):
        status = _status_of(value)
        if status == SEALED:
            yield field, key_of(value.get("payload"))
        elif status != REDACTED:
            yield field, PLAIN_KEY if status in (None, PLAIN) else status


def each_secret(document: Mapping[str, Any], place: SecretPlace) -> list[tuple[str, Any]]:
    """The field and the value, as it stands there, of each secret of a document."""
    found: list[tuple[str, Any]] = []

    def look(value: Any, at: SecretPlace) -> Any:
        found.append((at.field, value))
        return value

    _walked(document, look, place)
    return found


def is_redacted(value: object) -> bool:
    """True for the document that stands for the stored secret."""
    return isinstance(value, Mapping) and value.get("status") == REDACTED


def sealed_payloads(document: object) -> Iterator[str]:
    """The payload of each encrypted secret anywhere in a document."""
    if isinstance(document, Mapping):
        if is_sealed(document):
            yield _payload(document)
            return
        document = list(document.values())
    if isinstance(document, list):
        for item in document:
            yield from sealed_payloads(item)


def seal_value(value: Any, seals: SealsSecrets, place: SecretPlace) -> dict[str, Any]:
    """The document that is stored in place of one secret, a text or another JSON value.

    Raises:
        ValueError: there is no key (`SealsSecrets.seals` is False).
    """
    if isinstance(value, str):
        return {"status": SEALED, "payload": seals.seal(value, place), "mode": TEXT}
    text = json.dumps(value, separators=(",", ":"))
    return {"status": SEALED, "payload": seals.seal(text, place), "mode": JSON}


def open_value(value: Mapping[str, Any], seals: SealsSecrets, place: SecretPlace) -> Any:
    """The secret of a document that `seal_value` has made.

    Raises:
        SecretLocked: it cannot be opened; the text begins with the field.
    """
    try:
        text = seals.open(_payload(value), place)
        return json.loads(text) if value.get("mode") == JSON else text
    except SecretLocked as error:
        raise SecretLocked(error.what, place.field) from None
    except ValueError:
        raise SecretLocked("is damaged", place.field) from None


def _payload(value: Mapping[str, Any]) -> str:
    payload = value.get("payload")
    return payload if isinstance(payload, str) else ""


def _status_of(value: object) -> str | None:
    """The status of a secret's document; None for other values, and for one without a status."""
    status = value.get("status") if isinstance(value, Mapping) else None
    return status if isinstance(status, str) and status else None


def _walked(
    document: Mapping[str, Any], change: Callable[[Any, SecretPlace], Any], place: SecretPlace
) -> dict[str, Any]:
    """A copy in which each value of a secret's name that holds anything went through `change`."""
    copy: dict[str, Any] = {}
    for name, value in document.items():
        at = place.at(f"{place.field}.{name}" if place.field else name)
        if _is_secret(name, value):
            value = change(value, at)
        elif isinstance(value, Mapping):
            value = _walked(value, change, at)
        elif isinstance(value, list):
            inner = at.at(f"{at.field}[]")
            value = [_walked(item, change, inner) if isinstance(item, Mapping) else item for item in value]
        copy[name] = value
    return copy


def _is_secret(name: str, value: object) -> bool:
    if not is_secret_option(name) or name in _HOLDERS or not value or isinstance(value, bool):
        return False
    if isinstance(value, Mapping) and "status" in value:
        return bool(value.get("payload")) or value["status"] == REDACTED
    return True
