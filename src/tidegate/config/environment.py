# SPDX-License-Identifier: Apache-2.0
"""Settings from environment variables, and the env.d directory.

``TIDEGATE_<SECTION>__<KEY>``, deeper with more ``__``, list elements by index; ``SFTPGO_`` is accepted and
weaker. Lists are comma separated or JSON. Files in ``<config-dir>/env.d`` give variables that the process
environment does not set.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from tidegate.config import legacy
from tidegate.config.formats import FILE_LIMIT, PREFIXES, parse_env
from tidegate.config.origin import Layer, Origin
from tidegate.config.schema.walk import annotation_at, declared, path_from_text, variable
from tidegate.errors import ConfigError, Problem

ENV_D_FILES: Final = 256
"""files in env.d at most"""

FLAG_VARIABLES: Final = (
    "CONFIG_DIR",
    "CONFIG_FILE",
    "LOG_FILE_PATH",
    "LOG_MAX_SIZE",
    "LOG_MAX_BACKUPS",
    "LOG_MAX_AGE",
    "LOG_COMPRESS",
    "LOG_LEVEL",
    "LOG_VERBOSE",
    "GRACE_TIME",
    "QUICKSTART",
    "DEBUG",
    "DEFAULT_ADMIN_USERNAME",
    "DEFAULT_ADMIN_PASSWORD",
)
"""Names after the prefix that are no keys: variables of flags, of the first administrator, of tracebacks."""

_ORCHESTRATOR: Final = re.compile(r"_(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT|PORT_\d+_(TCP|UDP|SCTP)(_\w+)?)$")
"""Variables that Kubernetes makes for a service of our name; none of ours looks like this."""


def read_env_d(config_dir: Path) -> dict[str, tuple[str, str]]:
    """Variables of ``env.d``: name to value and file, the first file by name winning.

    Raises:
        ConfigError: a file cannot be read or has a line that is not KEY=VALUE.
    """
    directory = config_dir / "env.d"
    found: dict[str, tuple[str, str]] = {}
    problems: list[Problem] = []
    try:
        files = sorted(entry for entry in directory.iterdir() if entry.is_file())
    except (FileNotFoundError, NotADirectoryError):
        return found
    except OSError as error:
        raise ConfigError([Problem(str(directory), f"cannot be read: {error.strerror}")]) from None
    if len(files) > ENV_D_FILES:
        raise ConfigError([Problem(str(directory), f"more than {ENV_D_FILES} files")])
    for path in files:
        try:
            with path.open("rb") as file:
                raw = file.read(FILE_LIMIT + 1)
            if len(raw) > FILE_LIMIT:
                problems.append(Problem(str(path), f"longer than {FILE_LIMIT} bytes"))
                continue
            for name, value in parse_env(raw.decode("utf-8-sig"), str(path)):
                found.setdefault(name, (value, str(path)))
        except OSError as error:
            problems.append(Problem(str(path), f"cannot be read: {error.strerror}"))
        except UnicodeDecodeError as error:
            problems.append(Problem(str(path), f"not UTF-8 text (byte {error.start})"))
        except ConfigError as error:
            problems += error.problems
    if problems:
        raise ConfigError(problems)
    return found


def layers(environ: Mapping[str, str], config_dir: Path, problems: list[Problem]) -> list[Layer]:
    """The layers of the environment, strongest first.

    Args:
        problems: takes what is wrong with single variables.
    """
    try:
        from_files = {n: v for n, v in read_env_d(config_dir).items() if n not in environ}
    except ConfigError as error:
        problems += error.problems
        from_files = {}
    problems += [
        Problem(f"{place}: {name}", "unknown variable" + _suggest(f"{PREFIXES[0]}{name}", PREFIXES[0]))
        for name, (_, place) in from_files.items()
        if "__" in name and not name.startswith(PREFIXES)
    ]
    found: list[Layer] = []
    for prefix in PREFIXES:
        for variables in ({n: (v, "") for n, v in environ.items()}, from_files):
            layer = Layer()
            for name in sorted(n for n in variables if n.startswith(prefix)):
                text, place = variables[name]
                problem = _take(layer, name, prefix, text, place)
                if problem is not None:
                    problems.append(problem)
            found.append(layer)
    return found


def _take(layer: Layer, name: str, prefix: str, text: str, place: str) -> Problem | None:
    parts = name.removeprefix(prefix).lower().split("__")
    origin = Origin("environment", place, name)
    if len(parts) == 1:
        # With the other prefix there are names that its server hands to programs, and no list of them ends.
        ours = prefix == PREFIXES[0] and name.removeprefix(prefix) not in FLAG_VARIABLES
        if not ours or _by_orchestrator(name, text):
            return None
        return Problem(str(origin), "unknown variable" + _suggest(name, prefix))
    path = path_from_text(parts)
    if annotation_at(path) is None and legacy.find(path) is None:
        return Problem(str(origin), "unknown variable" + _suggest(name, prefix))
    layer.put(path, legacy.meaning(path, text), origin)
    return None


def _by_orchestrator(name: str, text: str) -> bool:
    if name.endswith("_PORT"):  # tcp://10.0.0.7:2022 is theirs, 2022 a slip of ours
        return "://" in text
    return _ORCHESTRATOR.search(name) is not None


def _suggest(name: str, prefix: str) -> str:
    known = [variable(path, prefix) for path, _ in declared()]
    known += [variable(path, prefix) for path in legacy.OLDER]
    known += [prefix + flag for flag in FLAG_VARIABLES]
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    return f"; did you mean {near[0]}?" if near else ""
