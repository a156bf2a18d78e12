# SPDX-License-Identifier: Apache-2.0
"""Runs in the environment of `sftpgo_client_venv`: what a program of the client's users does, call by call.

Reads ``{"url", "username", "password", "home", "connection_user"}`` from standard input; writes what it saw.
"""

from __future__ import annotations

import base64
import json
import sys

from sftpgo_client.base.api.connections import close_connection, get_connections
from sftpgo_client.base.api.folders import add_folder, delete_folder, get_folders, update_folder
from sftpgo_client.base.api.maintenance import dumpdata, get_status, get_version, loaddata_from_file
from sftpgo_client.base.api.quota import get_users_quota_scans, start_user_quota_scan, user_quota_update_usage
from sftpgo_client.base.api.token import get_token, logout
from sftpgo_client.base.api.users import add_user, delete_user, get_user_by_username, get_users, update_user
from sftpgo_client.base.client import AuthenticatedClient, Client
from sftpgo_client.base.models import (
    BaseVirtualFolder,
    LoaddataFromFileMode,
    QuotaUsage,
    User,
    UserPermissions,
    UserStatus,
)

given = json.load(sys.stdin)
base = given["url"] + "/api/v2"
seen: dict[str, object] = {}

basic = base64.b64encode(f"{given['username']}:{given['password']}".encode()).decode()
answer = get_token.sync_detailed(client=Client(base_url=base, headers={"Authorization": f"Basic {basic}"}))
seen["token"] = answer.status_code
parsed = answer.parsed
client = AuthenticatedClient(base_url=base, token=parsed.access_token)
seen["expires_has_zone"] = parsed.expires_at.tzinfo is not None

permissions = UserPermissions()
permissions["/"] = ["*"]
user = User(
    username="made",
    password="a password of some length",
    home_dir=given["home"],
    permissions=permissions,
    status=UserStatus(1),
)
added = add_user.sync_detailed(client=client, json_body=user)
seen["add"] = [added.status_code, added.parsed.username, added.parsed.to_dict().get("password")]
seen["add_again"] = add_user.sync_detailed(client=client, json_body=user).status_code
read = get_user_by_username.sync("made", client=client)
seen["read"] = [read.username, read.home_dir == given["home"], read.permissions["/"]]
seen["list"] = sorted(one.username for one in get_users.sync(client=client, limit=10))
read.email = "made@example.org"
read.max_sessions = 3
changed = update_user.sync_detailed("made", client=client, json_body=read)
seen["update"] = [changed.status_code, changed.parsed.message]
again = get_user_by_username.sync("made", client=client)
seen["updated"] = [again.email, again.max_sessions]

live = [one for one in get_connections.sync(client=client) if one.username == given["connection_user"]]
seen["connections"] = [[one.username, one.protocol.value, one.connection_time > 0] for one in live]
closed = [close_connection.sync_detailed(one.connection_id, client=client) for one in live]
seen["closed"] = [[one.status_code, one.parsed.message] for one in closed]

seen["folder"] = [
    add_folder.sync_detailed(
        client=client, json_body=BaseVirtualFolder(name="shared", mapped_path=given["home"])
    ).status_code,
    [folder.name for folder in get_folders.sync(client=client)],
    update_folder.sync_detailed(
        "shared", client=client, json_body=BaseVirtualFolder(name="shared", mapped_path=given["home"])
    ).status_code,
    delete_folder.sync_detailed("shared", client=client).status_code,
]
seen["usage"] = user_quota_update_usage.sync_detailed(
    "made", client=client, json_body=QuotaUsage(used_quota_size=7, used_quota_files=1)
).status_code
seen["scan"] = start_user_quota_scan.sync_detailed("made", client=client).status_code
seen["scans"] = isinstance(get_users_quota_scans.sync(client=client), list)
seen["version"] = bool(get_version.sync(client=client).version)
seen["status"] = get_status.sync(client=client).data_provider.is_active

dumped = dumpdata.sync_detailed(client=client, output_file="by-client.json")
seen["dump"] = [dumped.status_code, dumped.parsed.message]
loaded = loaddata_from_file.sync_detailed(
    client=client, input_file="by-client.json", mode=LoaddataFromFileMode.VALUE_1
)
seen["load"] = loaded.status_code
removed = delete_user.sync_detailed("made", client=client)
seen["delete"] = [removed.status_code, removed.parsed.message]
seen["missing"] = get_user_by_username.sync_detailed("made", client=client).status_code
seen["logout"] = logout.sync_detailed(client=client).status_code
seen["after_logout"] = get_users.sync_detailed(client=client).status_code
json.dump(seen, sys.stdout)
