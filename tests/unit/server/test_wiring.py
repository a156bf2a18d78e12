# SPDX-License-Identifier: Apache-2.0
"""The rules for valid records are worked out of the configuration in one place."""

from __future__ import annotations

import ast
from pathlib import Path

import tidegate
from tidegate.accounts.rules import Rules
from tidegate.cli.provider import AdminContext
from tidegate.config.load import Loaded
from tidegate.config.schema import Settings
from tidegate.server.wiring import provider_options, record_rules, storage_kinds
from tidegate.store.factory import create_provider


def test_everybody_gets_the_same_rules() -> None:
    section = {"driver": "memory", "name": "", "users_base_dir": "/srv/homes", "naming_rules": 6}
    loaded = Loaded(Settings.model_validate({"data_provider": section}))

    rules = record_rules(loaded)

    assert rules.storages is storage_kinds(loaded)
    assert rules == Rules(users_base_dir="/srv/homes", naming_rules=6, server_dir=str(Path.cwd()))
    options = provider_options(loaded)
    assert options.rules == rules
    assert AdminContext(loaded, create_provider(options)).rules == rules


def test_rules_are_made_of_settings_in_one_place() -> None:
    source = Path(tidegate.__file__).parent
    places = {
        str(path.relative_to(source))
        for path in source.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call)
        and ast.unparse(node.func) == "Rules"
        and any(
            "settings" in (text := ast.unparse(word.value)) or "section" in text for word in node.keywords
        )
    }
    assert places == {"server/wiring.py"}
