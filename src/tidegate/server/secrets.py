# SPDX-License-Identifier: Apache-2.0
"""The master keys that the configuration names (section ``kms``), and what is said about them at a start."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from pathlib import Path

from tidegate.config.load import Loaded
from tidegate.errors import ConfigError, Problem
from tidegate.model.sealing import NO_SEALING, SealsSecrets
from tidegate.sealing.sealer import Keyring, Sealer

NO_KEY = "secrets in records are kept in plain text: no master key is configured (kms.secrets)"
"""Said by `check` and by each start."""


def sealing(loaded: Loaded) -> SealsSecrets:
    """The encryption of secrets in records: one for equal configurations. Reads no key yet.

    Raises:
        ConfigError: more than one master key is named.
    """
    section = loaded.settings.kms.secrets
    given = {
        "master_key": section.master_key,
        "master_key_path": section.master_key_path,
        "master_key_command": tuple(section.master_key_command),
    }
    names = [name for name, value in given.items() if value]
    if not names:
        return NO_SEALING
    if len(names) > 1:
        raise ConfigError([Problem("kms.secrets", f"{' and '.join(names)} are given; give one")])
    text = section.master_key
    path = str(loaded.resolve(section.master_key_path)) if section.master_key_path else ""
    old = tuple(str(loaded.resolve(name)) for name in section.old_master_key_paths)
    return _sealing(text, path, tuple(section.master_key_command), old)


@lru_cache(maxsize=8)
def _sealing(text: str, path: str, command: tuple[str, ...], old: tuple[str, ...]) -> SealsSecrets:
    def read() -> Keyring:
        from tidegate.sealing import keys

        if text:
            current = keys.from_text(text, "kms.secrets.master_key")
        elif path:
            current = keys.from_file(Path(path), "kms.secrets.master_key_path")
        else:
            current = keys.from_command(command, "kms.secrets.master_key_command")
        label = "kms.secrets.old_master_key_paths"
        former = [keys.from_file(Path(one), f"{label}[{index}]") for index, one in enumerate(old)]
        return Keyring(current, former)

    return Sealer(read)


def with_keys_of(running: Loaded, fresh: Loaded) -> Loaded:
    """A configuration that is read again, with the master keys of the running one: those wait for a restart.

    Else parts of one server would have different keys, and read the new ones while it serves.
    """
    return replace(fresh, settings=fresh.settings.model_copy(update={"kms": running.settings.kms}))


def read_keys(loaded: Loaded) -> str:
    """Read the master keys, and say which they are. May block for `tidegate.sealing.keys.COMMAND_SECONDS`.

    Raises:
        ConfigError: they cannot be read.
    """
    seals = sealing(loaded)
    if not isinstance(seals, Sealer):
        return NO_KEY
    current, old = seals.keys.current, seals.keys.old
    former = f"; former keys: {', '.join(key.id for key in old)}" if old else ""
    return f"secrets are encrypted under master key {current.id} ({current.form}){former}"
