# SPDX-License-Identifier: Apache-2.0
"""Facts of each kind of event: what rules know of it."""

from __future__ import annotations

from typing import Any

import pytest

from tidegate.events.kinds import (
    Administered,
    Banned,
    Disconnected,
    LoggedIn,
    LoginFailed,
    Operated,
    QuotaWarning,
    Transferred,
)
from tidegate.model import Action, Origin
from tidegate.model.listed import ListKind, entry_name, name_of_told, told_name
from tidegate.model.rule import Trigger
from tidegate.rules.facts import Facts, decode_facts, facts_of

ORIGIN = Origin("c1", "ana", "SFTP", "192.0.2.9")


def one(event: Any, event_id: str = "o-1") -> Facts:
    (found,) = facts_of(event, event_id)
    assert (found.id, found.session_id, found.at) == (event_id, "c1", 5_500_000_000)
    return found


def change(**more: Any) -> Administered:
    given = {"action": "add", "kind": "user", "name": "u1", "channel": "rest", **more}
    return Administered(origin=ORIGIN, at=5.5, **given)


def test_transfers() -> None:
    done = Transferred(ORIGIN, 5.5, Action.DOWNLOAD, "quota", "/f", "/srv/f", 3, 0.25, "full", first=False)
    found = one(done)
    assert (found.trigger, found.event, found.status, found.error) == (Trigger.FILE, "download", 3, "full")
    assert (found.virtual_path, found.fs_path, found.size, found.elapsed) == ("/f", "/srv/f", 3, 250)
    assert (found.name, found.protocol, found.ip) == ("ana", "SFTP", "192.0.2.9")
    # The size is that of the file where that is known, as of an upload that was added to.
    assert one(done._replace(file_size=9)).size == 9
    assert one(done._replace(file_size=0)).size == 0
    first = facts_of(done._replace(first=True, status="ok"), "o-1")
    assert [(two.event, two.id, two.status) for two in first] == [
        ("download", "o-1", 1),
        ("first-download", "o-1", 1),
    ]


@pytest.mark.parametrize(("action", "event"), [
    (Action.REMOVE, "delete"), (Action.RENAME, "rename"), (Action.MKDIR, "mkdir"), (Action.RMDIR, "rmdir"),
    (Action.COPY, "copy"), (Action.SSH_COMMAND, "ssh_cmd"),
])  # fmt: skip
def test_operations(action: Action, event: str) -> None:
    done = Operated(
        origin=ORIGIN, at=5.5, action=action, virtual_path="/a", virtual_target_path="/b", file_path="/srv/a",
        target_path="/srv/b", size=4, elapsed=0.5,
    )  # fmt: skip
    found = one(done)
    assert (found.event, found.virtual_path, found.virtual_target_path) == (event, "/a", "/b")
    assert (found.fs_path, found.fs_target_path) == ("/srv/a", "/srv/b")
    assert (found.size, found.elapsed, found.status, found.ssh_command) == (4, 500, 1, "")


def test_commands() -> None:
    done = Operated(
        origin=ORIGIN,
        at=5.5,
        action=Action.SSH_COMMAND,
        virtual_path="/a",
        ssh_command="md5sum /a b",
        exit_status=1,
    )
    assert (one(done).ssh_command, one(done).status) == ("md5sum", 2)
    fine = Operated(
        origin=ORIGIN, at=5.5, action=Action.SSH_COMMAND, virtual_path="/a", ssh_command="pwd", exit_status=0
    )
    assert (one(fine).ssh_command, one(fine).status) == ("pwd", 1)


def test_what_no_rule_hears_of() -> None:
    assert facts_of(Operated(origin=ORIGIN, action=Action.CHMOD, virtual_path="/a")) == ()
    assert facts_of(Disconnected(origin=ORIGIN)) == ()
    assert facts_of(change(channel="hook")) == ()
    assert facts_of(change(action="change", fields=("used_quota_size", "used_quota_files"))) == ()
    assert facts_of(change(action="change", fields=("used_upload_data_transfer",))) == ()
    assert facts_of(change(action="change", fields=("used_quota_size", "status"))) != ()
    assert facts_of(change(action="remove", fields=())) != ()


@pytest.mark.parametrize(("action", "event"), [("add", "add"), ("change", "update"), ("remove", "delete")])
def test_changes_of_records(action: str, event: str) -> None:
    found = one(change(action=action, record='{"a":1}'))
    assert (found.trigger, found.event, found.name) == (Trigger.PROVIDER, event, "ana")
    assert (found.object_type, found.object_name, found.object_data) == ("user", "u1", '{"a":1}')


def test_who_has_changed_their_own_record() -> None:
    assert one(change(own=True)).name == "__self__"


@pytest.mark.parametrize("kind", list(ListKind))
def test_entries_of_lists_are_named_as_by_sftpgo(kind: ListKind) -> None:
    name = entry_name(kind, "2001:db8::/32")
    assert name_of_told(told_name(name)) == name
    found = one(change(kind="ip_list", name=entry_name(ListKind.DEFENDER, "192.0.2.0/24")))
    assert (found.object_type, found.object_name) == ("ip_list_entry", "Defender-192.0.2.0/24")


@pytest.mark.parametrize("name", ["", "x", "9/192.0.2.0/24", "x/y"])
def test_names_that_no_list_has_stay(name: str) -> None:
    assert told_name(name) == name
    assert name_of_told("Nobody-192.0.2.0/24") == "Nobody-192.0.2.0/24"


def test_logins_bans_and_marks() -> None:
    found = one(LoggedIn(origin=ORIGIN, at=5.5))
    assert (found.trigger, found.event, found.status) == (Trigger.LOGIN, "login", 1)
    found = one(LoginFailed(origin=ORIGIN, at=5.5, reason="disabled"))
    assert (found.event, found.status, found.error) == ("login-failed", 2, "disabled")
    found = one(Banned(origin=ORIGIN, at=5.5, source="198.51.100.0/24"))
    assert (found.trigger, found.event, found.ip) == (Trigger.IP_BLOCKED, "IP Blocked", "198.51.100.0/24")
    found = one(QuotaWarning(origin=ORIGIN, at=5.5, limit="quota_size", percent=90, used=9, allowed=10))
    assert (found.trigger, found.event, found.size) == (Trigger.QUOTA, "quota", 9)
    assert (found.object_name, found.error) == ("quota_size", "quota_size at 90 %: 9 of 10")


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("[]", "object"),
        ('{"name":"x"}', "object"),
        ('{"event":"upload","trigger":99}', "trigger"),
        ('{"event":"upload","trigger":"x"}', "trigger"),
        ('{"event":"upload","size":"6"}', "size"),
        ('{"event":"upload","size":true}', "size"),
        ('{"event":"upload","name":7}', "name"),
        ('{"event":"upload","client_gone":1}', "client_gone"),
        ('{"event":"upload","groups":"g"}', "groups"),
        ('{"event":"upload","groups":[1]}', "groups"),
    ],
)
def test_files_of_events_that_say_something_else(text: str, word: str) -> None:
    with pytest.raises(ValueError, match=word):
        decode_facts(text)


def test_files_of_events() -> None:
    found = decode_facts('{"event":"upload","groups":["g"],"nosuch":1,"reports":[["a","b"]],"size":0}')
    assert (found.trigger, found.event, found.groups) == (Trigger.FILE, "upload", ("g",))
    assert (found.size, found.reports) == (0, ())
    assert Facts(trigger=Trigger.FILE, event="x").file_size == 0
    assert Facts(trigger=Trigger.FILE, event="x", size=5).file_size == 5
