# SPDX-License-Identifier: Apache-2.0
"""Loading the configuration: one file, env.d, the environment; every mistake is named, not only the first.

Strongest first: ``TIDEGATE_*`` variables, ``TIDEGATE_*`` of env.d, ``SFTPGO_*`` variables, ``SFTPGO_*`` of
env.d, the file (without one, variables of `tidegate.config.openbridge`), defaults.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from tidegate.config import environment, formats, legacy, openbridge
from tidegate.config.notes import exposed_keys, notes_on, strangers
from tidegate.config.origin import DEFAULT, Layer, Origin
from tidegate.config.schema.base import trait
from tidegate.config.schema.settings import Settings
from tidegate.config.schema.walk import KeyPath, declared, dotted, field_at
from tidegate.errors import ConfigError, Problem

DEFAULT_FILE: Final = "tidegate"
"""Base name that is looked for when nobody names a file; the only one that may be missing."""

SHOWN_LIMIT: Final = 60
"""characters of a wrong value that an error shows"""


@dataclass(frozen=True, slots=True)
class Loaded:
    """A configuration that can be used.

    Attributes:
        settings: every value, settled.
        origins: where each written value came from; a path that is missing here has its default.
        notes: what the operator should know: keys without effect, older names that lost, readable secrets.
        config_dir: what relative file names are relative to.
        file: the configuration file, None if there is none.
    """

    settings: Settings
    origins: Mapping[KeyPath, Origin] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    config_dir: Path = Path()
    file: Path | None = None

    def origin(self, path: KeyPath) -> Origin:
        """The origin of the value at a path."""
        for length in range(len(path), 0, -1):
            if path[:length] in self.origins:
                return self.origins[path[:length]]
        return next((o for p, o in self.origins.items() if p[: len(path)] == path), DEFAULT)

    def resolve(self, name: str) -> Path:
        """A file named in the configuration: relative ones are relative to the configuration directory."""
        return self.config_dir / name


def load(config_dir: Path, config_file: str, environ: Mapping[str, str]) -> Loaded:
    """Read and check the configuration.

    Args:
        config_dir: where the file, env.d and relative names are looked for.
        config_file: file name with or without extension, or an absolute path. Only the default name may be
            missing.
        environ: the process environment.

    Raises:
        ConfigError: with every problem found.
    """
    problems: list[Problem] = []
    notes: list[str] = []
    path = find_file(config_dir, config_file)
    written = environment.layers(environ, config_dir, problems)
    if path is not None:
        try:
            written.append(formats.read(path))
        except ConfigError as error:
            problems += error.problems
    else:
        written.append(openbridge.layer(environ, problems, notes))
    merged = Layer()
    for layer in reversed(written):
        merged = _settle_names(layer, notes).over(merged)
    _switch_https(written, merged)
    _switch_scp(written, merged)
    settings: Settings | None = None
    try:
        settings = Settings.model_validate(merged.document())
    except ConfigError as error:
        problems += error.problems
    except ValidationError as error:
        problems += [_problem(details, merged) for details in error.errors(include_url=False)]
    if problems or settings is None:
        raise ConfigError(problems)
    notes += notes_on(settings, merged, path)
    notes += exposed_keys(settings, config_dir)
    if path is None:
        notes += strangers(config_dir)
    origins = {p: origin for p, (_, origin) in merged.values.items()}
    return Loaded(settings, origins, tuple(dict.fromkeys(notes)), config_dir, path)


def find_file(config_dir: Path, config_file: str) -> Path | None:
    """The configuration file that a name stands for, None if the default one is missing.

    Raises:
        ConfigError: a named file is missing, of unknown kind, or a bare name fits several files.
    """
    named = config_dir / config_file
    if named.suffix.lower() in formats.PARSERS:
        if not named.is_file():
            raise ConfigError([Problem(str(named), "no such configuration file")])
        return named
    if named.is_file() and named.suffix:
        kinds = ", ".join(formats.PARSERS)
        raise ConfigError(
            [Problem(str(named), f"unknown kind of configuration file; expected one of {kinds}")]
        )
    found = [path for suffix in formats.PARSERS if (path := named.with_name(named.name + suffix)).is_file()]
    if len(found) > 1:
        others = ", ".join(path.name for path in found[1:])
        raise ConfigError([Problem(str(found[0]), f"more than one configuration file: also {others}")])
    if not found and config_file != DEFAULT_FILE:
        raise ConfigError([Problem(str(named), "no such configuration file (.json, .toml, .yaml, ...)")])
    return found[0] if found else None


def _settle_names(layer: Layer, notes: list[str]) -> Layer:
    """The layer with older names moved to those of today."""
    today = Layer(wholes={w for w in layer.wholes if legacy.find(w) is None})
    moved: list[tuple[legacy.Older, KeyPath, Any, Origin]] = []
    for path, (value, origin) in layer.values.items():
        found = legacy.find(path)
        if found is None:
            today.values[path] = (value, origin)
        else:
            moved.append((found[0], found[1], value, origin))
    given = list(today.values)
    for older, path, value, origin in moved:
        if older.now is None:
            continue
        rival = older.now if not any(isinstance(p, int) for p in older.now) else older.now[:2]
        if any(p[: len(rival)] == rival for p in given):
            notes.append(f"{origin}: ignored, {dotted(rival)} is given too")
        else:
            today.values[path] = (value, origin)
            today.wholes |= {_now(whole) for whole in layer.wholes if legacy.find(whole) is not None}
    return today


def _switch_https(written: list[Layer], merged: Layer) -> None:
    """Certificate and key under their older names mean HTTPS, unless somebody says otherwise."""
    given = {path for layer in written for path, (value, _) in layer.values.items() if value}
    if legacy.HTTPS_SWITCH in merged.values or not given.issuperset(legacy.OLD_CERTIFICATE):
        return
    now = [_now(path) for path in legacy.OLD_CERTIFICATE]
    if all(merged.values.get(path, ("", DEFAULT))[0] for path in now):
        merged.values[legacy.HTTPS_SWITCH] = (True, merged.values[now[0]][1])


def _switch_scp(written: list[Layer], merged: Layer) -> None:
    """The older switch of SCP adds it to the commands, where those are given without it."""
    switch = next(
        (layer.values[legacy.SCP_SWITCH] for layer in written if legacy.SCP_SWITCH in layer.values), None
    )
    given = [path for path in merged.values if path[: len(legacy.SSH_COMMANDS)] == legacy.SSH_COMMANDS]
    names = [merged.values[path][0] for path in given if path != legacy.SSH_COMMANDS]
    if switch is None or not switch[0] or not given or "scp" in names or "*" in names:
        return
    merged.values.pop(legacy.SSH_COMMANDS, None)
    merged.values[*legacy.SSH_COMMANDS, len(names)] = ("scp", switch[1])


def _now(path: KeyPath) -> KeyPath:
    found = legacy.find(path)
    return found[1] if found is not None else path


def _problem(details: ErrorDetails, merged: Layer) -> Problem:
    path: KeyPath = tuple(details["loc"])
    where = merged.where(path)
    if details["type"] == "extra_forbidden":
        return Problem(where, "unknown key" + _nearest(path))
    known = field_at(path)
    if details["type"] == "value_error":
        return Problem(where, str(details["ctx"]["error"]))
    if details["type"] == "string_pattern_mismatch" and known is not None:
        expected = f"expected {trait(known, 'like')}"
    else:
        expected = _expected(details)
    got = "" if known is not None and trait(known, "secret") else f", got {_shown(details['input'])}"
    return Problem(where, expected + got)


def _shown(value: object) -> str:
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, dict | list):
        return "a table" if isinstance(value, dict) else "a list"
    text = repr(value)
    return text if len(text) <= SHOWN_LIMIT else text[: SHOWN_LIMIT - 3] + "..."


def _expected(details: ErrorDetails) -> str:
    context = details.get("ctx", {})
    match details["type"]:
        case "int_type" | "int_from_float" | "int_parsing":
            return "expected a whole number"
        case "float_type":
            return "expected a number"
        case "string_type":
            return "expected a text (in quotes)"
        case "bool_type":
            return "expected true or false"
        case "list_type":
            return "expected a list"
        case "dict_type" | "model_type" | "model_attributes_type":
            return "expected a table"
        case "greater_than_equal":
            return f"expected {context['ge']} or more"
        case "less_than_equal":
            return f"expected {context['le']} or less"
        case "literal_error":
            return f"expected one of {context['expected']}"
        case _:
            return details["msg"][:1].lower() + details["msg"][1:]


def _nearest(path: KeyPath) -> str:
    """A suggestion for an unknown key: a sibling, the same name elsewhere, or the nearest path."""
    above, name = path[:-1], str(path[-1])
    plain = [tuple(p for p in known if p != 0) for known, _ in declared()]
    plain += [tuple(older) for older in legacy.OLDER]
    wanted = tuple(p for p in above if not isinstance(p, int))
    siblings = {
        str(p[len(wanted)]): p[: len(wanted) + 1]
        for p in plain
        if p[: len(wanted)] == wanted and len(p) > len(wanted)
    }
    near = difflib.get_close_matches(name, siblings, n=1, cutoff=0.6)
    if near:
        return f"; did you mean {dotted(siblings[near[0]])}?"
    elsewhere = next((p for p in plain if p[-1] == name), None)
    if elsewhere is not None:
        return f"; did you mean {dotted(elsewhere)}?"
    everywhere = {dotted(p): p for p in plain}
    near = difflib.get_close_matches(dotted((*wanted, name)), everywhere, n=1, cutoff=0.6)
    return f"; did you mean {near[0]}?" if near else ""
