# SPDX-License-Identifier: Apache-2.0
"""Notes about what is accepted and deserves a word to the operator."""

from __future__ import annotations

import stat
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel

from tidegate.config.origin import Layer
from tidegate.config.schema.base import is_off, trait
from tidegate.config.schema.settings import Settings
from tidegate.config.schema.walk import KeyPath, field_at

NO_EFFECT: Final = "not available in this version, no effect"
"""End of the note on a key that is set and not acted on."""


def notes_on(settings: Settings, merged: Layer, file: Path | None) -> list[str]:
    """Notes on keys without effect and on secrets that others can read."""
    notes: list[str] = []
    _unavailable(settings, (), merged, notes)
    _twice(settings, merged, notes)
    if settings.hooks.inherit_environment:
        notes.append(
            f"{merged.where(('hooks', 'inherit_environment'))}: programs of hooks get the environment of the "
            "server, with any secrets in it"
        )
    if file is not None and _holds_secret(merged):
        try:
            exposed = stat.S_IMODE(file.stat().st_mode) & 0o004
        except OSError:
            exposed = 0
        if exposed:
            notes.append(
                f"{file}: holds a secret and everybody on this host can read it; chmod 640 {file.name}"
            )
    return notes


def exposed_keys(settings: Settings, config_dir: Path) -> list[str]:
    """Notes on files of master keys that everybody on this host can read."""
    section = settings.kms.secrets
    notes: list[str] = []
    for name in (section.master_key_path, *section.old_master_key_paths):
        if not name:
            continue
        try:
            exposed = stat.S_IMODE((config_dir / name).stat().st_mode) & 0o004
        except OSError:
            continue  # reading it says why
        if exposed:
            notes.append(f"{config_dir / name}: a master key that everybody on this host can read; chmod 600")
    return notes


def strangers(config_dir: Path) -> list[str]:
    """Notes on SFTPGo's files in a directory that has no configuration file of ours: nothing reads them."""
    notes: list[str] = []
    for suffix in (".json", ".toml", ".yaml", ".yml", ".hcl", ".properties", ".env"):
        path = config_dir / f"sftpgo{suffix}"
        if path.is_file():
            notes.append(f"{path}: SFTPGo's configuration, not read; to use it: --config-file {path.name}")
    if (config_dir / "sftpgo.db").is_file():
        file = config_dir / "sftpgo.db"
        notes.append(
            f"{file}: SFTPGo's accounts, not read; to bring them over: "
            f"tidegate import sftpgo --from sqlite:{file}"
        )
    return notes


def _unavailable(model: BaseModel, above: KeyPath, merged: Layer, notes: list[str]) -> None:
    for name in type(model).model_fields:
        field = type(model).model_fields[name]
        value = getattr(model, name)
        path = (*above, name)
        if trait(field, "available") is False:
            if name in model.model_fields_set and value != field.default and not _off(field, value):
                notes.append(f"{merged.where(path)}: {NO_EFFECT}")
        elif isinstance(value, BaseModel):
            _unavailable(value, path, merged, notes)
        elif isinstance(value, list):
            for index, item in enumerate(value):
                if isinstance(item, BaseModel):
                    _unavailable(item, (*path, index), merged, notes)


_HOOKS: Final = (
    ("data_provider", "external_auth"),
    ("data_provider", "pre_login"),
    ("sftpd", "keyboard_interactive_auth"),
)
"""Hooks that may be given by the names of two eras."""


def _twice(settings: Settings, merged: Layer, notes: list[str]) -> None:
    """Notes on hooks that are given by both names: the one of today is used."""
    for section, name in _HOOKS:
        keys = getattr(settings, section)
        if getattr(keys, f"{name}_hook") and getattr(keys, f"{name}_program"):
            where = merged.where((section, f"{name}_program"))
            notes.append(f"{where}: ignored, {section}.{name}_hook is given too")


def _off(field: Any, value: object) -> bool:
    switch = trait(field, "switch")
    if switch and isinstance(value, dict):
        return is_off(value.get(switch))
    return is_off(value)


def _holds_secret(merged: Layer) -> bool:
    for path, (value, origin) in merged.values.items():
        field = field_at(path)
        if origin.kind == "file" and value and field is not None and trait(field, "secret"):
            return True
    return False
