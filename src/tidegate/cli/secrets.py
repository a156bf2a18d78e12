# SPDX-License-Identifier: Apache-2.0
"""``tidegate secrets``: the encryption of secrets in records."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tidegate.cli import flags
from tidegate.cli.progress import meter
from tidegate.cli.provider import opened, run
from tidegate.cli.terminal import note, say, say_json, say_table
from tidegate.errors import ConfigError, InvalidArgument, Problem

if TYPE_CHECKING:
    from tidegate.config.load import Loaded
    from tidegate.sealing.sealer import Keyring

app = flags.group("Encryption of secrets in accounts, folders and administrators.")

LOCKED_SHOWN = 20
"""Records that are named because their secrets cannot be opened."""


@app.command("status")
def status(
    as_json: flags.AsJson = False,
    config_dir: flags.ConfigDir = flags.HERE,
    config_file: flags.ConfigFile = flags.FILE,
) -> None:
    """Count the secrets in records by field and by the key that they are encrypted under."""

    async def work() -> None:
        from tidegate.accounts.secrets import count_secrets

        async with opened(config_dir, config_file) as context:
            keys = _keys(context.loaded)
            found = await count_secrets(context.provider)
        rows = [
            (kind, field, key, _state(key, keys), count)
            for (kind, field, key), count in sorted(found.items())
        ]
        if as_json:
            names = ("record", "field", "key", "state", "count")
            current = keys.current.id if keys is not None else ""
            say_json({"key": current, "secrets": [dict(zip(names, row, strict=True)) for row in rows]})
            return
        if keys is None:
            say("no master key is configured (kms.secrets): new secrets are kept in plain text")
        else:
            say(f"master key: {keys.current.id} ({keys.current.form})")
        if rows:
            say_table(
                ("record", "field", "key", "state", "count"),
                [(kind, field, key, state, f"{count:,}") for kind, field, key, state, count in rows],
            )
        else:
            say("no record holds a secret")

    run(work())


@app.command("rotate")
def rotate(
    old_key_file: Annotated[
        list[Path] | None,
        typer.Option(
            "--old-key-file",
            metavar="FILE",
            help="File of a former master key, besides those of the configuration; may be repeated.",
        ),
    ] = None,
    config_dir: flags.ConfigDir = flags.HERE,
    config_file: flags.ConfigFile = flags.FILE,
) -> None:
    """Encrypt secrets that are in plain text or under a former key, under the current master key.

    Servers may run meanwhile. What is broken off goes on when it is run again.
    """

    async def work() -> None:
        from tidegate.accounts.secrets import rotate_secrets
        from tidegate.sealing.keys import from_file
        from tidegate.sealing.sealer import Keyring, Sealer

        async with opened(config_dir, config_file) as context:
            if context.loaded.settings.data_provider.driver == "memory":
                what = "the memory provider keeps nothing: write its dump file anew with dumpdata"
                raise InvalidArgument(what)
            keys = _keys(context.loaded)
            if keys is None:
                raise ConfigError([Problem("kms.secrets", "no master key is configured")])
            former = [from_file(path, "--old-key-file") for path in old_key_file or ()]
            ring = Keyring(keys.current, (*keys.old, *former))
            users = await context.provider.count_users()
            with meter("rotating", "records", users) as progress:
                done = await rotate_secrets(
                    context.provider, Sealer(lambda: ring), keys.current.id, told=progress.at
                )
        say(
            f"{done.secrets:,} secrets of {done.renewed:,} records came under master key {keys.current.id}; "
            f"{done.records:,} records looked at"
        )
        for text in done.locked[:LOCKED_SHOWN]:
            note(text)
        if done.count_locked:
            raise InvalidArgument(
                f"{done.count_locked:,} records stay as they are: see above, and --old-key-file"
            )

    run(work())


def _keys(loaded: Loaded) -> Keyring | None:
    """The master keys of the configuration; None if it names none."""
    from tidegate.sealing.sealer import Sealer
    from tidegate.server.secrets import sealing

    seals = sealing(loaded)
    return seals.keys if isinstance(seals, Sealer) else None


def _state(key: str, keys: Keyring | None) -> str:
    from tidegate.accounts.secrets import is_key_id
    from tidegate.model.sealing import PLAIN_KEY

    if key == PLAIN_KEY:
        return "plain text"
    if not is_key_id(key):
        return "encrypted by another server"
    if keys is None or (found := keys.find(key)) is None:
        return "key missing"
    return "current" if found is keys.current else "former key"
