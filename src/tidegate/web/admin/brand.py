# SPDX-License-Identifier: Apache-2.0
"""An operator's own templates and files of the pages, read once and whole at start.

Names are those of files directly in the two directories; links count as what they lead to, which has to lie
in the directory too. Requests reach none of this but by the names that were read.
"""

from __future__ import annotations

import os
import re
import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from jinja2 import TemplateError, TemplateSyntaxError, meta

from tidegate.errors import ConfigError, Problem
from tidegate.web.admin.assets_store import TYPES
from tidegate.web.admin.rendering import Look

MAX_FILES: Final = 200
"""Files in one of the directories."""
MAX_FILE_BYTES: Final = 1024 * 1024
MAX_BYTES: Final = 16 * 1024 * 1024
"""Bytes of all files."""
DEFAULTS: Final = ("templates", "static")
"""Names that every configuration of SFTPGo has; a directory of such a name need not be there."""

MACROS: Final = ("name", "mark", "head")
"""Macros that every ``brand.html`` has."""

_NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}")
_OF_SFTPGO: Final = re.compile(r"\{\{-?\s*(?:define|template|block)\s+\"")
"""The beginning of a template of SFTPGo, which is none of Jinja in any case."""
_INLINE: Final = re.compile(
    r"<script(?![^>]*\ssrc=)|<style|\sstyle\s*=|\son[a-z]+\s*=\s*[\"']|javascript:", re.IGNORECASE
)
"""Markup that the policy of the pages keeps a browser from heeding."""


@dataclass(frozen=True, slots=True)
class Brand:
    """Own templates and files.

    Attributes:
        templates: text by name.
        files: bytes by name.
        notes: sentences on what was left out or will not work.
    """

    templates: dict[str, str] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def own_look(templates: Path | None, files: Path | None) -> tuple[Look, Brand]:
    """The look of the pages with an operator's own templates and files, and what was read. Blocking.

    Raises:
        ConfigError: as `read_brand`, or a template is broken: by file and line.
    """
    brand = read_brand(templates, files)
    look = Look(brand.templates, brand.files)
    problems = [
        Problem(f"{templates}/{name}{place}", what)
        for name, text in brand.templates.items()
        for place, what in _faults(look, name, text)
    ]
    if problems:
        raise ConfigError(problems)
    return look, brand


def _faults(look: Look, name: str, text: str) -> list[tuple[str, str]]:
    """Mistakes of a template that can be found without values: their lines, and what is wrong."""
    known = set(look.environment.list_templates())
    try:
        used = meta.find_referenced_templates(look.environment.parse(text))
        missing = sorted(one for one in used if one is not None and one not in known)
        if missing:
            return [("", f"there is no template {one!r}") for one in missing]
        made = look.environment.get_template(name)
        if name == "brand.html":
            lacks = [one for one in MACROS if not hasattr(made.module, one)]
            return [("", f"needs a macro {one!r}") for one in lacks]
    except TemplateSyntaxError as error:
        return [(f":{error.lineno}", error.message or "no template")]
    except TemplateError as error:
        return [("", error.message or "cannot be used")]
    return []


def read_brand(templates: Path | None, files: Path | None) -> Brand:
    """Read both directories. Blocking.

    Args:
        templates: directory of ``.html`` files; None for none.
        files: directory of files of the kinds that `assets_store.TYPES` lists; None for none.

    Raises:
        ConfigError: a directory or file cannot be read; every mistake by its file.
    """
    brand = Brand()
    problems: list[Problem] = []
    left = MAX_BYTES
    for directory, wanted in ((templates, ("html",)), (files, tuple(TYPES))):
        if directory is None or (directory.name in DEFAULTS and not directory.exists()):
            continue
        try:
            found = _names(directory, wanted)
        except OSError as error:
            problems.append(Problem(str(directory), error.strerror or "cannot be read"))
            continue
        if len(found) > MAX_FILES:
            problems.append(Problem(str(directory), f"holds more than {MAX_FILES} files"))
            continue
        for name in found:
            try:
                content = _read(directory, name)
            except (OSError, ValueError) as error:
                problems.append(Problem(str(directory / name), _reason(error)))
                continue
            left -= len(content)
            if wanted == ("html",):
                _template(brand, directory / name, content, problems)
            else:
                brand.files[name] = content
    if left < 0:
        problems.append(
            Problem(str(templates or files), f"all files together are longer than {MAX_BYTES} bytes")
        )
    if problems:
        raise ConfigError(problems)
    return brand


def _names(directory: Path, kinds: tuple[str, ...]) -> list[str]:
    with os.scandir(directory) as entries:
        return sorted(
            one.name for one in entries if _NAME.fullmatch(one.name) and one.name.rpartition(".")[2] in kinds
        )


def _read(directory: Path, name: str) -> bytes:
    """The content of a file that lies in a directory, also by a link.

    Raises:
        ValueError: it is no regular file, too long, or lies elsewhere; says so.
        OSError: it cannot be read.
    """
    root, real = os.path.realpath(directory), os.path.realpath(directory / name)
    if not real.startswith(f"{root}/"):
        raise ValueError("a link that leads out of the directory")
    number = os.open(real, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(number, "rb") as file:
        if not stat.S_ISREG(os.fstat(number).st_mode):
            raise ValueError("not a regular file")
        content = file.read(MAX_FILE_BYTES + 1)
    if len(content) > MAX_FILE_BYTES:
        raise ValueError(f"longer than {MAX_FILE_BYTES} bytes")
    return content


def _reason(error: OSError | ValueError) -> str:
    return (error.strerror or "cannot be read") if isinstance(error, OSError) else str(error)


def _template(brand: Brand, path: Path, content: bytes, problems: list[Problem]) -> None:
    try:
        text = content.decode()
    except UnicodeDecodeError:
        problems.append(Problem(str(path), "not UTF-8"))
        return
    if _OF_SFTPGO.search(text):
        brand.notes.append(f"{path}: a template of SFTPGo, left out; the pages here are other ones")
        return
    if _INLINE.search(text):
        brand.notes.append(f"{path}: browsers heed no script and no style in a page; put them into files")
    brand.templates[path.name] = text
