# SPDX-License-Identifier: Apache-2.0
"""``tidegate version``."""

from __future__ import annotations

import sys

from tidegate import __version__
from tidegate.cli import flags
from tidegate.cli.terminal import say, say_json


def version(as_json: flags.AsJson = False) -> None:
    """Print the version."""
    if as_json:
        say_json({"version": __version__, "python": sys.version.split()[0]})
    else:
        say(f"Tidegate {__version__}")
