# SPDX-License-Identifier: Apache-2.0
"""The form for one account: new, clone, change, checked field by field, with its storage tried out."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from starlette.responses import JSONResponse, Response

from tidegate.accounts.homes import proposed_home
from tidegate.accounts.keys import fingerprint, parse_public_keys
from tidegate.accounts.names import fold_name
from tidegate.accounts.versions import version_of
from tidegate.errors import AlreadyExists, BadRecord, Denied, LoginRefused, Outdated, TidegateError
from tidegate.model import Account
from tidegate.policy.folders import storage_of
from tidegate.policy.second_factor import totp_of
from tidegate.store.documents import decode_account, encode_account
from tidegate.web.admin import user_form
from tidegate.web.admin.field_values import Values
from tidegate.web.admin.pages.users import state_of
from tidegate.web.admin.record_pages import read_before, sentence
from tidegate.web.admin.registry import Page
from tidegate.web.admin.rendering import url
from tidegate.web.admin.user_fields import BY_NAME, FIELDS, KINDS, SECTIONS
from tidegate.web.admin.user_form import BOXES, PARTS, PRESETS
from tidegate.web.admin.visit import HEADERS, Visit

LABELS: Final = {
    "username": "user name",
    "password": "password",
    "key": "public keys",
    "new_keys": "public keys",
    "storage": "kind of storage",
    "permissions": "permissions",
    "rest": "further settings",
    "enabled": "enabled",
}
REST_HELP: Final = (
    "JSON with groups, role, file_patterns, bandwidth_limits, data_transfer_limits, access_time, "
    "tally_limits, two_factor_protocols and virtual_folders, as in REST and dumps."
)
_BLANK: Final[dict[str, Any]] = {"status": 1, "permissions": {"/": ["*"]}, "filters": {}}
_NOT_CLONED: Final = ("username", "password", "public_keys", "has_password", "id", "home_dir")


# -- showing -------------------------------------------------------------------------------------------------


async def show_new(visit: Visit) -> Response:
    """The empty form, or that of an account like another one."""
    document = dict(_BLANK)
    like = visit.query("like")
    if like:
        account = await visit.services.administration.users.get_for(like, visit.actor)
        copied = encode_account(account, confidential=False)
        document = {key: value for key, value in copied.items() if key not in _NOT_CLONED}
    else:
        document["groups"] = await _begins_with(visit)
    values = user_form.values_of(document)
    return _page(visit, None, values, before=user_form.values_of(_BLANK), like=like)


async def _begins_with(visit: Visit) -> list[dict[str, Any]]:
    """The groups that accounts of this administrator begin with; those that exist."""
    from tidegate.store.admin_groups import groups_for_new_users

    uses = groups_for_new_users(visit.who)
    there = await visit.services.provider.groups_named([use.name for use in uses]) if uses else []
    names = {group.name for group in there}
    return [{"name": use.name, "type": use.type} for use in uses if use.name in names]


async def show(visit: Visit) -> Response:
    """The form of an account."""
    services = visit.services
    account = await services.administration.users.get_for(visit.name(), visit.actor)
    await services.sessions.tracker.settle(account.username)
    account = await services.administration.users.get(account.username)
    values = user_form.values_of(encode_account(account, confidential=False))
    return _page(visit, account, values, before=values, inherited=await _inherited(visit, account))


async def _inherited(visit: Visit, account: Account) -> list[tuple[str, str]]:
    """The fields to which groups give something, and the names of these groups."""
    try:
        resolved = await visit.services.administration.effective.resolved(account)
    except BadRecord as error:
        return [("Nothing", sentence(error.text))]
    return [(field, ", ".join(names)) for field, names in sorted(resolved.origins.items())]


def _page(
    visit: Visit,
    account: Account | None,
    values: Values,
    *,
    before: Values,
    errors: Mapping[str, str] | None = None,
    conflict: Mapping[str, Any] | None = None,
    like: str = "",
    inherited: Sequence[tuple[str, str]] = (),
    status: int = 200,
) -> Response:
    errors = errors or {}
    values = {**user_form.values_of(_BLANK), **values}
    sections = {field.name: field.section for field in FIELDS}
    sections |= {"username": "who", "password": "login", "new_keys": "login", "rest": "more"}
    sections |= {"permissions": "permissions", "storage": "storage"}
    context = {
        "account": account,
        "like": like,
        "values": values,
        "errors": errors,
        "wrong_in": [sections.get(name, "") for name in errors],
        "conflict": conflict,
        "inherited": inherited,
        "version": version_of(account) if account is not None else "",
        "before": json.dumps(before, separators=(",", ":")),
        "fields": FIELDS,
        "sections": SECTIONS,
        "kinds": KINDS,
        "keys": [_key(line) for line in values.get("key", ())],
        "boxes": BOXES,
        "parts_of": PARTS,
        "presets": PRESETS,
        "state": state_of(account) if account is not None else ("", ""),
        "sessions": visit.services.registry.count(account.username) if account is not None else 0,
        "codes": account is not None and totp_of(account.filters).enabled,
        "check_url": url("check-user"),
        "try_url": url("try-storage") if visit.may("edit_users") else "",
        "rest_label": "Groups, name patterns, hours, bandwidth by network, mounted folders",
        "rest_help": REST_HELP,
        "editable": visit.may("add_users" if account is None else "edit_users"),
    }
    # The state of the server is a value of the frame, that of the account one of the page.
    context["account_state"] = context.pop("state")
    return visit.html("user.html", context, status=status)


def _key(line: str) -> dict[str, str]:
    """A stored key in words."""
    try:
        (key,) = parse_public_keys(line)
        return {"line": line, "name": key.comment, "kind": key.algorithm, "fingerprint": fingerprint(line)}
    except (BadRecord, ValueError):
        return {"line": line, "name": "a key that cannot be read", "kind": "", "fingerprint": line[:80]}


# -- saving --------------------------------------------------------------------------------------------------


async def add(visit: Visit) -> Response:
    """Add an account."""
    values = user_form.posted(visit.form)
    before = user_form.values_of(_BLANK)
    try:
        document = user_form.apply(_BLANK, values, user_form.touched(before, values))
        document["username"] = visit.form["username"].strip()
        _propose_home(visit, document)
        stored = await visit.services.administration.users.add(
            document, by=visit.actor, password=visit.form["password"]
        )
    except (BadRecord, AlreadyExists, Denied) as error:
        return _again(visit, None, values, before, error)
    return visit.go("users", stored.username, done=f"{stored.username} is added.")


def _propose_home(visit: Visit, document: dict[str, Any]) -> None:
    """Give a new account a home, unless it has one or the configuration puts new homes into a bucket."""
    options = visit.services.administration.options
    if document.get("home_dir") or (options.homes is not None and not document.get("filesystem")):
        return
    document["home_dir"] = proposed_home(fold_name(document["username"], options.rules), options.rules)


async def save(visit: Visit) -> Response:
    """Change an account, unless somebody else has changed the same fields meanwhile."""
    visit.require("edit_users")
    users = visit.services.administration.users
    account = await users.get_for(visit.name(), visit.actor)
    values, before = user_form.posted(visit.form), read_before(visit)
    names = user_form.touched(before, values) - {"username", "password"}
    password = visit.form["password"]
    try:
        document = user_form.apply(encode_account(account, confidential=False), values, names)
        if not names and not password:
            return visit.go("users", account.username, done="Nothing was changed.")
        stored = await users.change(
            account.username, document, by=visit.actor, version=visit.form["_version"], password=password
        )
    except Outdated as error:
        return await _conflict(visit, before, values, error)
    except (BadRecord, Denied) as error:
        return _again(visit, account, values, before, error)
    what = _changes(names | ({"password"} if password else set()))
    return visit.go("users", stored.username, done=f"{stored.username} is saved: {what}.")


async def _conflict(visit: Visit, before: Values, values: Values, error: Outdated) -> Response:
    """The form again, with what was typed and what somebody else has saved meanwhile."""
    account = await visit.services.administration.users.get_for(visit.name(), visit.actor)
    stored = user_form.values_of(encode_account(account, confidential=False))
    merged, both = user_form.merged(before, values, stored)
    conflict = {
        "fields": [_label(name) for name in error.fields],
        "both": [
            {"label": _label(name), "theirs": _in_words(stored, name), "mine": _in_words(merged, name)}
            for name in sorted(both)
        ],
    }
    return _page(visit, account, merged, before=stored, conflict=conflict, status=409)


def _again(
    visit: Visit, account: Account | None, values: Values, before: Values, error: TidegateError
) -> Response:
    kind = (values.get("storage") or ["0"])[0]
    if isinstance(error, BadRecord):
        name = user_form.field_of(error.field, kind)
        text = sentence(error.what if name else error.text)
        return _page(visit, account, values, before=before, errors={name: text}, status=400)
    where = "username" if isinstance(error, AlreadyExists) else ""
    code = 409 if where else 403
    return _page(visit, account, values, before=before, errors={where: sentence(error.text)}, status=code)


def _in_words(values: Values, name: str) -> str:
    if name == "permissions":
        return "see the table"
    return "; ".join(values.get(name, []))


def _label(name: str) -> str:
    field = BY_NAME.get(name)
    return field.label.lower() if field is not None else LABELS.get(name, name)


def _changes(names: set[str]) -> str:
    labels = sorted({_label(name) for name in names})
    return ", ".join(labels) if len(labels) <= 4 else f"{len(labels)} fields"


# -- checks while somebody types -----------------------------------------------------------------------------


async def check(visit: Visit) -> Response:
    """Check one field by the rules that REST applies, and describe a pasted key."""
    name = visit.form["_field"]
    values, note = user_form.posted(visit.form), ""
    try:
        document = user_form.check_one(name, values)
        account = decode_account(document, rules=visit.services.rules)
        if name == "new_keys":
            found = [_key(line) for line in account.public_keys]
            note = "; ".join(f"{key['kind']} {key['fingerprint']} {key['name']}".strip() for key in found)
        if name == "username" and await visit.services.provider.existing("user", [account.username]):
            raise AlreadyExists("that name is taken")
    except BadRecord as error:
        return JSONResponse({"error": sentence(error.what), "note": ""}, headers=HEADERS)
    except AlreadyExists as error:
        return JSONResponse({"error": sentence(error.text), "note": ""}, headers=HEADERS)
    return JSONResponse({"error": "", "note": note}, headers=HEADERS)


async def try_storage(visit: Visit) -> Response:
    """Ask the storage of the form, as it stands there, for what the account would need."""
    services = visit.services
    name = visit.form["username"].strip()
    stored = await services.provider.user(name) if name else None
    if stored is not None:
        visit.actor.require_reach(stored)
    base: dict[str, Any] = {**_BLANK, "username": name or "new"}
    if stored is not None:
        base = encode_account(stored, confidential=False)
    values = user_form.posted(visit.form)
    names = {field.name for field in FIELDS if field.section == "storage"} | {"storage"}
    try:
        document = user_form.apply(base, values, names)
        _propose_home(visit, document)
        account = decode_account(document, base=stored, rules=services.rules)
        await services.administration.options.giver(visit.actor).check_account(
            services.provider, account, stored
        )
        spec = storage_of(account)
        if spec.config.is_local:
            return tried(ok=True, text=f"Disk of this server, {account.home_dir}: nothing to connect to.")
        if services.rules.storages is None:
            return tried(ok=False, text="No storage but local disk is available here.")
        await services.rules.storages.try_out(spec)
    except (TidegateError, LoginRefused) as error:
        return tried(ok=False, text=sentence(error.text))
    return tried(ok=True, text="Listed, wrote, read and removed a test object.")


def tried(*, ok: bool, text: str) -> Response:
    """The outcome of trying storage, as the script of the form shows it."""
    return JSONResponse({"ok": ok, "text": text}, headers=HEADERS)


PAGES: Final = (
    Page(path="/new-user", show=show_new, act=add, needs="add_users", action="Add a user"),
    Page(path="/users/{name:path}", show=show, act=save, needs="view_users"),
    Page(path="/check-user", act=check, needs="view_users"),
    Page(path="/try-storage", act=try_storage, needs="edit_users"),
)
