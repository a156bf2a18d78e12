# SPDX-License-Identifier: Apache-2.0
"""``/users``: accounts."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, Final
from urllib.parse import quote

from fastapi import APIRouter, Path, Query, Request, Response

from tidegate.accounts.administrators import EVERYTHING
from tidegate.packages import load_beside
from tidegate.store.documents import encode_account
from tidegate.web.api import schemas
from tidegate.web.api.access import AddUsers, DeleteUsers, EditUsers, Ip, ViewUsers, With, actor
from tidegate.web.api.bodies import Json, message, read_csv_text, read_object
from tidegate.web.api.paging import (
    DEFAULT_PAGE,
    Confidential,
    Flag,
    Limit,
    Name,
    Offset,
    Sort,
    folded,
)
from tidegate.web.api.preconditions import Version, etag
from tidegate.web.api.routes import BASE

if TYPE_CHECKING:
    from tidegate.accounts.bulk import Outcome
    from tidegate.web.api.table_jobs import TableJob

AT_ONCE_OVER_REST: Final = 100
"""Plain passwords of a table whose outcome is the answer itself: programs wait longer than people."""

router = APIRouter(prefix=BASE, tags=["users"])


@router.get("/users", responses={200: schemas.many("User")})
async def list_users(
    services: With, who: ViewUsers, offset: Offset = 0, limit: Limit = DEFAULT_PAGE, order: Sort = "ASC"
) -> Response:
    """List accounts by name; passwords and secrets are left out."""
    page = await services.provider.users(offset=offset, limit=limit, order=order, role=who.role)
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
    stored = await services.administration.users.add(document, by=actor(who, ip))
    answer = encode_account(stored, confidential=bool(confidential_data) and who.may(EVERYTHING))
    headers = {"Location": f"/api/v2/users/{quote(stored.username, safe='')}", **etag(stored)}
    return Json(answer, 201, headers=headers)


@router.post(
    "/users/csv",
    responses={
        200: {"model": schemas.TableOutcome},
        202: {"model": schemas.TableProgress},
        400: {"model": schemas.TableRefused},
    },
    openapi_extra={
        "requestBody": {"required": True, "content": {"text/csv": {"schema": {"type": "string"}}}}
    },
)
async def add_table(  # noqa: PLR0917  a query parameter is a parameter
    request: Request,
    services: With,
    who: AddUsers,
    ip: Ip,
    preview: Annotated[int, Query(ge=0, le=1, description="1 only tells what would be added.")] = 0,
    generate: Annotated[
        int, Query(ge=0, le=1, description="1 makes a password for each user without one, and answers it.")
    ] = 0,
) -> Response:
    """Add the users of a CSV in one transaction, or tell each mistake by row and column and add none.

    The first row names columns, `username` among them; the form for many users in the web admin lists all.
    With more than 100 plain passwords, whose hashes take long, the answer is 202: `id` asks for the outcome.
    """
    await load_beside("tidegate.accounts.user_table")
    from tidegate.accounts.user_table import MAX_TABLE_BYTES, read_table

    text = await read_csv_text(request, limit=MAX_TABLE_BYTES)
    by, bulk = actor(who, ip), services.administration.bulk
    plan = await bulk.plan(await asyncio.to_thread(read_table, text), by=by, generate=bool(generate))
    if plan.mistakes:
        told = [{"row": one.row, "column": one.column, "error": one.what} for one in plan.mistakes]
        return Json(
            {"message": "Bad request", "error": str(plan.mistakes[0]), "mistakes": told}, status_code=400
        )
    if preview:
        return Json({"users": [{"username": one.account.username} for one in plan.users], "left": []})
    if plan.hashes > AT_ONCE_OVER_REST:
        return Json(_progress(services.jobs.tables.begin(services, plan, by)), status_code=202)
    return Json(_outcome(await bulk.create(plan, by=by)))


@router.get("/users/csv/{table}", responses={200: {"model": schemas.TableProgress}})
async def table_progress(
    services: With,
    who: AddUsers,
    table: Annotated[str, Path(max_length=64, description="`id` of the answer that began it.")],
) -> Response:
    """The progress of a table that you have sent; its outcome for half an hour."""
    return Json(_progress(services.jobs.tables.find(table, who.name)))


def _outcome(made: Sequence[Outcome]) -> dict[str, Any]:
    answer: dict[str, Any] = {"users": [], "left": []}
    for one in made:
        shown = {"username": one.username, **({"password": one.password} if one.password else {})}
        answer["users" if one.added else "left"].append(shown)
    return answer


def _progress(job: TableJob) -> dict[str, Any]:
    state = "running" if job.running else "failed" if job.error else "done"
    error = "" if job.running else job.error
    counts = {"hashed": job.done, "to_hash": job.total}
    return {"id": job.id, "state": state, "error": error, **counts, **_outcome(job.made)}


@router.get("/users/{username}", responses={200: schemas.one("User")})
async def get_user(
    services: With, who: ViewUsers, username: Name, confidential_data: Confidential = 0
) -> Response:
    """One account with its live counters."""
    name = folded(services, username, "user")
    await services.sessions.tracker.settle(name)
    account = await services.administration.users.get(name)
    answer = encode_account(account, confidential=bool(confidential_data) and who.may(EVERYTHING))
    return Json(answer, headers=etag(account))


@router.put(
    "/users/{username}",
    responses={200: {"model": schemas.ApiResponse}},
    openapi_extra=schemas.body("User"),
)
async def update_user(  # noqa: PLR0917  a query parameter is a parameter
    request: Request,
    services: With,
    who: EditUsers,
    ip: Ip,
    username: Name,
    version: Version,
    disconnect: Flag = 0,
) -> Response:
    """Replace an account. An absent or empty password or home, absent permissions and hidden secrets stay.

    The user's connections are closed afterwards with `disconnect` 1, and whenever the account is disabled or
    expired then. Another `home_dir`, and
    another mounted folder, must be one that the administrator could give to a new account; who could not give
    those that the account has may not set its password or add a key.
    """
    document = await read_object(request)
    account = await services.administration.users.change(
        username, document, by=actor(who, ip), version=version, disconnect=bool(disconnect)
    )
    return message("User updated", ETag=etag(account)["ETag"])


@router.delete("/users/{username}", responses={200: {"model": schemas.ApiResponse}})
async def delete_user(services: With, who: DeleteUsers, ip: Ip, username: Name, version: Version) -> Response:
    """Remove an account and close its connections; its files stay."""
    await services.administration.users.remove(username, by=actor(who, ip), version=version)
    return message("User deleted")
