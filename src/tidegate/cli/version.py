# SPDX-License-Identifier: Apache-2.0
"""``tidegate version``."""

from __future__ import annotations

import sys

from tidegate import __version__, built
from tidegate.cli import flags
from tidegate.cli.terminal import say, say_json


def version(as_json: flags.AsJson = False) -> None:
    """Print version, commit and build date."""
    if as_json:
        python = sys.version.split()[0]
        say_json({"version": __version__, "commit": built.COMMIT, "build_date": built.DATE, "python": python})
    else:
        say(built.described())
