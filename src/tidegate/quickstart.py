# SPDX-License-Identifier: Apache-2.0
"""``serve --quickstart``: from an empty directory to a server one can log in to, nothing to configure."""

from __future__ import annotations

import secrets
import shlex
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, TextIO

from tidegate.config.load import Loaded
from tidegate.model import Account, Admin
from tidegate.wiring import password_hasher

if TYPE_CHECKING:
    from tidegate.app import App
    from tidegate.cli.options import ServeOptions

ACCOUNT: Final = "demo"
ADMIN: Final = "admin"
FILES: Final = "files"
"""Directory of the demo account, in the configuration directory."""

_PASSWORD_GROUPS: Final = 4


@dataclass(frozen=True, slots=True)
class Welcome:
    """What was made, to be told once. Passwords are empty where something existed already."""

    username: str = ""
    password: str = ""
    home: str = ""
    admin_password: str = ""

    def __repr__(self) -> str:
        return f"Welcome(username={self.username!r})"


def generate_password() -> str:
    """A password that is safe and can be typed: four groups of five letters and digits, 100 bits and more."""
    letters = "abcdefghjkmnpqrstuvwxyz23456789"  # nothing that looks like something else
    return "-".join("".join(secrets.choice(letters) for _ in range(5)) for _ in range(_PASSWORD_GROUPS))


async def prepare(app: App, loaded: Loaded) -> Welcome:
    """Make an account and an administrator if there are none.

    Raises:
        ProviderError: accounts cannot be stored.
    """
    provider = app.provider
    await provider.open()
    hash_password = password_hasher(loaded)
    admin_password = ""
    if not await provider.admins(limit=1):
        admin_password = generate_password()
        hashed = hash_password(admin_password)
        await provider.add_admin(Admin(username=ADMIN, password=hashed, permissions=("*",)))
    existing = await provider.user(ACCOUNT) or next(iter(await provider.users(limit=1)), None)
    if existing is not None:
        return Welcome(existing.username, home=existing.home_dir, admin_password=admin_password)
    password = generate_password()
    home = (loaded.config_dir / FILES / ACCOUNT).absolute()
    await provider.add_user(
        Account(
            username=ACCOUNT,
            password=hash_password(password),
            home_dir=str(home),
            permissions={"/": ("*",)},
            description="made by quickstart",
        )
    )
    return Welcome(ACCOUNT, password, str(home), admin_password)


def _near(path: Path) -> str:
    """A path as one would type it here."""
    here = Path.cwd()
    return shlex.quote(str(path.relative_to(here) if path.is_relative_to(here) else path))


def _program() -> str:
    """How this program is started from here: by its name, or by its path where the shell does not find it."""
    started = Path(sys.argv[0]).absolute()
    return "tidegate" if shutil.which("tidegate") or not started.is_file() else _near(started)


def announce(app: App, options: ServeOptions, welcome: Welcome, out: TextIO) -> None:
    """Tell what to type; passwords are shown this once."""
    port = app.ssh.ports[0] if app.ssh and app.ssh.ports else 0
    lines = ["", "Tidegate is running.", ""]
    if port:
        lines.append(f"  connect    sftp -P {port} {welcome.username}@127.0.0.1")
        if app.ssh is not None and (keys := app.ssh.setup.fingerprints):
            lines.append(f"  host key   {keys[0].split()[-1]}      (what the client shows at first)")
    if welcome.password:
        lines.append(f"  password   {welcome.password}      (shown only now)")
    else:
        renew = f"{_program()} user passwd {welcome.username} -c {_near(options.config_dir)}"
        lines.append(f"  password   as before; a new one: {renew}")
    lines.append(f"  files      {welcome.home}")
    if options.log.file_path and options.log.file_path != "-":
        lines.append(f"  log        {options.log.file_path}")
    if app.http is not None:
        lines.append(
            f"  REST API   {app.http.url}/docs, administrator {ADMIN!r}"
            + (f", password {welcome.admin_password}      (shown only now)" if welcome.admin_password else "")
        )
    lines += ["", "Ctrl-C stops it; the next start uses the same accounts, keys and files.", ""]
    print("\n".join(lines), file=out, flush=True)
