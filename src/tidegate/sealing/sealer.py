# SPDX-License-Identifier: Apache-2.0
"""`Sealer`: encrypts secrets by the current master key and opens them by every known one."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from tidegate.model.sealing import SealsSecrets, SecretLocked, SecretPlace, key_of

if TYPE_CHECKING:
    from tidegate.sealing.keys import MasterKey


@dataclass(frozen=True, slots=True)
class Keyring:
    """The master keys of a server.

    Attributes:
        current: encrypts what is new.
        old: still open what they encrypted.
    """

    current: MasterKey
    old: Sequence[MasterKey] = ()

    def find(self, key_id: str) -> MasterKey | None:
        """The key of an id."""
        return next((key for key in (self.current, *self.old) if key.id == key_id), None)


class Sealer:
    """`tidegate.model.sealing.SealsSecrets` by master keys, which are read once, when first needed.

    Safe for several threads.

    Args:
        read: reads the keys; may block and raise ConfigError.
    """

    def __init__(self, read: Callable[[], Keyring]) -> None:
        self._read: Final = read
        self._keys: Keyring | None = None
        self._lock: Final = threading.Lock()

    @property
    def seals(self) -> bool:
        """True."""
        return True

    @property
    def keys(self) -> Keyring:
        """The keys, read by now. Blocks the first time.

        Raises:
            ConfigError: they cannot be read.
        """
        with self._lock:
            if self._keys is None:
                self._keys = self._read()
            return self._keys

    def seal(self, value: str, place: SecretPlace) -> str:
        """The payload of a value under the current key."""
        from tidegate.sealing import envelope

        return envelope.seal(value, place, self.keys.current)

    def open(self, payload: str, place: SecretPlace) -> str:
        """The value of a payload.

        Raises:
            SecretLocked: its key is not here, it belongs to another place, or it is damaged.
        """
        from tidegate.sealing import envelope

        return envelope.unseal(payload, place, self._key_of(payload))

    def renew(self, payload: str, place: SecretPlace) -> str:
        """The payload under the current key.

        Raises:
            SecretLocked: as `open`.
        """
        from tidegate.sealing import envelope

        key = self._key_of(payload)
        if key is self.keys.current:
            return payload
        return envelope.rewrap(payload, place, key, self.keys.current)

    def _key_of(self, payload: str) -> MasterKey:
        key_id = key_of(payload)
        key = self.keys.find(key_id)
        if key is None:
            raise SecretLocked(f"is encrypted under master key {key_id}, which this server does not have")
        return key


def _keeps_the_contract(sealer: Sealer) -> SealsSecrets:
    return sealer
