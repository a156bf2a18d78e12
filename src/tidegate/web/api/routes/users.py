# SPDX-License-Identifier: Apache-2.0
"""``/users``: accounts."""

from __future__ import annotations

from dataclasses import replace
from urllib.parse import quote

from fastapi import APIRouter, Request, Response

from tidegate.accounts.administrators import EVERYTHING
from tidegate.errors import NotFound
from tidegate.model import Account, Tally
from tidegate.store.documents import decode_account, encode_account
from tidegate.web.api import schemas
from tidegate.web.api.access import AddUsers, DeleteUsers, EditUsers, Ip, ViewUsers, With, giver
from tidegate.web.api.bodies import Json, message, read_object
from tidegate.web.api.credentials import is_given, now_ms, stored_form, user_bits
from tidegate.web.api.paging import (
    DEFAULT_PAGE,
    Confidential,
    Flag,
    Limit,
    Name,
    Offset,
    Sort,
    folded,
    same_name,
)
from tidegate.web.api.services import Services

router = APIRouter(tags=["users"])


@router.get("/users", responses={200: schemas.many("User")})
async def list_users(
    services: With, who: ViewUsers, offset: Offset = 0, limit: Limit = DEFAULT_PAGE, order: Sort = "ASC"
) -> Response:
    """List accounts by name; passwords and secrets are left out."""
    del who
    page = await services.provider.users(offset=offset, limit=limit, order=order)
    return Json([encode_account(account, confidential=False) for account in page])


@router.post(
    "/users", status_code=201, responses={201: schemas.one("User")}, openapi_extra=schemas.body("User")
)
async def add_user(
    request: Request, services: With, who: AddUsers, ip: Ip, confidential_data: Confidential = 0
) -> Response:
    """Add an account. Counters and times of the document are ignored.

    Nobody may give `/` or the configuration directory; administrators without `*` may give only directories
    below `users_base_dir`, and none if it is not set.
    """
    document = await read_object(request)
    account = _fresh(decode_account(document, rules=services.rules))
    await giver(services, who).check_account(services.provider, account, None)
    if is_given(document):
        password = await stored_form(
            services, account.password, ip=ip, least_bits=user_bits(services, account)
        )
        account = replace(account, password=password, last_password_change=now_ms())
    stored = await services.provider.add_user(account)
    answer = encode_account(stored, confidential=bool(confidential_data) and who.may(EVERYTHING))
    return Json(answer, 201, headers={"Location": f"/api/v2/users/{quote(stored.username, safe='')}"})


@router.get("/users/{username}", responses={200: schemas.one("User")})
async def get_user(
    services: With, who: ViewUsers, username: Name, confidential_data: Confidential = 0
) -> Response:
    """One account with its live counters."""
    name = folded(services, username, "user")
    await services.sessions.books.settle(name)
    account = await _stored(services, name)
    return Json(encode_account(account, confidential=bool(confidential_data) and who.may(EVERYTHING)))


@router.put(
    "/users/{username}",
    responses={200: {"model": schemas.ApiResponse}},
    openapi_extra=schemas.body("User"),
)
async def update_user(  # noqa: PLR0917  a query parameter is a parameter
    request: Request, services: With, who: EditUsers, ip: Ip, username: Name, disconnect: Flag = 0
) -> Response:
    """Replace an account. An absent or empty password or home, absent permissions and hidden secrets stay.

    The user's connections are closed afterwards with `disconnect` 1, and whenever the account is disabled or
    expired then. Another `home_dir`, and
    another mounted folder, must be one that the administrator could give to a new account; who could not give
    those that the account has may not set its password or add a key.
    """
    name = folded(services, username, "user")
    stored = await _stored(services, name)
    document = await read_object(request)
    same_name(services, document, "username", name)
    account = decode_account(document, base=stored, rules=services.rules)
    giving = giver(services, who)
    await giving.check_account(services.provider, account, stored)
    await giving.check_takeover(services.provider, account, stored, password=is_given(document))
    changed_at = stored.last_password_change
    if is_given(document):
        password = await stored_form(
            services, account.password, ip=ip, least_bits=user_bits(services, account)
        )
        account, changed_at = replace(account, password=password), now_ms()
    updated = await services.provider.update_user(
        replace(account, id=stored.id, created_at=stored.created_at, last_password_change=changed_at)
    )
    if disconnect:
        services.close_user(name, by=who.name)
    else:
        services.close_if_out(updated, by=who.name)
    return message("User updated")


@router.delete("/users/{username}", responses={200: {"model": schemas.ApiResponse}})
async def delete_user(services: With, who: DeleteUsers, username: Name) -> Response:
    """Remove an account and close its connections; its files stay."""
    name = folded(services, username, "user")
    await _stored(services, name)
    await services.provider.delete_user(name)
    services.close_user(name, by=who.name)
    return message("User deleted")


async def _stored(services: Services, name: str) -> Account:
    account = await services.provider.user(name)
    if account is None:
        raise NotFound(f"no such user: {name}")
    return account


def _fresh(account: Account) -> Account:
    """Without what only the server may know about a user."""
    return replace(
        account,
        id=0,
        used_quota_size=0,
        used_quota_files=0,
        last_quota_update=0,
        used_upload_data_transfer=0,
        used_download_data_transfer=0,
        last_login=0,
        first_download=0,
        first_upload=0,
        last_password_change=0,
        created_at=0,
        updated_at=0,
        tally=Tally(),
    )
