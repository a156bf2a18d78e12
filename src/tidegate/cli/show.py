# SPDX-License-Identifier: Apache-2.0
"""``tidegate config``."""

from __future__ import annotations

from typing import Annotated

import typer

from tidegate.cli import flags

app = flags.group("Look at the configuration.")


@app.callback()
def _config() -> None:
    """Look at the configuration."""


@app.command("show")
def show(
    config_dir: flags.ConfigDir = flags.HERE,
    config_file: flags.ConfigFile = flags.FILE,
    changed: Annotated[bool, typer.Option("--changed", help="Only values that are not defaults.")] = False,
    as_json: flags.AsJson = False,
) -> None:
    """Print every effective value and where it came from; secrets are masked."""
    from tidegate.cli.provider import load_settings
    from tidegate.cli.terminal import say_json, say_table
    from tidegate.config.explain import explain

    rows = [
        row
        for row in explain(load_settings(config_dir, config_file))
        if not changed or row.origin != "default"
    ]
    if as_json:
        say_json([{"key": row.key, "value": row.value, "origin": row.origin} for row in rows])
    else:
        say_table(("key", "value", "from"), ((row.key, row.text, row.origin) for row in rows))
