# SPDX-License-Identifier: Apache-2.0
"""The shape of the house: no circles between rooms, one root, and a map that is true."""

from __future__ import annotations

import ast
import configparser
from collections.abc import Iterator
from pathlib import Path

import grimp
import pytest
from tools import rooms

SOURCE = rooms.SOURCE
FREE_OF_CONTRACTS = {"cli"}
"""Rooms that may import every other."""


@pytest.fixture(scope="module")
def graph() -> grimp.ImportGraph:
    return grimp.build_graph("tidegate", cache_dir=None)


def room_of(module: str) -> str:
    """The package a module is in, below the room: ``vfs.usage`` of ``tidegate.vfs.usage.scan``."""
    parts = module.split(".")[1:]
    inner = parts[0] in rooms.SUBROOMS and len(parts) > 2
    return ".".join(parts[: 2 if inner else 1])


def circles(graph: grimp.ImportGraph) -> Iterator[set[str]]:
    """Modules that import each other, directly or over others (Tarjan)."""
    order: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []

    def visit(module: str) -> Iterator[set[str]]:
        order[module] = low[module] = len(order)
        stack.append(module)
        for other in sorted(graph.find_modules_directly_imported_by(module)):
            if other not in order:
                yield from visit(other)
                low[module] = min(low[module], low[other])
            elif other in stack:
                low[module] = min(low[module], order[other])
        if low[module] == order[module]:
            found = set(stack[stack.index(module) :])
            del stack[stack.index(module) :]
            if len(found) > 1:
                yield found

    for module in sorted(graph.modules):
        if module not in order:
            yield from visit(module)


def test_no_files_of_different_rooms_import_each_other(graph: grimp.ImportGraph) -> None:
    between = [sorted(circle) for circle in circles(graph) if len({room_of(m) for m in circle}) > 1]
    assert between == []


def test_circles_are_found() -> None:
    tangled = grimp.ImportGraph()
    for importer, imported in (("a", "b"), ("b", "c"), ("c", "a"), ("c", "d"), ("e", "a")):
        tangled.add_import(importer=importer, imported=imported)
    assert list(circles(tangled)) == [{"a", "b", "c"}]


def test_only_the_command_line_imports_what_composes(graph: grimp.ImportGraph) -> None:
    importers = {
        importer
        for module in graph.modules
        if module.startswith("tidegate.server")
        for importer in graph.find_modules_that_directly_import(module)
    }
    assert {room_of(importer) for importer in importers} == {"cli", "server"}


def test_the_root_knows_no_door() -> None:
    """App starts, reloads, drains and stops doors that it cannot tell from one another."""
    tree = ast.parse((SOURCE / "server" / "app.py").read_text(encoding="utf-8"))
    imported = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert {name for name in imported if name and name.startswith("tidegate.doors")} <= {
        "tidegate.doors.common.door"
    }
    names = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    assert not names & {"ssh", "http", "ftp", "webdav"}


def test_contracts_have_no_exceptions_and_cover_every_room() -> None:
    contracts = configparser.ConfigParser()
    contracts.read(rooms.ROOT / ".importlinter")
    assert not [name for name in contracts.sections() if contracts.has_option(name, "ignore_imports")]
    covered = {
        module.split(".")[1]
        for name in contracts.sections()
        if contracts.has_option(name, "source_modules")
        for module in contracts.get(name, "source_modules").split()
    }
    there = {
        path.stem for path in SOURCE.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()
    }
    assert there - covered - {"__init__"} == FREE_OF_CONTRACTS


def test_the_map_is_made_of_the_docstrings() -> None:
    text = rooms.PAGE.read_text(encoding="utf-8")
    assert rooms.page(text) == text, "make docs writes it again"
    shown = set(rooms.rooms())
    for path in SOURCE.iterdir():
        if (path / "__init__.py").exists():
            assert f"{path.name}/" in shown
        elif path.suffix == ".py" and path.stem != "__init__":
            assert path.name in shown


@pytest.mark.parametrize("sentence", rooms.rooms().values())
def test_sentences_of_the_map_are_plain(sentence: str) -> None:
    assert len(sentence) <= 120
    assert sentence.split(maxsplit=1)[0] not in {"What", "Whether", "How", "Who", "Where"}


def test_modules_of_the_root_are_short() -> None:
    lengths = {
        path.name: len(path.read_text(encoding="utf-8").splitlines())
        for path in Path(SOURCE / "server").glob("*.py")
    }
    assert {name: lines for name, lines in lengths.items() if lines > 300} == {}
