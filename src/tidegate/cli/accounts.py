# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: PLR0917  a flag is a parameter; typer calls by name
"""``tidegate user``: accounts, on the provider directly."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import AsyncGenerator
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from tidegate import hints
from tidegate.cli import flags
from tidegate.cli.documents import (
    AccountFlags,
    account_rows,
    parse_permissions,
    read_document,
    read_keys,
)
from tidegate.cli.progress import meter
from tidegate.cli.provider import AdminContext, opened, run
from tidegate.cli.terminal import (
    confirm,
    read_password,
    say,
    say_json,
    say_json_stream,
    say_stream,
    say_table,
)
from tidegate.errors import InvalidArgument, NotFound
from tidegate.model import Account

app = flags.group("Add, show, change and remove accounts.")

DEFAULT_PERMISSIONS: Final = ("list", "download")


@app.command("add")
def add(
    name: flags.UserName,
    home: flags.Home = None,
    permission: flags.Permissions = None,
    public_key: flags.Keys = None,
    password_stdin: flags.PasswordStdin = False,
    password_file: flags.PasswordFile = None,
    quota_size: flags.QuotaSize = None,
    quota_files: flags.QuotaFiles = None,
    max_sessions: flags.MaxSessions = None,
    upload_bandwidth: flags.UploadBandwidth = None,
    download_bandwidth: flags.DownloadBandwidth = None,
    uid: flags.Uid = None,
    gid: flags.Gid = None,
    expires: flags.Expires = None,
    allowed_ip: flags.AllowedIp = None,
    denied_ip: flags.DeniedIp = None,
    rename_onto: flags.RenameOnto = None,
    email: flags.NewEmail = None,
    description: flags.NewDescription = None,
    document: flags.Document = None,
    enabled: flags.Enabled = None,
    create: flags.Create = False,
    config_dir: flags.ConfigDir = flags.HERE,
    config_file: flags.ConfigFile = flags.FILE,
    as_json: flags.AsJson = False,
) -> None:
    """Add an account. Asks for a password unless a key or another way is given."""
    given = AccountFlags(
        home=home,
        permission=permission,
        public_key=public_key,
        quota_size=quota_size,
        quota_files=quota_files,
        max_sessions=max_sessions,
        upload_bandwidth=upload_bandwidth,
        download_bandwidth=download_bandwidth,
        uid=uid,
        gid=gid,
        expires=expires,
        allowed_ip=allowed_ip,
        denied_ip=denied_ip,
        rename_onto=rename_onto,
        email=email,
        description=description,
        enabled=enabled,
    )
    fields = {**read_document(document), **given.fields(), "username": name}
    fields.setdefault("permissions", {"/": list(DEFAULT_PERMISSIONS)})
    filters = {**fields.get("filters", {}), **given.filters()}
    if filters:
        fields["filters"] = filters
    has_key = bool(fields.get("public_keys"))
    password = ""
    if password_stdin or password_file is not None or not (has_key or fields.get("password")):
        password = read_password(name, stdin=password_stdin, file=password_file)

    async def work() -> None:
        from tidegate.accounts.directories import DEFAULT_HOMES
        from tidegate.store.documents import decode_account, encode_account

        async with opened(config_dir, config_file, create=create) as desk:
            if password:
                fields["password"] = password
            if not fields.get("home_dir") and not desk.rules.users_base_dir:
                homes = desk.loaded.resolve(DEFAULT_HOMES).absolute()
                fields["home_dir"] = str(homes / name) if "/" not in name else ""
            account = decode_account(fields, rules=desk.rules)
            await desk.giver.check_account(desk.provider, account, None)
            account = await desk.provider.add_user(_hashed(desk, account, typed=bool(password)))
            if as_json:
                say_json(encode_account(account, confidential=False))
                return
            allowed = ", ".join(account.permissions["/"])
            say(f"added {account.username}: home {account.home_dir}, may {allowed} in /")
            if account.permissions == {"/": DEFAULT_PERMISSIONS}:
                more = hints.typed("user", "set", account.username, "--permission", "/:*")
                say(f"to allow more: {more}")

    run(work())


@app.command("set")
def change(
    name: flags.UserName,
    home: flags.Home = None,
    permission: flags.Permissions = None,
    public_key: flags.Keys = None,
    quota_size: flags.QuotaSize = None,
    quota_files: flags.QuotaFiles = None,
    max_sessions: flags.MaxSessions = None,
    upload_bandwidth: flags.UploadBandwidth = None,
    download_bandwidth: flags.DownloadBandwidth = None,
    uid: flags.Uid = None,
    gid: flags.Gid = None,
    expires: flags.Expires = None,
    allowed_ip: flags.AllowedIp = None,
    denied_ip: flags.DeniedIp = None,
    rename_onto: flags.RenameOnto = None,
    email: flags.NewEmail = None,
    description: flags.NewDescription = None,
    document: flags.Document = None,
    enabled: flags.Enabled = None,
    config_dir: flags.ConfigDir = flags.HERE,
    config_file: flags.ConfigFile = flags.FILE,
    as_json: flags.AsJson = False,
) -> None:
    """Change an account; what is not named stays.

    A directory named with --permission replaces its own entry only; /dir: alone removes one. Keys replace
    all keys; `user key` adds and removes single ones.
    """
    given = AccountFlags(
        home=home,
        permission=permission,
        public_key=public_key,
        quota_size=quota_size,
        quota_files=quota_files,
        max_sessions=max_sessions,
        upload_bandwidth=upload_bandwidth,
        download_bandwidth=download_bandwidth,
        uid=uid,
        gid=gid,
        expires=expires,
        allowed_ip=allowed_ip,
        denied_ip=denied_ip,
        rename_onto=rename_onto,
        email=email,
        description=description,
        enabled=enabled,
    )
    written = read_document(document)
    fields = {**written, **given.fields()}
    filters = given.filters()
    if not fields and not filters:
        raise InvalidArgument("nothing to change: name at least one flag (see tidegate user set --help)")
    if fields.get("username", name) != name:
        raise InvalidArgument("--document: username cannot be changed")

    async def work() -> None:
        from tidegate.store.documents import decode_account, encode_account

        async with opened(config_dir, config_file) as desk:
            account = await _account(desk, name)
            stored = encode_account(account, confidential=True)
            merged: dict[str, Any] = {**stored, **fields}
            if permission:
                kept: dict[str, list[str]] = written.get("permissions") or stored["permissions"]
                table = {**kept, **parse_permissions(permission)}
                merged["permissions"] = {path: names for path, names in table.items() if names or path == "/"}
            merged["filters"] = {**stored["filters"], **fields.get("filters", {}), **filters}
            changed = _hashed(desk, decode_account(merged, base=account, rules=desk.rules))
            await desk.giver.check_account(desk.provider, changed, account)
            account = await desk.provider.update_user(changed)
            if as_json:
                say_json(encode_account(account, confidential=False))
            else:
                say(f"changed {account.username}")

    run(work())


@app.command("list")
def list_users(
    match: Annotated[
        str, typer.Option("--match", metavar="PATTERN", help="Only names like this, for instance 'acme*'.")
    ] = "",
    status: Annotated[
        str, typer.Option("--status", help="Only these: enabled or disabled.", show_default=False)
    ] = "",
    limit: Annotated[int, typer.Option("--limit", min=0, help="At most so many; 0 all.")] = 0,
    config_dir: flags.ConfigDir = flags.HERE,
    config_file: flags.ConfigFile = flags.FILE,
    as_json: flags.AsJson = False,
) -> None:
    """List accounts by name."""
    if status not in ("", "enabled", "disabled"):
        raise typer.BadParameter(f"{status!r} is not enabled or disabled", param_hint="--status")

    async def work() -> None:
        from fnmatch import fnmatchcase

        from tidegate.store.documents import encode_account

        async def found(desk: AdminContext) -> AsyncGenerator[Account, None]:
            left = limit or -1
            with meter("listing", "users", await desk.provider.count_users()) as progress:
                async for account in desk.provider.iter_users():
                    if not sys.stdout.isatty():  # there the list itself shows how far it is
                        progress.advance()
                    if match and not fnmatchcase(account.username, match):
                        continue
                    if status and bool(account.status) is not (status == "enabled"):
                        continue
                    yield account
                    left -= 1
                    if not left:
                        return

        async with opened(config_dir, config_file) as desk, contextlib.aclosing(found(desk)) as accounts:
            if as_json:
                await say_json_stream(encode_account(one, confidential=False) async for one in accounts)
            else:
                headers = ("name", "status", "home", "in / may", "used", "last login")
                await say_stream(headers, (account_rows(account) async for account in accounts))

    run(work())


@app.command("show")
def show(
    name: flags.UserName,
    config_dir: flags.ConfigDir = flags.HERE,
    config_file: flags.ConfigFile = flags.FILE,
    as_json: flags.AsJson = False,
) -> None:
    """Show one account; its password is never shown."""

    async def work() -> None:
        from tidegate.cli.documents import detail_rows
        from tidegate.store.documents import encode_account

        async with opened(config_dir, config_file) as desk:
            document = encode_account(await _account(desk, name), confidential=False)
        if as_json:
            say_json(document)
        else:
            say_table(("field", "value"), detail_rows(document))

    run(work())


@app.command("del")
def delete(
    name: flags.UserName,
    yes: flags.Yes = False,
    config_dir: flags.ConfigDir = flags.HERE,
    config_file: flags.ConfigFile = flags.FILE,
) -> None:
    """Remove an account; its files stay."""

    async def work() -> None:
        async with opened(config_dir, config_file) as desk:
            account = await _account(desk, name)
            confirm(f"Remove the account {account.username} (files in {account.home_dir} stay)?", yes=yes)
            await desk.provider.delete_user(account.username)
            say(f"removed {account.username}; files in {account.home_dir} stay")

    run(work())


@app.command("passwd")
def passwd(
    name: flags.UserName,
    password_stdin: flags.PasswordStdin = False,
    password_file: flags.PasswordFile = None,
    config_dir: flags.ConfigDir = flags.HERE,
    config_file: flags.ConfigFile = flags.FILE,
) -> None:
    """Set a new password."""

    async def work() -> None:
        async with opened(config_dir, config_file) as desk:
            account = await _account(desk, name)
            password = read_password(account.username, stdin=password_stdin, file=password_file)
            hashed = desk.hash_password(password, least_bits=account.filters.password_strength)
            await desk.provider.set_password(account.username, hashed, changed_at=_now_ms())
            say(f"changed the password of {account.username}")

    run(work())


@app.command("key")
def key(
    name: flags.UserName,
    add: Annotated[
        list[Path] | None,
        typer.Option(
            "--add", metavar="FILE", help="File with public keys to add; - is standard input. Repeatable."
        ),
    ] = None,
    remove: Annotated[
        list[str] | None,
        typer.Option("--remove", metavar="FINGERPRINT", help="Key to remove, as SHA256:... Repeatable."),
    ] = None,
    config_dir: flags.ConfigDir = flags.HERE,
    config_file: flags.ConfigFile = flags.FILE,
    as_json: flags.AsJson = False,
) -> None:
    """List an account's public keys, after adding and removing some."""

    async def work() -> None:
        from tidegate.accounts.keys import fingerprint, key_blob

        added = read_keys(add or [])
        async with opened(config_dir, config_file) as desk:
            account = await _account(desk, name)
            keys = {fingerprint(line): line for line in account.public_keys}
            for wanted in remove or []:
                if keys.pop(wanted, None) is None:
                    raise NotFound(f"{account.username} has no key {wanted}")
            known = {key_blob(line) for line in keys.values()}
            lines = [*keys.values(), *(line for line in added if key_blob(line) not in known)]
            if tuple(lines) != account.public_keys:
                account = await desk.provider.update_user(replace(account, public_keys=tuple(lines)))
        rows = [
            (fingerprint(line), line.split(None, 2)[0], " ".join(line.split(None, 2)[2:]))
            for line in account.public_keys
        ]
        if as_json:
            say_json([dict(zip(("fingerprint", "type", "comment"), row, strict=True)) for row in rows])
        else:
            say_table(("fingerprint", "type", "comment"), rows)

    run(work())


async def _account(desk: AdminContext, name: str) -> Account:
    from tidegate.accounts.names import fold_name

    account = await desk.provider.user(fold_name(name, desk.rules))
    if account is None:
        raise NotFound(f"no such user: {name}")
    return account


def _hashed(desk: AdminContext, account: Account, *, typed: bool = False) -> Account:
    """The account with a hash for its plain password, be it typed or written in a document."""
    from tidegate.identity.passwords import is_hashed

    plain = account.password
    if not plain or (not typed and is_hashed(plain)):
        return account
    hashed = desk.hash_password(plain, least_bits=account.filters.password_strength)
    return replace(account, password=hashed, last_password_change=_now_ms())


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
