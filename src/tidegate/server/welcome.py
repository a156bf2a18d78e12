# SPDX-License-Identifier: Apache-2.0
"""Tells on the terminal where a server that has started is reached, and what to type next."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TextIO

from tidegate import hints
from tidegate.errors import ProviderError
from tidegate.server.quickstart import ADMIN, Welcome

if TYPE_CHECKING:
    from tidegate.server.app import App
    from tidegate.server.options import ServeOptions


@dataclass(frozen=True, slots=True)
class Census:
    """The accounts that could log in.

    Attributes:
        users: accounts; None if the data provider does not answer.
        admins: True if there is an administrator.
    """

    users: int | None = None
    admins: bool = False


async def count(app: App) -> Census:
    """Ask the data provider, if it answers."""
    if not app.provider_ready:
        return Census()
    try:
        return Census(await app.provider.count_users(), bool(await app.provider.admins(limit=1)))
    except ProviderError:
        return Census()


def announce(app: App, options: ServeOptions, census: Census, welcome: Welcome | None, out: TextIO) -> None:
    """Tell what to type; passwords that quickstart made are shown this once."""
    doors = {door.name: door for door in app.doors.status()}
    ssh, http = doors.get("ssh"), doors.get("http")
    ports = [endpoint.port for endpoint in ssh.endpoints] if ssh else []
    if welcome is not None:
        lines = ["", "Tidegate is running.", ""]
    else:
        lines = [f"tidegate: SSH on port {', '.join(map(str, ports)) or 'none'}"]
    if ports and ssh is not None:
        name = welcome.username if welcome is not None else "NAME"
        lines.append(f"  connect    sftp -P {ports[0]} {name}@127.0.0.1")
        if ssh.keys:
            lines.append(f"  host key   {ssh.keys[0].split()[-1]}      (what the client shows at first)")
    if welcome is not None:
        if welcome.password:
            lines.append(f"  password   {welcome.password}      (shown only now)")
        else:
            renew = hints.typed("user", "passwd", welcome.username)
            lines.append(f"  password   as before; a new one: {renew}")
        lines.append(f"  files      {welcome.home}")
    elif census.users is None:
        lines.append("  accounts   the data provider does not answer; logins are refused until it does")
    else:
        made = "" if census.users else f" yet; make one: {hints.typed('user', 'add', 'NAME')}"
        lines.append(f"  accounts   {census.users or 'none'}{made}")
    ftp = doors.get("ftp")
    if ftp is not None:
        lines.append(f"  FTP        port {', '.join(str(endpoint.port) for endpoint in ftp.endpoints)}")
    dav = doors.get("webdav")
    if dav is not None:
        lines.append(f"  WebDAV     port {', '.join(str(endpoint.port) for endpoint in dav.endpoints)}")
    if options.log.file_path:
        place = options.log.file_path
        lines.append(f"  log        {'standard error' if place == '-' else place}")
    if http is not None:
        where = http.endpoints[0]
        scheme = "https" if where.tls else "http"
        url = f"{scheme}://{where.host}:{where.port}"
        if app.loaded.settings.httpd.bindings[0].enable_web_admin:
            new = welcome is None and census.users is not None and not census.admins
            lines.append(f"  pages      {url}/")
            if new:
                lines.append(f"  set-up     {url}/web/admin/setup, code {app.doors.setup_code()}")
        lines.append(f"  REST API   {url}/docs, {_administrator(census, welcome)}")
    else:
        lines.append("  REST API   off")
    if welcome is not None:
        lines += ["", "Ctrl-C stops it; the next start uses the same accounts, keys and files.", ""]
    print("\n".join(lines), file=out, flush=True)


def _administrator(census: Census, welcome: Welcome | None) -> str:
    if welcome is not None and welcome.admin_password:
        return f"administrator {ADMIN!r}, password {welcome.admin_password}      (shown only now)"
    if welcome is not None:
        return f"administrator {ADMIN!r}"
    if census.users is None or census.admins:
        return "for administrators"
    return f"no administrator yet; make one: {hints.typed('admin', 'add', 'NAME')}"
