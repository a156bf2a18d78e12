# SPDX-License-Identifier: Apache-2.0
"""Shapes of requests and answers that are not records of the data provider, for checks and for OpenAPI.

Long, because it is one list of shapes, a few lines each, all of which the description of the API names.
"""

from __future__ import annotations

from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from tidegate.model import Account, Admin, ApiKey, Folder
from tidegate.model.group import Group, Role
from tidegate.model.listed import ListEntry
from tidegate.model.rule import EventAction, EventRule

MAX_NUMBER: Final = 2**63 - 1
MAX_PASSWORD_CHARS: Final = 4096


class Shape(BaseModel):
    """Base: unknown keys are mistakes."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class ApiResponse(BaseModel):
    """The outcome: done, or the fault."""

    message: str = Field(description="Short text.")
    error: str = Field("", description="What exactly was wrong; empty if nothing.")


class TableUser(BaseModel):
    """One user of a table."""

    username: str
    password: str = Field("", description="The one that was made; it is not told again.")


class TableOutcome(BaseModel):
    """The outcome of a table of users."""

    users: list[TableUser] = Field(description="Who was added, or would be.")
    left: list[TableUser] = Field(description="Whose name was taken meanwhile; those accounts are untouched.")


class TableProgress(TableOutcome):
    """A table of users that is being added, or was."""

    id: str
    state: Literal["running", "done", "failed"]
    error: str = Field(description="The reason why nothing was added.")
    hashed: int = Field(description="Passwords that are hashed by now.")
    to_hash: int = Field(description="Passwords that have to be hashed.")


class TableMistake(BaseModel):
    """One mistake of a table."""

    row: int = Field(description="As a spreadsheet numbers it; 0 for the table as a whole.")
    column: str = Field(description="Empty for the row as a whole.")
    error: str


class TableRefused(ApiResponse):
    """The mistakes of a table, of whose users none was added."""

    mistakes: list[TableMistake] = Field(default_factory=list)


class StorageResult(BaseModel):
    """The outcome for one root."""

    path: str = Field(description="Where it is mounted; of a folder always ``/``.")
    ok: bool
    message: str = Field(description="What can be done, or what fails and why.")


class StorageCheck(BaseModel):
    """The outcome for each root of a record."""

    results: list[StorageResult]


class StorageMoveWish(Shape):
    """A wish to put files on other storage. What is not given stays as the record has it."""

    filesystem: dict[str, Any] | None = Field(None, description="The storage, as a record names it.")
    home_dir: str = Field("", max_length=4096, description="Of a user: the directory, where it changes.")
    mapped_path: str = Field("", max_length=4096, description="Likewise of a folder.")
    dry_run: bool = Field(False, description="Only look at what would be moved, and what could not be.")
    leave_out: bool = Field(
        False, description="Leave what the new storage cannot hold, in place of refusing the move."
    )
    verify: Literal["copied", "all"] = Field(
        "copied",
        description="``copied``: each file is compared when it was copied. ``all``: once more at the end.",
    )


class StorageMove(BaseModel):
    """A move of a home's or folder's files that runs or ran; sizes in bytes, times in Unix milliseconds."""

    kind: Literal["user", "folder"]
    name: str
    state: Literal["running", "done", "failed", "interrupted"]
    phase: Literal[
        "checking",
        "copying",
        "holding",
        "differences",
        "verifying",
        "switching",
        "switched",
        "removing",
        "removed",
    ]
    dry_run: bool
    source: str = Field(description="Location of the old storage; empty if it was not asked for.")
    target: str = Field(description="Location of the new one.")
    files: int = Field(description="Files dealt with in this phase.")
    size: int
    total_files: int
    total_size: int
    copied_files: int = Field(description="Files that this run copied.")
    copied_size: int
    left_out: list[str] = Field(description="What the new storage cannot hold, 1,000 names at most.")
    count_left_out: int
    unfinished_uploads: int = Field(description="Uploads that wait to be resumed, which are not moved.")
    start_time: int
    end_time: int
    error: str


class Token(BaseModel):
    """A token for the ``Authorization: Bearer`` header."""

    access_token: str
    expires_at: str = Field(description="RFC 3339.")


class PasswordChange(Shape):
    """A change of one's own password."""

    current_password: str = Field(max_length=MAX_PASSWORD_CHARS)
    new_password: str = Field(min_length=1, max_length=MAX_PASSWORD_CHARS)


class TotpKind(BaseModel):
    """One kind of one-time codes (`mfa.totp`)."""

    name: str
    issuer: str
    algo: str


class TotpQuestion(Shape):
    """A wish for a new secret."""

    config_name: str = Field(description="Name of one of the kinds.")


class NewTotp(BaseModel):
    """A new secret, which is not stored yet."""

    config_name: str
    issuer: str
    secret: str = Field(description="In base32, for an authenticator program.")
    url: str = Field(description="Key URI; as a QR code authenticator programs scan it.")


class TotpProof(Shape):
    """A code that an authenticator program makes of a secret."""

    config_name: str
    passcode: str = Field(max_length=64)
    secret: str = Field(max_length=512)


class TotpSettings(Shape):
    """One-time codes from now on, or no more."""

    enabled: bool = False
    config_name: str = ""
    secret: str | dict[str, Any] = Field(
        "", description="In base32, or a document with ``status`` Plain and the text as ``payload``."
    )
    protocols: list[str] = Field([], max_length=8, description="Of users: SSH, FTP, HTTP.")


class RecoveryCode(BaseModel):
    """One recovery code; the text itself is known to its owner alone."""

    code: str = Field(description="Empty: codes are stored as hashes.")
    used: bool


class Passkey(BaseModel):
    """One passkey of an administrator; the public key is not shown."""

    id: str = Field(description="Of the credential, base64url.")
    name: str
    rp_id: str = Field(description="Domain that it was made for.")
    created_at: int = Field(description="Unix milliseconds.")
    last_use_at: int = Field(description="Unix milliseconds, 0 for never.")


class PasskeyName(Shape):
    """Another name for a passkey."""

    name: str = Field(description="For people; 64 printable characters at most.")


class Profile(Shape):
    """The fields that administrators may change about themselves."""

    email: str = ""
    description: str = ""
    allow_api_key_auth: bool = False


class QuotaUsage(Shape):
    """The used part of a quota."""

    used_quota_size: int = Field(0, ge=0, le=MAX_NUMBER, description="Bytes.")
    used_quota_files: int = Field(0, ge=0, le=MAX_NUMBER)


class TransferUsage(Shape):
    """The used part of an allowance."""

    used_upload_data_transfer: int = Field(0, ge=0, le=MAX_NUMBER, description="Bytes.")
    used_download_data_transfer: int = Field(0, ge=0, le=MAX_NUMBER, description="Bytes.")


class Transfer(BaseModel):
    """Something that is being moved now."""

    operation_type: str = Field(description="upload, download, copy, move, rename, remove or storage-move.")
    path: str
    start_time: int = Field(description="Unix milliseconds.")
    size: int = Field(description="Bytes moved so far.")
    total_size: int | None = Field(None, description="Bytes in all, where that is known.")
    files: int | None = Field(None, description="Files done so far, of a copy, move, rename or removal.")
    total_files: int | None = Field(None, description="Files in all, where that is known.")


class ConnectionStatus(BaseModel):
    """A live connection."""

    username: str
    connection_id: str
    client_version: str
    remote_address: str
    connection_time: int = Field(description="Unix milliseconds.")
    command: str
    last_activity: int = Field(description="Unix milliseconds.")
    protocol: str
    active_transfers: list[Transfer]
    node: str


class LockStatus(BaseModel):
    """A write lock."""

    token: str
    username: str = Field(description="Whose lock it is.")
    path: str = Field(description="As that account names it.")
    place: str = Field(description="In storage.")
    scope: str = Field(description="exclusive or shared.")
    depth: str = Field(description="0, or infinity for everything below.")
    owner: str = Field(description="As the client says.")
    timeout: float = Field(description="Seconds that were granted.")
    expires_in: float = Field(description="Seconds that are left.")


class QuarantinedFile(BaseModel):
    """An upload that was refused and is kept apart."""

    id: str
    at: int = Field(description="Unix milliseconds.")
    username: str = Field(description="Whose upload it was.")
    path: str = Field(description="As that account named it.")
    protocol: str
    ip: str = Field(description="Where it came from.")
    size: int = Field(description="Bytes.")
    rule: str = Field(description="The inspector that refused it.")
    reason: str = Field(description="Why.")


class UserScan(BaseModel):
    """A running quota scan of a user."""

    username: str
    start_time: int = Field(description="Unix milliseconds.")
    used_quota_size: int = Field(description="Bytes counted so far.")
    used_quota_files: int = Field(description="Files counted so far.")


class FolderScan(BaseModel):
    """A running quota scan of a folder."""

    name: str
    start_time: int = Field(description="Unix milliseconds.")
    used_quota_size: int = Field(description="Bytes counted so far.")
    used_quota_files: int = Field(description="Files counted so far.")


class _Outcome(BaseModel):
    state: Literal["running", "done", "failed", "cancelled"]
    tries: int = Field(description="Counts so far: changes meanwhile lead to another one.")
    end_time: int = Field(description="Unix milliseconds; 0 while it runs.")
    exact: bool = Field(description="Nothing changed meanwhile; else the server counts again later.")
    error: str = Field(description="The reason why it failed, or who has cancelled it.")


class UserScanOutcome(UserScan, _Outcome):
    """A quota scan of a user that runs, or the last one."""


class FolderScanOutcome(FolderScan, _Outcome):
    """A quota scan of a folder that runs, or the last one."""


class HealthCheck(BaseModel):
    """One check."""

    name: str
    status: Literal["ok", "warn", "fail"]


class Health(BaseModel):
    """The worst status, and the checks."""

    status: Literal["ok", "warn", "fail"]
    checks: list[HealthCheck]


class Version(BaseModel):
    """The running version."""

    version: str
    build_date: str
    commit_hash: str
    features: list[str]


class NewKey(BaseModel):
    """A new API key; the only time that `key` is seen."""

    message: str
    key: str


class LogFilter(Shape):
    """The lines of the log that are wanted; what is left out wants all."""

    q: str = Field("", max_length=255, description="Anywhere in a line, without regard to case.")
    user: str = Field("", max_length=255, description="Name of the account.")
    ip: str = Field("", max_length=64, description="Address of the client, or a network.")
    connection: str = Field(
        "", max_length=255, description="Id of the connection, or of one of its channels."
    )
    protocol: str = Field("", max_length=32, description="SFTP, SCP, SSH, FTP, FTPS, DAV, DAVS or HTTP.")
    level: str = Field("", max_length=8, description="Least level: debug, info, warn or error.")
    kind: str = Field(
        "",
        max_length=32,
        description="transfers, operations, logins, refusals, connections, changes, requests or server.",
    )
    sender: str = Field("", max_length=255, description="Sender of the line.")
    path: str = Field("", max_length=4096, description="Part of a path, without regard to case.")
    since: str = Field("", max_length=40, description="First time (RFC 3339), or how long ago: 90m, 24h, 7d.")
    until: str = Field("", max_length=40, description="Last time, likewise.")


class LogPageQuery(LogFilter):
    """The lines of the log that are wanted, and from where on."""

    cursor: str = Field("", max_length=64, description="Of an answer to the same question: what is older.")
    limit: int = Field(100, ge=1, le=500, description="Most lines.")


class LogPage(BaseModel):
    """Lines of the log, the newest first."""

    lines: list[dict[str, Any]] = Field(description="As they stand in the log.")
    cursor: str = Field(description="Gives what is older; empty if there is nothing. Lines may be none yet.")
    searched_to: str = Field(description="Time of the oldest line that was looked at.")
    notes: list[str] = Field(description="What could not be read.")
    target: str = Field(description="Place where lines go; empty for administrators with a role.")
    file: bool = Field(description="False if there are only the last lines of this process, in memory.")


class Question(Shape):
    """The question to explain."""

    user: str = Field(description="Whose account.")
    op: str = Field(
        description="What they want: list, upload, download, delete, rename, git_push, rsync_read..."
    )
    path: str = Field("/", description="Path as the client knows it.")
    target: str | None = Field(None, description="Second path of a rename, copy or link.")
    ip: str = Field("127.0.0.1", description="Where the client is.")
    protocol: str = Field("SFTP", description="SFTP, SCP, SSH, FTP, DAV or HTTP.")
    method: str | None = Field(None, description="Login method; any without it.")
    size: int | None = Field(None, ge=0, le=MAX_NUMBER, description="Bytes of the file.")
    replaced: int | None = Field(
        None, ge=0, le=MAX_NUMBER, description="Bytes of the file that is there already and is replaced."
    )
    is_dir: bool | None = Field(None, description="Whether the path is a directory.")
    exists: bool | None = Field(None, description="Whether the path exists, where uploading is wanted.")
    target_exists: bool = False


class AskedQuestion(Question):
    """The question to explain, which hooks may be asked too."""

    ask: bool = Field(
        False,
        description="Ask the hooks of this login too; nothing is stored. Needs the permission *.",
    )
    password: str = Field("", max_length=1024, description="With `ask`: the password that they get.")


RECORDS: Final[dict[str, Any]] = {
    "User": TypeAdapter(Account),
    "Folder": TypeAdapter(Folder),
    "Group": TypeAdapter(Group),
    "Role": TypeAdapter(Role),
    "Admin": TypeAdapter(Admin),
    "APIKey": TypeAdapter(ApiKey),
    "EventAction": TypeAdapter(EventAction),
    "EventRule": TypeAdapter(EventRule),
    "IPListEntry": TypeAdapter(ListEntry),
}
"""Records of the provider; `record_schemas` describes their documents."""

_FILESYSTEM: Final = {
    "type": "object",
    "title": "Filesystem",
    "additionalProperties": True,
    "default": {"provider": 0},
}
_GIVEN_ONLY: Final = {"User": ("password",), "Admin": ("password",)}
_NEVER: Final = {"APIKey": ("key",)}


def record_schemas() -> dict[str, Any]:
    """JSON schemas of the documents of records, by component name."""
    found: dict[str, Any] = {}
    for name, adapter in RECORDS.items():
        schema = adapter.json_schema(ref_template="#/components/schemas/{model}")
        found.update(schema.pop("$defs", {}))
        found[name] = schema
        for key in _GIVEN_ONLY.get(name, ()):
            schema["properties"][key]["writeOnly"] = True
        for key in _NEVER.get(name, ()):
            del schema["properties"][key]
    found["APIKey"]["required"] = ["name"]
    found["APIKey"]["properties"]["id"]["readOnly"] = True
    del found["StorageConfig"]
    # Of a use the document has the relation in an object of its own, and in answers the whole action.
    found["RuleAction"] = {"type": "object", "additionalProperties": True, "required": ["name"]}
    for key in ("created_at", "updated_at"):
        del found["EventAction"]["properties"][key]
    for key in ("id", "name"):
        del found["IPListEntry"]["properties"][key]
    found["IPListEntry"]["required"] = ["ipornet"]
    for name, schema in found.items():
        schema.pop("title", None)
        properties = schema.get("properties", {})
        if "filesystem" in properties:  # documents have it in the field's own form
            properties["filesystem"] = dict(_FILESYSTEM)
        properties.pop("extra", None)
        if "from_" in properties:
            properties["from"] = properties.pop("from_")
        # The texts of the model's classes are written for its readers, not for users of the API.
        schema["description"] = _TITLES.get(name, name)
    return found


def shape_schemas() -> dict[str, Any]:
    """JSON schemas of the other documents that requests hold, by component name."""
    return {
        shape.__name__: shape.model_json_schema()
        for shape in (
            PasswordChange,
            StorageMoveWish,
            TotpQuestion,
            TotpProof,
            TotpSettings,
            Profile,
            QuotaUsage,
            PasskeyName,
            TransferUsage,
            Question,
            AskedQuestion,
        )
    }


_TITLES: Final = {
    "User": "An account. `password` is plain text or a known hash; it is never given back.",
    "Folder": "A directory that accounts can mount.",
    "Group": "Settings that accounts inherit. Paths may hold `%username%`, `%role%` and `%custom1%`.",
    "Role": "A set of accounts; an administrator with a role sees and changes only accounts that have it.",
    "Admin": "Somebody who may manage the server.",
    "APIKey": "A key for programs.",
    "EventAction": "Something that event rules can do. `options` has the section of its type.",
    "IPListEntry": "An address or network in a list. `expires_at` is in Unix milliseconds; 0 never.",
    "EventRule": "Says which actions run on which events.",
}


def body(name: str) -> dict[str, Any]:
    """`openapi_extra` of an operation that takes a document of this component."""
    schema = {"$ref": f"#/components/schemas/{name}"}
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}


def one(name: str, description: str = "The record.") -> dict[str, Any]:
    """OpenAPI answer: one document."""
    return _answer({"$ref": f"#/components/schemas/{name}"}, description)


def many(name: str) -> dict[str, Any]:
    """OpenAPI answer: a page of documents."""
    return _answer({"type": "array", "items": {"$ref": f"#/components/schemas/{name}"}}, "A page.")


def _answer(schema: dict[str, Any], description: str) -> dict[str, Any]:
    return {"description": description, "content": {"application/json": {"schema": schema}}}
