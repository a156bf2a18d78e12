# SPDX-License-Identifier: Apache-2.0
"""Each small dump of SFTPGo that once came out wrong, with the outcome that is right."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from tests.support.moved import HASH, dump_file, move

from tidegate.accounts.lists import decode_entry
from tidegate.backends.factory import StorageKinds
from tidegate.errors import BadRecords
from tidegate.model import GroupUse, Intent, VPath
from tidegate.policy.charges import Allowances, allowances_for
from tidegate.policy.folders import storage_at
from tidegate.policy.login import check_login
from tidegate.policy.second_factor import (
    asks_code,
    has_to_set_up,
    recovery_code_fits,
    recovery_codes_of,
    totp_of,
)

GET, PUT, MKDIR = Intent.DOWNLOAD, Intent.UPLOAD, Intent.MKDIR
RENAME, RENAME_DIR, DELETE = Intent.RENAME_FILE, Intent.RENAME_DIR, Intent.DELETE_FILE


def person(name: str, **fields: object) -> dict[str, object]:
    return {
        "username": name,
        "status": 1,
        "password": HASH,
        "home_dir": f"/srv/{name}",
        "permissions": {"/": ["*"]},
        **fields,
    }


async def test_i01_folders_on_storage_that_is_not_here_cannot_be_reached() -> None:
    moved = await move("i01")

    carla = moved.users["carla"]
    vault, bucket = (storage_at(carla, VPath.parse(path)) for path in ("/vault/n", "/bucket/n"))
    assert "SFTPGo has encrypted" in (StorageKinds().mistake(vault) or "")
    assert bucket.config.kind == "s3"  # never the directory that the folder names too
    assert storage_at(carla, VPath.parse("/n")).config.is_local


async def test_i01_a_folder_that_only_the_user_describes_keeps_its_storage() -> None:
    mount = {"name": "v", "virtual_path": "/v", "mapped_path": "/srv/v", "filesystem": {"provider": 4}}
    moved = await move({"users": [person("ana", virtual_folders=[mount])], "version": 17})

    assert moved.folders["v"].filesystem.kind == "crypt"
    assert StorageKinds().mistake(storage_at(moved.users["ana"], VPath.parse("/v/x")))


async def test_i02_a_group_restricts_its_members() -> None:
    gerd = (await move("i02")).users["gerd"]

    assert gerd.permissions == {"/": ("list",)}
    assert gerd.filters.denied_ip == ("127.0.0.0/8",)
    assert gerd.filters.denied_protocols == ("SSH",)


async def test_i02_a_group_that_the_dump_does_not_hold_closes_the_account() -> None:
    user = person("ana", groups=[{"name": "gone", "type": 2}, {"name": "any", "type": 3}])

    moved = await move({"users": [user], "version": 17})

    assert moved.users["ana"].status == 0
    assert "users[0] (ana): groups: comes in disabled: group 'gone' is not in the dump" in moved.notes
    assert (await move({"users": [user], "version": 17}, open=frozenset(["ana"]))).users["ana"].status == 1


@pytest.mark.parametrize(
    "fields",
    [
        {"groups": 5},
        {"groups": [{"name": "g"}]},
        {"groups": [{"name": "g", "type": 7}]},
        {"filters": {"two_factor_protocols": "SSH"}},
        {"filters": {"denied_things": {"inner": [1]}}},
    ],
)
async def test_what_cannot_be_read_restricts(fields: dict[str, object]) -> None:
    dump = {"users": [person("ana", **fields)], "groups": [{"name": "g", "user_settings": {}}], "version": 17}
    assert (await move(dump)).users["ana"].status == 0


async def test_i03_a_second_factor_goes_on() -> None:
    moved = await move("i03")
    assert {name: user.status for name, user in moved.users.items()} == {"tina": 1, "toto": 1}
    assert has_to_set_up(moved.users["tina"], "SSH")
    assert asks_code(moved.users["toto"], "SSH")
    assert not asks_code(moved.users["toto"], "HTTP")
    assert "JBSWY3DPEHPK3PXP" in str(moved.users["toto"].filters.extra)


@pytest.mark.parametrize(
    ("secret", "why"),
    [
        ({"status": "Secretbox", "payload": "x", "key": "y"}, "is encrypted (Secretbox)"),
        ({"status": "Plain", "payload": "AAAA"}, "has 2 bytes"),
        ({"status": "Plain", "payload": "1!"}, "is not base32"),
        ({}, "has 0 bytes"),
        (7, "has 0 bytes"),
    ],
)
async def test_a_second_factor_that_cannot_be_read_closes_the_account_unless_told_otherwise(
    secret: object, why: str, caplog: pytest.LogCaptureFixture
) -> None:
    totp = {"enabled": True, "config_name": "Default", "secret": secret, "protocols": ["SSH", "HTTP"]}
    dump = {
        "users": [person("ana", filters={"totp_config": totp})],
        "admins": [{"username": "root", "permissions": ["*"], "filters": {"totp_config": totp}}],
        "version": 17,
    }
    moved = await move(dump)
    assert (moved.users["ana"].status, moved.admins["root"].status) == (0, 0)
    assert f"users[0] (ana): filters.totp_config: comes in disabled: its secret {why}" in moved.notes

    moved = await move(dump, open=frozenset(["ana"]))
    assert (moved.users["ana"].status, moved.admins["root"].status) == (1, 0)
    assert "(ana) comes in open, as told, although filters.totp_config is not carried" in caplog.text


async def test_recovery_codes_come_in_as_hashes() -> None:
    codes = [
        {"secret": {"status": "Plain", "payload": "RC-ABCDEF"}},
        {"secret": {"status": "Plain", "payload": "RC-XYZ"}, "used": True},
        {"secret": {"status": "Secretbox", "payload": "x"}},
        "odd",
    ]
    moved = await move({"users": [person("ana", filters={"recovery_codes": codes})], "version": 17})
    held = recovery_codes_of(moved.users["ana"].filters)
    assert [one["used"] for one in held] == [False, True]
    assert recovery_code_fits("rc-abcdef", held[0]["secret"])
    assert "ABCDEF" not in str(held)


async def test_i04_administrators_gain_nothing() -> None:
    moved = await move("i04")

    assert {name: admin.status for name, admin in moved.admins.items()} == {"rolf": 1, "zwei": 1, "totp": 1}
    assert moved.admins["rolf"].role == "north" == moved.users["nora"].role
    assert moved.admins["zwei"].filters.require_two_factor
    assert totp_of(moved.admins["totp"].filters).enabled


async def test_i05_an_allow_list_of_2_3_and_later_speaks_of_directories() -> None:
    moved = await move("i05")

    for intent, path in ((GET, "/sub/a.txt"), (PUT, "/sub/a.txt"), (MKDIR, "/nd"), (DELETE, "/sub/a.txt")):
        assert not moved.may("alma", intent, path), path
    assert moved.may("alma", GET, "/a.txt")
    assert not moved.may("alma", Intent.LIST, "/sub", is_dir=True)


async def test_i06_an_exclamation_mark_negates_nothing() -> None:
    moved = await move("i06")
    (entry,) = next(iter(moved.users.values())).filters.file_patterns
    assert r"[\!a]*" in (*entry.allowed_patterns, *entry.denied_patterns)


@pytest.mark.parametrize(
    ("dump", "user", "refused", "allowed"),
    [
        ("i07-", "otto", ("/a.exe.txt",), ("/a.txt",)),
        ("i07b", "olga", ("/secret.txt", "/s1.txt"), ("/a.txt",)),
    ],
)
async def test_i07_denied_patterns_came_first(
    dump: str, user: str, refused: tuple[str, ...], allowed: tuple[str, ...]
) -> None:
    moved = await move(dump)

    assert not any(moved.may(user, GET, path) for path in refused)
    assert all(moved.may(user, GET, path) for path in allowed)


async def test_i07_format_16_is_read_as_the_stricter_until_the_release_is_named() -> None:
    entry = {"path": "/", "allowed_patterns": ["*.txt"], "denied_patterns": ["s*.txt"]}
    dump = {"users": [person("ana", filters={"file_patterns": [entry]})], "version": 16}

    moved = await move(dump)
    assert not moved.may("ana", GET, "/s.txt")
    assert "--from-version" in moved.notes
    assert (await move(dump, from_version="2.5.6")).may("ana", GET, "/s.txt")
    assert not (await move(dump, from_version="2.5.1")).may("ana", GET, "/s.txt")


@pytest.mark.parametrize("dump", ["i08-", "i08b", "i08c"])
async def test_i08_two_names_never_become_one_account(dump: str) -> None:
    with pytest.raises(BadRecords) as caught:
        await move(dump, naming_rules=5)

    assert len(caught.value.mistakes) == 2
    for mistake in caught.value.mistakes:
        assert "users[0] and users[1]" in mistake
    moved = await move(dump, naming_rules=5, leave_out=True)
    assert not moved.users
    assert moved.notes.count("left out:") == 2


async def test_i08_a_name_that_changes_is_told() -> None:
    moved = await move({"users": [person(" Lea")], "version": 17}, naming_rules=7)

    assert list(moved.users) == ["lea"]
    assert "users[0] ( Lea): username: is 'lea' here" in moved.notes


async def test_i09_an_allowed_network_inside_a_denied_one() -> None:
    account = next(iter((await move("i09")).users.values()))

    def steps(ip: str) -> bool:
        trail = check_login(account, protocol="SFTP", method="password", ip=ip, now_ms=1)
        return all(step.verdict != "deny" for step in trail)

    assert steps("127.0.0.1")
    assert not steps("203.0.113.9")


@pytest.mark.parametrize("dump", ["i10-", "i10b", "i10c", "i10d", "i10e", "i10g", "i10h", "i10i"])
async def test_i10_what_has_a_clear_meaning_is_converted(dump: str) -> None:
    moved = await move(dump)

    assert len(moved.users) == 1
    assert {user.status for user in moved.users.values()} == {1}
    assert moved.report.notes


async def test_i10_what_the_conversions_mean() -> None:
    assert (await move("i10b")).users["quin"].quota_size == 0
    assert (await move("i10c")).users["udo"].uid == 0
    assert ".." not in (await move("i10d")).users["dora"].home_dir
    moved = await move("i10e")
    refused = [path for path in ("/a.txt", "/sub/a.txt", "/ba.txt") if not moved.may("ezra", GET, path)]
    assert refused == ["/a.txt", "/sub/a.txt"]
    kira = (await move("i10g")).users["kira"]
    assert kira.public_keys[0].startswith("ssh-ed25519 ")
    assert kira.filters.allowed_ip == ("10.0.0.0/8",)
    moved = await move("i10h")
    assert moved.users["fred"].virtual_folders[0].name in moved.folders
    moved = await move("i10i")
    assert not moved.may("pef", GET, "/a.exe.txt")
    assert not moved.may("pef", GET, "/a.exe")
    assert moved.may("pef", GET, "/a.txt")


@pytest.mark.parametrize("option", ['from="!10.0.0.1,*"', 'command="date"', "cert-authority"])
async def test_i10_an_option_of_a_key_that_restricts_and_cannot_be_kept_closes(option: str) -> None:
    line = f"{option} ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIMB0F95bEdpmOGsO23CL5GygtheejmwnWiunYL9DLGLU x"
    moved = await move({"users": [person("ana", public_keys=[line])], "version": 17})

    assert moved.users["ana"].status == 0
    assert option.split("=", maxsplit=1)[0] in moved.notes


async def test_i10f_every_mistake_is_told_at_once_by_name() -> None:
    bad = [person("ana"), person("bea", home_dir="relative"), person("cyd", permissions={"/": ["fly"]})]

    with pytest.raises(BadRecords) as caught:
        await move({"users": bad, "version": 17})

    first, second = caught.value.mistakes
    assert first.startswith("users[1] (bea).home_dir: 'relative'")
    assert second.startswith("users[2] (cyd).permissions[\"/\"][0]: 'fly'")
    moved = await move({"users": bad, "version": 17}, leave_out=True)
    assert list(moved.users) == ["ana"]
    assert "users[1] (bea): home_dir: left out: " in moved.notes


async def test_i11_keyboard_interactive_was_off_before_2_5() -> None:
    karl = (await move("i11")).users["karl"]

    denied = karl.filters.denied_login_methods
    assert "keyboard-interactive" in denied
    assert "password" in denied


async def test_i11_denying_the_last_single_method_opens_no_login_in_two_steps() -> None:
    filters = {"denied_login_methods": ["password", "publickey"]}
    moved = await move({"users": [person("ana", filters=filters)]})

    assert {"publickey+password", "publickey+keyboard-interactive"} < set(
        moved.users["ana"].filters.denied_login_methods
    )


async def test_i12_a_denied_star_frees_what_is_inside_allowed_directories() -> None:
    moved = await move("i12")
    assert moved.users["star"].filters.file_patterns[0].directories == "whole"
    assert moved.may("star", Intent.LIST, "/pubdir", is_dir=True)
    for act in (GET, PUT, DELETE):
        assert moved.may("star", act, "/pubdir/a.txt")
        assert moved.may("star", act, "/pubdir/deep/er/a.txt")
        assert moved.may("star", act, "/pub.txt")
        assert not moved.may("star", act, "/other.txt")
        assert not moved.may("star", act, "/other/pub.txt")
    assert moved.may("star", MKDIR, "/pubdir/new")
    assert not moved.may("star", MKDIR, "/new")


async def test_i12_before_2_5_2_the_star_was_asked_first_and_freed_nothing() -> None:
    patterns = [{"path": "/", "allowed_patterns": ["pub*"], "denied_patterns": ["*"]}]
    moved = await move({"users": [person("star", filters={"file_patterns": patterns})], "version": 13})
    assert not moved.may("star", GET, "/pubdir/a.txt")
    assert not moved.may("star", GET, "/pub.txt")


async def test_i13_renaming_a_directory_took_both_permissions() -> None:
    moved = await move("i13")
    assert not moved.may("rena", RENAME_DIR, "/mydir", target="/yours")
    assert "rename_dirs" in moved.notes


async def test_i13_rename_dirs_alone_closes() -> None:
    moved = await move({"users": [person("ana", permissions={"/": ["rename_dirs"]})], "version": 17})
    assert moved.users["ana"].status == 0
    assert "rename_dirs is all that is given for '/'" in moved.notes


async def test_i14_an_unknown_restriction_closes() -> None:
    moved = await move("i14")
    assert moved.users["neu"].status == 0
    assert "filters.denied_countries" in moved.notes
    assert "format 18 is newer" in moved.notes


async def test_i15_lists_of_addresses_come_over() -> None:
    moved = await move("i15")
    assert "ip_lists" not in moved.notes
    found = json.loads(dump_file("i15").read_text())["ip_lists"]
    entry = decode_entry(found[0])
    assert (entry.type, entry.ipornet, entry.mode, entry.protocols) == (2, "127.0.0.1/32", 2, 7)


async def test_i15_shares_are_told_by_name() -> None:
    moved = await move("whole-2.7.5", leave_out=True)
    assert "s-read, s-write, s-rw, s-files" in moved.notes


async def test_i16_anonymous_users_come_in_by_ftp_and_webdav_alone() -> None:
    moved = await move("i16")
    anon = moved.users["anon"]
    assert (anon.status, anon.filters.is_anonymous) == (1, True)
    assert "anon" not in moved.notes
    came_in = {
        protocol: not any(
            step.verdict == "deny"
            for step in check_login(anon, protocol=protocol, method="password", ip="127.0.0.1", now_ms=1)
        )
        for protocol in ("SFTP", "FTP", "DAV", "HTTP")
    }
    assert came_in == {"SFTP": False, "FTP": True, "DAV": True, "HTTP": False}
    assert not moved.may("anon", PUT, "/x")


async def test_i17_a_password_of_unknown_age_counts_as_old() -> None:
    paul = (await move("i17")).users["paul"]

    trail = check_login(paul, protocol="SFTP", method="password", ip="127.0.0.1", now_ms=1_795_891_227_000)
    assert [step.rule for step in trail if step.verdict == "deny"] == ["password_expired"]


async def test_i18_a_group_gives_home_and_folder() -> None:
    gabi = (await move("i18")).users["gabi"]

    assert gabi.home_dir == "/srv/data/min-homes/grp_gabi"
    assert [(mount.name, mount.virtual_path) for mount in gabi.virtual_folders] == [("team", "/team")]


async def test_i19_a_star_in_a_path_of_0_9_is_a_star() -> None:
    moved = await move("i19")
    assert not moved.may("stella", PUT, "/d1/x")
    assert moved.may("stella", PUT, "/d*/x")


async def test_groups_in_their_order_with_placeholders() -> None:
    moved = await move("whole-2.7.5", leave_out=True)

    prim = moved.users["g-prim"]
    assert prim.permissions == {"/": ("list", "download"), "/up_g-prim": ("*",)}
    assert prim.home_dir.endswith("/grp_g-prim")
    assert (prim.max_sessions, prim.quota_size, prim.upload_bandwidth) == (3, 4096, 11)
    assert prim.filters.start_directory == "/home_g-prim"
    assert prim.filters.file_patterns[0].denied_patterns == ("*.exe",)
    assert [mount.virtual_path for mount in prim.virtual_folders] == ["/grp/g-prim"]
    second = moved.users["g-sec"]
    assert second.permissions["/"] == ("*",)
    assert not second.filters.file_patterns  # "/" of a secondary group says nothing
    assert (second.max_sessions, second.filters.denied_ip) == (0, ("10.0.0.0/8",))
    assert second.home_dir.endswith("/g-sec")
    assert not moved.users["g-memb"].virtual_folders
    assert moved.stored["g-prim"].permissions == {"/": ("*",)}
    assert moved.stored["g-prim"].groups == (GroupUse(name="gprim", type=1),)
    assert moved.groups["gprim"].user_settings.home_dir.endswith("/grp_%username%")
    flat = await move("whole-2.7.5", leave_out=True, flatten_groups=True)
    assert not flat.groups and not flat.stored["g-prim"].groups
    for name in ("g-prim", "g-sec", "g-memb", "g-ro-sec"):
        one, other = flat.users[name], moved.users[name]
        filters = replace(other.filters, ip_order=one.filters.ip_order)  # of one list it says nothing
        assert replace(one, id=0, virtual_folders=()) == replace(
            other, id=0, virtual_folders=(), groups=(), filters=filters
        )


async def test_patterns_without_a_path_are_of_the_root_and_others_stay_where_they_are() -> None:
    patterns = [{"denied_patterns": ["*.exe"]}, {"path": "/d", "denied_patterns": ["*.com"]}]
    moved = await move({"users": [person("ana", filters={"file_patterns": patterns})], "version": 17})
    found = {one.path: one.denied_patterns for one in moved.users["ana"].filters.file_patterns}
    assert found == {"/": ("*.exe",), "/d": ("*.com",)}


@pytest.mark.parametrize(("given", "there"), [({}, "/srv/f/ana"), ({"mapped_path": "/srv/g"}, "/srv/g")])
async def test_a_folder_of_a_group_is_where_the_mount_or_else_its_record_says(
    given: dict[str, str], there: str
) -> None:
    group = {
        "name": "g",
        "user_settings": {},
        "virtual_folders": [{"name": "v", "virtual_path": "/v", **given}],
    }
    dump = {
        "users": [person("ana", groups=[{"name": "g", "type": 1}])],
        "groups": [group],
        "folders": [{"name": "v", "mapped_path": "/srv/f/%username%"}],
        "version": 14,
    }
    (mount,) = (await move(dump)).users["ana"].virtual_folders
    assert mount.mapped_path == there


@pytest.mark.parametrize("version", [14, 17])
async def test_what_an_account_sets_itself_goes_before_its_primary_group(version: int) -> None:
    theirs = {"max_upload_file_size": 9, "password_strength": 50, "start_directory": "/theirs"}
    settings = {"quota_size": 9, "max_sessions": 7, "filters": theirs}
    users = [
        person("own", quota_size=5, filters={"max_upload_file_size": 4, "start_directory": "/own"}),
        person("none"),
    ]
    for user in users:
        user["groups"] = [{"name": "g", "type": 1}]
    group = {"name": "g", "user_settings": settings}
    moved = await move({"users": users, "groups": [group], "version": version})
    told = {
        name: (
            one.quota_size,
            one.max_sessions,
            one.filters.max_upload_file_size,
            one.filters.start_directory,
        )
        for name, one in moved.users.items()
    }
    assert told == {"own": (5, 7, 4, "/own"), "none": (9, 7, 9, "/theirs")}
    assert {one.filters.password_strength for one in moved.users.values()} == {50}


async def test_an_older_release_has_its_groups_resolved() -> None:
    group = {"name": "g", "user_settings": {"filters": {"denied_protocols": ["FTP"]}}}
    dump = {"users": [person("ana", groups=[{"name": "g", "type": 2}])], "groups": [group], "version": 14}
    moved = await move(dump)
    assert not moved.groups and not moved.stored["ana"].groups
    assert moved.stored["ana"].filters.denied_protocols == ("FTP",)
    assert "users[0] (ana): groups: g: now the account's own settings" in moved.notes


async def test_what_a_kept_group_restricts_and_is_not_carried_closes_its_members() -> None:
    group = {"name": "g", "user_settings": {"filters": {"denied_things": ["x"]}}}
    users = [person(name, groups=[{"name": "g", "type": kind}]) for name, kind in (("ana", 2), ("bob", 3))]
    moved = await move({"users": users, "groups": [group], "version": 17})
    assert {name: one.status for name, one in moved.stored.items()} == {"ana": 0, "bob": 1}
    assert "of group 'g': not known to this version and may restrict" in moved.notes


async def test_a_role_that_the_dump_does_not_hold() -> None:
    admin = {"username": "rolf", "password": HASH, "status": 1, "permissions": ["view_users"], "role": "r"}
    moved = await move({"users": [person("ana", role="r")], "admins": [admin], "version": 17})
    assert (moved.users["ana"].status, moved.users["ana"].role, moved.admins["rolf"].status) == (1, "", 0)


@pytest.mark.parametrize("key", ["subpath", "mapped_subdirectory"])
@pytest.mark.parametrize(("part", "there"), [("in", "/srv/v/in"), ("a//b/../c/.", "/srv/v/a/c")])
async def test_a_part_of_a_folder_becomes_a_folder(key: str, part: str, there: str) -> None:
    mount = {"name": "v", "virtual_path": "/v", "mapped_path": "/srv/v", key: part}
    whole = {"name": "v", "virtual_path": "/w", "mapped_path": "/srv/v", "subpath": ""}
    moved = await move({"users": [person("ana", virtual_folders=[mount, whole])], "version": 17})
    ana = moved.users["ana"]
    assert ana.status == 1
    found = {one.virtual_path: (one.name == "v", one.mapped_path) for one in ana.virtual_folders}
    assert found == {"/v": (False, there), "/w": (True, "/srv/v")}
    assert moved.folders["v"].mapped_path == "/srv/v"


async def test_a_part_of_storage_elsewhere_becomes_a_prefix() -> None:
    def mount(number: int, section: str, **config: Any) -> dict[str, Any]:
        return {
            "name": section,
            "virtual_path": f"/{section}",
            "mapped_path": f"/srv/{section}",
            "subpath": "in/x",
            "filesystem": {"provider": number, section: config},
        }

    mounts = [
        mount(1, "s3config", bucket="b", key_prefix="p/"),
        mount(2, "gcsconfig", bucket="b"),
        mount(5, "sftpconfig", endpoint="h:22", username="u", prefix="/p"),
    ]
    moved = await move({"users": [person("ana", virtual_folders=mounts)], "version": 17})
    found = [one.filesystem.options for one in moved.users["ana"].virtual_folders]
    prefixes = [next(iter(one.values())) for one in found]
    assert [one.get("key_prefix", one.get("prefix")) for one in prefixes] == ["p/in/x/", "in/x/", "/p/in/x"]


@pytest.mark.parametrize("opened", [False, True])
@pytest.mark.parametrize("part", ["/etc", "../etc", "a/../../b", "..", "\\x", 7, ["in"]])
async def test_a_part_that_leads_elsewhere_is_left_out_and_closes(part: object, opened: bool) -> None:
    mount = {"name": "v", "virtual_path": "/v", "mapped_path": "/srv/v", "subpath": part}
    dump = {"users": [person("ana", virtual_folders=[mount])], "version": 17}
    moved = await move(dump, open=frozenset({"ana"} if opened else ()))
    assert moved.users["ana"].status == int(opened)
    assert not moved.users["ana"].virtual_folders


async def test_parts_of_folders_with_long_names_are_different_folders() -> None:
    mounts = [
        {"name": "n" * 200 + end, "virtual_path": f"/{end}", "mapped_path": f"/srv/{end}", "subpath": "in"}
        for end in ("a", "b")
    ]
    moved = await move({"users": [person("ana", virtual_folders=mounts)], "version": 17})
    found = moved.users["ana"].virtual_folders
    assert {one.virtual_path: one.mapped_path for one in found} == {"/a": "/srv/a/in", "/b": "/srv/b/in"}
    assert len({one.name for one in found}) == 2


async def test_a_folder_that_only_its_record_describes_cannot_be_parted() -> None:
    folder = {"name": "v", "mapped_path": "/srv/v"}
    mount = {"name": "v", "virtual_path": "/v", "subpath": "in"}
    dump = {"users": [person("ana", virtual_folders=[mount])], "folders": [folder], "version": 17}
    moved = await move(dump)
    assert (moved.users["ana"].status, moved.users["ana"].virtual_folders) == (0, ())


@pytest.mark.parametrize("flatten", [False, True])
async def test_a_part_that_a_group_names_by_its_user(flatten: bool) -> None:
    mount = {"name": "v", "virtual_path": "/v", "mapped_path": "/srv/v", "subpath": "%username%/in"}
    group = {"name": "g", "user_settings": {}, "virtual_folders": [mount]}
    users = [person(name, groups=[{"name": "g", "type": 1}]) for name in ("ana", "bob")]
    moved = await move({"users": users, "groups": [group], "version": 17}, flatten_groups=flatten)
    places = {name: [one.mapped_path for one in moved.users[name].virtual_folders] for name in moved.users}
    assert places == {"ana": ["/srv/v/ana/in"], "bob": ["/srv/v/bob/in"]}


@pytest.mark.parametrize("kept", [False, True])
async def test_allowances_by_network(kept: bool) -> None:
    limits = [{"sources": ["10.0.0.0/8"], "upload_data_transfer": 3, "total_data_transfer": -1}]
    theirs = [{"sources": ["::/0", "0.0.0.0/0"], "download_data_transfer": 4}]
    group = {"name": "g", "user_settings": {"filters": {"data_transfer_limits": theirs}}}
    ana = person("ana", filters={"data_transfer_limits": limits}, groups=[{"name": "g", "type": 2}])
    ana["total_data_transfer"] = 9
    moved = await move({"users": [ana], "groups": [group], "version": 17 if kept else 13})
    found = moved.users["ana"]
    assert found.status == 1
    assert allowances_for(found, "10.1.1.1") == Allowances(3, 0, 0, "data_transfer_limits[0]")
    assert allowances_for(found, "192.0.2.1") == Allowances(0, 4, 0, "data_transfer_limits[1]")
    assert allowances_for(found, "unix") == Allowances(0, 0, 9)


@pytest.mark.parametrize(
    ("given", "size", "files"),
    [({"quota_size": 5}, 5, 0), ({"quota_files": 7}, 0, 7), ({"quota_size": -1}, 0, 0), ({}, -1, -1)],
)
async def test_a_quota_of_a_mount_that_is_not_given_is_0_if_the_other_is(
    given: dict[str, int], size: int, files: int
) -> None:
    mount = {"name": "v", "virtual_path": "/v", "mapped_path": "/srv/v", **given}
    moved = await move({"users": [person("ana", virtual_folders=[mount])], "version": 17})
    (found,) = moved.users["ana"].virtual_folders
    assert (found.quota_size, found.quota_files) == (size, files)


async def test_notes_are_grouped_and_what_restricts_is_never_cut() -> None:
    users = [person(f"u{n}", filters={"web_client": ["shares-disabled"]}) for n in range(1500)]
    users += [person(f"z{n}", filters={"denied_things": ["x"]}) for n in range(1200)]
    moved = await move({"users": users, "version": 17})

    assert "1500 users (u0, u1, u2, and 1497 more): filters.web_client: mfa-disabled holds" in moved.notes
    assert sum("comes in disabled" in note for note in moved.report.notes) == 1200


async def test_what_is_empty_inside_asks_for_nothing() -> None:
    filters = {"hooks": {"external_auth_disabled": False}, "totp_config": {"secret": {}}}
    moved = await move({"users": [person("ana", filters=filters)], "version": 17})
    assert not any("ana" in note for note in moved.report.notes)


async def test_patterns_of_permissions_that_meet_give_what_both_give() -> None:
    """A map of Go has no order, so either of two patterns that match may have decided there."""
    moved = await move(
        {
            "version": 17,
            "users": [
                {
                    "username": "ana",
                    "status": 1,
                    "home_dir": "/srv/ana",
                    "permissions": {
                        "/*": ["list"],
                        "/[ab]": ["*"],
                        "/in/*": ["upload"],
                        "/out/*": ["*"],
                        "/": ["*"],
                    },
                }
            ],
        }
    )
    assert dict(moved.users["ana"].permissions) == {
        "/*": ("list",),
        "/[ab]": ("list",),
        "/in/*": ("upload",),
        "/out/*": ("*",),
        "/": ("*",),
    }


async def test_i21_extensions_of_0_9_speak_of_files_alone() -> None:
    """Finding I21: a directory or its attributes were never judged by an extension."""
    rules = [{"path": "/", "denied_extensions": [".exe"]}]
    moved = await move({"users": [person("ext", filters={"file_extensions": rules})]})
    assert moved.may("ext", MKDIR, "/x.exe")
    assert moved.may("ext", Intent.CHMOD, "/x.exe", is_dir=True)
    assert not moved.may("ext", PUT, "/x.exe")
    assert not moved.may("ext", GET, "/x.exe")


async def test_i26_an_extension_in_capitals_let_nothing_through() -> None:
    """Finding I26: it was compared with the lower-cased path, so it matched no name."""
    rules = [{"path": "/", "allowed_extensions": [".JPG"]}]
    moved = await move({"users": [person("cap", filters={"file_extensions": rules})]})
    for name in ("/photo.jpg", "/photo.JPG"):
        assert not moved.may("cap", GET, name)
        assert not moved.may("cap", DELETE, name)
    assert "'.JPG' was compared with lower-cased names and so matched none" in moved.notes


async def test_i23_administrators_and_keys_keep_their_dates() -> None:
    """Finding I23."""
    dump = json.loads(dump_file("whole-2.7.5").read_text())
    moved = await move(dump, leave_out=True)
    assert {name: admin.created_at for name, admin in moved.admins.items()} == {
        admin["username"]: admin["created_at"] for admin in dump["admins"]
    }
    assert {key.id: key.created_at for key in moved.keys.values()} == {
        key["id"]: key["created_at"] for key in dump["api_keys"]
    }
