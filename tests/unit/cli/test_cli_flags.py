# SPDX-License-Identifier: Apache-2.0
"""A flag that several commands share is written once."""

from __future__ import annotations

import ast
from collections import defaultdict
from pathlib import Path

from typer.main import get_command

from tidegate import cli
from tidegate.cli.main import app

ROOM = Path(cli.__file__).parent


def test_no_option_or_argument_is_written_twice() -> None:
    places: dict[str, list[str]] = defaultdict(list)
    for path in sorted(ROOM.glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in ("typer.Option", "typer.Argument"):
                places[ast.unparse(node)].append(f"{path.name}:{node.lineno}")

    assert len(places) > 40
    assert {call: found for call, found in places.items() if len(found) > 1} == {}


def test_the_configuration_is_looked_for_in_the_same_place_by_every_command() -> None:
    seen = 0
    context = None
    todo = [get_command(app)]
    while todo:
        command = todo.pop()
        if hasattr(command, "list_commands"):
            todo += [command.get_command(context, name) for name in command.list_commands(context)]
        for parameter in command.params:
            if parameter.name == "config_dir":
                assert (parameter.opts, parameter.default) == (["--config-dir", "-c"], Path("."))
                seen += 1
            if parameter.name == "config_file":
                assert (parameter.opts, parameter.default) == (["--config-file"], "tidegate")
    assert seen > 20
