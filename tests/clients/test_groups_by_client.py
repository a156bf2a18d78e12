# SPDX-License-Identifier: Apache-2.0
"""OpenSSH's client as an account whose home, permissions and folder come from a group."""

from __future__ import annotations

from pathlib import Path

from tests.support.programs import sftp
from tests.support.running import Running, in_thread

from tidegate.accounts.actor import Channel, operator
from tidegate.cli.provider import opened
from tidegate.model import Folder, GroupUse

BY = operator("test", Channel.CLI)


def administer(server: Running, work) -> None:
    """Run work on the administration of the server's data provider."""

    async def run() -> None:
        async with opened(server.directory, "tidegate", create=True) as desk:
            await work(desk)

    in_thread(run)


def test_home_permissions_and_folder_come_from_a_group(server: Running, tmp_path: Path):
    shared = tmp_path / "shared"
    shared.mkdir()
    (shared / "price.txt").write_text("12")
    document = {
        "name": "partners",
        "user_settings": {
            "home_dir": f"{server.directory}/files/of-%username%",
            "permissions": {"/": ["list", "download"], "/in": ["*"]},
        },
        "virtual_folders": [{"name": "prices", "virtual_path": "/prices"}],
    }

    async def prepare(desk) -> None:
        await desk.provider.add_folder(Folder(name="prices", mapped_path=str(shared)))
        await desk.administration.groups.add(document, by=BY)

    administer(server, prepare)
    use = (GroupUse(name="partners", type=1),)
    person = server.account(home_dir="", permissions={}, groups=use)
    home = server.directory / "files" / f"of-{person.name}"
    (home / "in").mkdir(parents=True)
    (tmp_path / "a.txt").write_text("a")
    done = sftp(
        person, f"put {tmp_path}/a.txt /in/a.txt", "ls /", f"get /prices/price.txt {tmp_path}/got.txt"
    )
    done.ok()
    assert (home / "in" / "a.txt").read_text() == "a"
    assert (tmp_path / "got.txt").read_text() == "12"
    refused = sftp(person, f"put {tmp_path}/a.txt /a.txt")
    assert refused.status != 0
    assert b"ermission" in refused.err

    # The next login sees a change of the group, and that it has one no more.
    async def open_up(desk) -> None:
        changed = {**document, "user_settings": {**document["user_settings"], "permissions": {"/": ["*"]}}}
        await desk.administration.groups.change("partners", changed, by=BY)

    administer(server, open_up)
    assert sftp(person, f"put {tmp_path}/a.txt /a.txt").status == 0

    async def shut(desk) -> None:
        settings = {**document["user_settings"], "filters": {"denied_protocols": ["SSH"]}}
        await desk.administration.groups.change("partners", {**document, "user_settings": settings}, by=BY)

    administer(server, shut)
    assert sftp(person, "ls /").status != 0
    line = server.wait_line("connection_failed", username=person.name, login_type="publickey")
    assert line["rule"] == "protocol[SSH]"
