# SPDX-License-Identifier: Apache-2.0
"""Accounts, folders, administrators and backup from the command line, on a real SQLite provider."""

import json
import shutil
import stat
from pathlib import Path
from typing import Any

import pytest
from tests.support.command_line import Result, tidegate

from tidegate.accounts.keys import fingerprint
from tidegate.identity.passwords import verify

KEY_A = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIMB0F95bEdpmOGsO23CL5GygtheejmwnWiunYL9DLGLU alice@laptop"
KEY_B = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIBd0F95bEdpmOGsO23CL5GygtheejmwnWiunYL9DLGLU"
QUICK = {
    "TIDEGATE_DATA_PROVIDER__PASSWORD_HASHING__ARGON2_OPTIONS__MEMORY": "64",
    "TIDEGATE_DATA_PROVIDER__PASSWORD_HASHING__ARGON2_OPTIONS__PARALLELISM": "1",
}


class Place:
    """A configuration directory and commands in it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.environ = dict(QUICK)

    def __call__(self, *args: str | Path, stdin: str = "") -> Result:
        return tidegate(*args, "--config-dir", self.path, stdin=stdin, environ=self.environ)

    def ok(self, *args: str | Path, stdin: str = "") -> Result:
        result = self(*args, stdin=stdin)
        assert (result.code, result.err) == (0, "")
        return result

    def user(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = self.ok("user", "show", name, "--json").json
        return found

    def stored(self, name: str) -> dict[str, Any]:
        dump = json.loads(self.path.joinpath(self.ok_dump()).read_text())
        return next(user for user in dump["users"] if user["username"] == name)

    def ok_dump(self) -> str:
        self.ok("dumpdata", self.path / "dump.json")
        return "dump.json"


@pytest.fixture(scope="module")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh database, made once: migrations are not what these tests are about."""
    made = Place(tmp_path_factory.mktemp("migrated"))
    made.ok("initprovider")
    return made.path / "tidegate.db"


@pytest.fixture
def place(tmp_path: Path, migrated: Path) -> Place:
    shutil.copy(migrated, tmp_path / "tidegate.db")
    return Place(tmp_path)


def test_add_with_password_from_standard_input(place: Place) -> None:
    result = place.ok("user", "add", "alice", "--password-stdin", stdin="s3cret word\nrest\n")

    assert result.out.splitlines() == [
        f"added alice: home {place.path}/files/alice, may list, download in /",
        f"to allow more: tidegate user set alice --permission '/:*' -c {place.path}",
    ]
    assert verify("s3cret word", place.stored("alice")["password"])
    assert place.user("alice")["last_password_change"] > 0


def test_password_from_a_file_and_never_on_the_command_line(place: Place) -> None:
    secret = place.path / "secret"
    secret.write_text("from a file\n")
    place.ok("user", "add", "alice", "--password-file", secret)

    refused = place("user", "add", "bob", "--password", "x")

    assert verify("from a file", place.stored("alice")["password"])
    assert refused.code == 1
    assert refused.err.startswith("tidegate: No such option: --password")


@pytest.mark.parametrize(
    ("args", "stdin", "error"),
    [
        ([], "", "no terminal to ask for the password: use --password-stdin or --password-file"),
        (["--password-stdin"], "", "password: standard input is empty"),
        (["--password-stdin"], "\nx\n", "password: the first line is empty"),
        (["--password-file", "-"], "\n", "password: standard input is empty"),
        (["--password-stdin", "--password-file", "x"], "y", "give --password-stdin or --password-file, not both"),
        (["--password-file", "/nonexistent/p"], "", "password: /nonexistent/p: No such file or directory"),
        (["--password-stdin", "-g", "list"], "x", "--permission: 'list' is not of the form /dir:list,download"),
        (["--password-stdin", "--quota-size", "ten"], "x", "Invalid value: 'ten' is not a size such as 500, 10K, 2M, 5G"),
        (["--password-stdin", "--expires", "soon"], "x", "--expires: 'soon' is not a date such as 2026-12-31, or never"),
        (["-k", "/nonexistent/k"], "", "--public-key: /nonexistent/k: No such file or directory"),
        (["--password-stdin", "--allowed-ip", "300.1.1.1"], "x", "filters.allowed_ip[0]"),
        (["--password-stdin", "-g", "/:fly"], "x", "'fly' is not one of"),
        (["--password-stdin", "--document", "/nonexistent/d"], "x", "--document: /nonexistent/d: No such file or directory"),
    ],
)  # fmt: skip
def test_bad_input_is_one_line_and_adds_nobody(place: Place, args: list[str], stdin: str, error: str) -> None:
    result = place("user", "add", "alice", *args, stdin=stdin)

    assert result.code == 1
    assert result.out == ""
    assert result.err.startswith("tidegate: ")
    assert result.err.count("\n") == 1
    assert error in result.err
    assert place.ok("user", "list", "--json").json == []


def test_all_flags_arrive(place: Place) -> None:
    keys = place.path / "keys.pub"
    keys.write_text(f"# mine\n{KEY_A}\n{KEY_B}\n")
    place.ok(
        "user", "add", "alice", "--home", "/srv/alice", "-g", "/:list", "-g", "/in:upload,overwrite", "-g", "/out:",
        "-k", keys, "--quota-size", "10G", "--quota-files", "7", "--max-sessions", "3", "--upload-bandwidth", "100",
        "--download-bandwidth", "200", "--uid", "1001", "--gid", "1002", "--expires", "2030-01-02",
        "--allowed-ip", "10.0.0.0/8", "--denied-ip", "10.1.1.1", "--email", "a@b.c", "--description", "x y", "--disable",
    )  # fmt: skip

    user = place.user("alice")

    assert user["home_dir"] == "/srv/alice"
    assert user["permissions"] == {"/": ["list"], "/in": ["upload", "overwrite"], "/out": []}
    assert user["public_keys"] == [KEY_A, KEY_B]
    assert (user["quota_size"], user["quota_files"], user["max_sessions"]) == (10 * 1024**3, 7, 3)
    assert (user["upload_bandwidth"], user["download_bandwidth"]) == (100, 200)
    assert (user["uid"], user["gid"], user["status"]) == (1001, 1002, 0)
    assert user["expiration_date"] == 1893628799000
    assert user["filters"]["allowed_ip"] == ["10.0.0.0/8"]
    assert user["filters"]["denied_ip"] == ["10.1.1.1/32"]
    assert (user["email"], user["description"]) == ("a@b.c", "x y")
    assert user["has_password"] is False
    assert "password" not in user


def test_set_changes_what_is_named_and_nothing_else(place: Place) -> None:
    place.ok(
        "user",
        "add",
        "alice",
        "--password-stdin",
        "-g",
        "/:list",
        "-g",
        "/in:upload",
        "--quota-files",
        "5",
        stdin="x",
    )
    before = place.stored("alice")

    place.ok(
        "user",
        "set",
        "alice",
        "-g",
        "/in:",
        "-g",
        "/out:download",
        "--quota-size",
        "1K",
        "--denied-ip",
        "1.2.3.4",
    )

    after = place.stored("alice")
    assert after["permissions"] == {"/": ["list"], "/out": ["download"]}
    assert (after["quota_size"], after["quota_files"]) == (1024, 5)
    assert after["filters"]["denied_ip"] == ["1.2.3.4/32"]
    assert after["password"] == before["password"]
    place.ok("user", "set", "alice", "--denied-ip", "", "--expires", "never", "--enable")
    assert place.user("alice")["filters"]["denied_ip"] == []

    assert place("user", "set", "alice").err.startswith("tidegate: nothing to change")
    assert place("user", "set", "bob", "--enable").err == "tidegate: no such user: bob\n"


def test_document_sets_any_field_and_hashes_a_plain_password(place: Place) -> None:
    document = place.path / "doc.json"
    document.write_text(
        json.dumps(
            {
                "password": "in plain",
                "permissions": {"/": ["*"]},
                "filters": {"file_patterns": [{"path": "/", "denied_patterns": ["*.exe"]}]},
                "quota_size": 5,
            }
        )
    )

    place.ok("user", "add", "alice", "--document", document, "--quota-size", "6")

    stored = place.stored("alice")
    assert verify("in plain", stored["password"])
    assert stored["quota_size"] == 6
    assert stored["filters"]["file_patterns"][0]["denied_patterns"] == ["*.exe"]

    shown = place.ok("user", "show", "alice", "--json").out
    (place.path / "again.json").write_text(shown)
    place.ok("user", "set", "alice", "--document", place.path / "again.json")
    assert place.stored("alice")["password"] == stored["password"]

    document.write_text('{"pasword": "x"}')
    assert "pasword" in place("user", "set", "alice", "--document", document).err
    document.write_text("[1]")
    assert place("user", "set", "alice", "--document", document).err.endswith("expected one JSON object\n")


def test_passwd_and_least_strength(place: Place) -> None:
    place.ok("user", "add", "alice", "--password-stdin", stdin="first")
    place.ok("user", "passwd", "alice", "--password-stdin", stdin="second")
    assert verify("second", place.stored("alice")["password"])

    place.environ["TIDEGATE_DATA_PROVIDER__PASSWORD_VALIDATION__USERS__MIN_ENTROPY"] = "70"
    weak = place("user", "passwd", "alice", "--password-stdin", stdin="abc123")
    assert weak.err.startswith("tidegate: the password is too weak: ")
    assert "abc123" not in weak.err
    assert verify("second", place.stored("alice")["password"])


def test_an_account_may_ask_for_stronger_passwords_than_the_configuration(place: Place) -> None:
    document = place.path / "strict.json"
    document.write_text('{"filters": {"password_strength": 70}, "password": "abc123"}')
    weak = place("user", "add", "alice", "--document", document)
    assert weak.err.startswith("tidegate: the password is too weak: ")
    document.write_text('{"filters": {"password_strength": 70}}')
    place.ok("user", "add", "alice", "--document", document, "--password-stdin", stdin="Vq7!xLp2#Rt9wz")
    weak = place("user", "passwd", "alice", "--password-stdin", stdin="abc123")
    assert weak.err.startswith("tidegate: the password is too weak: ")
    assert verify("Vq7!xLp2#Rt9wz", place.stored("alice")["password"])


def test_keys(place: Place) -> None:
    first, second = place.path / "a.pub", place.path / "b.pub"
    first.write_text(KEY_A)
    second.write_text(KEY_B)
    place.ok("user", "add", "alice", "-k", first)

    result = place.ok("user", "key", "alice", "--add", second, "--add", first, "--json")
    assert [row["fingerprint"] for row in result.json] == [fingerprint(KEY_A), fingerprint(KEY_B)]
    assert result.json[0]["comment"] == "alice@laptop"

    place.ok("user", "key", "alice", "--remove", fingerprint(KEY_A))
    assert place.user("alice")["public_keys"] == [KEY_B]
    assert (
        place("user", "key", "alice", "--remove", "SHA256:x").err == "tidegate: alice has no key SHA256:x\n"
    )

    private = place.path / "id"
    private.write_text("-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n-----END OPENSSH PRIVATE KEY-----\n")
    refused = place("user", "key", "alice", "--add", private)
    assert "private key" in refused.err
    assert "AAAA" not in refused.err


def test_list_show_and_del(place: Place) -> None:
    for name in ("bob", "alice"):
        place.ok("user", "add", name, "--password-stdin", stdin="x")

    assert [user["username"] for user in place.ok("user", "list", "--json").json] == ["alice", "bob"]
    rows = place.ok("user", "list").words
    assert rows[0][:2] == ["name", "status"]
    assert [row[0] for row in rows[2:]] == ["alice", "bob"]
    shown = place.ok("user", "show", "bob")
    assert ["username", "bob"] in shown.words
    assert "argon2" not in shown.out

    unasked = place("user", "del", "bob")
    assert unasked.err == "tidegate: no terminal to ask at: add --yes if you are sure\n"
    assert (
        place.ok("user", "del", "bob", "--yes").out == f"removed bob; files in {place.path}/files/bob stay\n"
    )
    assert place("user", "del", "bob", "--yes").err == "tidegate: no such user: bob\n"
    assert place("user", "add", "alice", "--password-stdin", stdin="x").code == 1


def test_a_name_cannot_drive_the_terminal(place: Place) -> None:
    place.ok("user", "add", "alice", "--password-stdin", "--description", "\x1b[2Jgone", stdin="x")

    assert "\x1b" not in place.ok("user", "show", "alice").out
    assert place("user", "show", "\x1b[2J").err == "tidegate: no such user: \\x1b[2J\n"
    assert place("user", "add", "../x", "--password-stdin", stdin="x").code == 1


def test_folders(place: Place) -> None:
    shared = place.path / "files" / "shared"
    assert place.ok("folder", "add", "pool", shared, "--description", "all").out == f"added pool: {shared}\n"
    assert place("folder", "add", "pool", shared).code == 1
    (place.path / "mount.json").write_text('{"virtual_folders": [{"name": "pool", "virtual_path": "/pool"}]}')
    place.ok("user", "add", "alice", "--password-stdin", "--document", place.path / "mount.json", stdin="x")

    assert place.ok("folder", "show", "pool", "--json").json["users"] == ["alice"]
    assert [folder["name"] for folder in place.ok("folder", "list", "--json").json] == ["pool"]
    assert "pool" in place.ok("folder", "list").out
    assert "alice" in place.ok("folder", "show", "pool").out
    place.ok("folder", "del", "pool", "-y")
    assert place.user("alice")["virtual_folders"] == []
    assert place("folder", "show", "pool").err == "tidegate: no such folder: pool\n"


def test_groups_and_roles(place: Place) -> None:
    homes = place.path / "files"
    made = place.ok("group", "add", "partners", "--home", f"{homes}/%username%", "--permission", "/:list")
    assert made.out == "added the group partners\n"
    added = place.ok("user", "add", "alice", "--group", "partners", "--password-stdin", stdin="x")
    assert added.out == "added alice: what it does not say itself comes from its groups\n"
    place.ok("user", "add", "bob", "--group", "partners:secondary", "--password-stdin", stdin="x")
    assert place("user", "set", "bob", "--group", "partners:third").code == 1
    changed = place.ok("group", "set", "partners", "--max-sessions", "2", "--denied-ip", "10.0.0.0/8")
    assert changed.out == "changed the group partners, which 2 accounts have\n"
    settings = place.ok("group", "show", "partners", "--json").json["user_settings"]
    assert (settings["max_sessions"], settings["permissions"]) == (2, {"/": ["list"]})
    told = place("explain", "--user", "alice", "--op", "upload", "--path", "/x", "--json").json
    assert told["inherited"]["max_sessions"] == ["partners"]
    assert "home_dir from group partners" in place("explain", "--user", "alice", "--op", "list").out
    assert "is used by alice, bob" in place("group", "del", "partners", "-y").err
    place.ok("user", "set", "alice", "--group", "", "--home", homes / "alice", "--permission", "/:*")
    place.ok("user", "set", "bob", "--group", "")
    place.ok("group", "del", "partners", "-y")
    assert place.ok("group", "list", "--json").json == []

    assert place.ok("role", "add", "emea", "--description", "d").out == "added the role emea\n"
    place.ok("user", "set", "alice", "--role", "emea")
    refused = place("admin", "add", "rolf", "--role", "emea", "--password-stdin", stdin="long enough")
    assert "who has one cannot have the permission *" in refused.err
    place.ok(
        "admin", "add", "rolf", "--role", "emea", "-g", "view_users", "--password-stdin", stdin="long enough"
    )
    shown = place.ok("role", "show", "emea", "--json").json
    assert (shown["users"], shown["admins"]) == (["alice"], ["rolf"])
    assert place("role", "del", "emea", "-y").code == 1
    place.ok("user", "set", "alice", "--role", "")
    place.ok("admin", "del", "rolf", "-y")
    place.ok("role", "set", "emea", "--description", "e")
    assert "emea" in place.ok("role", "list").out
    place.ok("role", "del", "emea", "-y")


def test_admins(place: Place) -> None:
    assert place.ok("admin", "add", "root", "--password-stdin", stdin="long enough").out == (
        "added administrator root: may *\n"
    )
    place.ok(
        "admin",
        "add",
        "viewer",
        "-g",
        "view_users,view_conns",
        "--allowed-ip",
        "10.0.0.0/8",
        "--password-stdin",
        stdin="x",
    )

    found = {admin["username"]: admin for admin in place.ok("admin", "list", "--json").json}
    assert sorted(found["viewer"]["permissions"]) == ["view_conns", "view_users"]
    assert found["viewer"]["filters"]["allow_list"] == ["10.0.0.0/8"]
    assert "password" not in found["root"]
    assert "viewer" in place.ok("admin", "list").out

    place.ok("admin", "passwd", "root", "--password-stdin", stdin="another one")
    dump = json.loads((place.path / place.ok_dump()).read_text())
    stored = next(admin for admin in dump["admins"] if admin["username"] == "root")
    assert verify("another one", stored["password"])
    place.ok("admin", "del", "viewer", "--yes")
    assert place("admin", "del", "viewer", "--yes").err == "tidegate: no such administrator: viewer\n"
    assert "'fly'" in place("admin", "add", "x", "-g", "fly", "--password-stdin", stdin="x").err


def test_dump_and_load(place: Place, tmp_path: Path, migrated: Path) -> None:
    for name in ("alice", "bob"):
        place.ok("user", "add", name, "--password-stdin", "--quota-files", "3", stdin=name)
    dump = tmp_path / "dump.json"
    place.ok("dumpdata", dump)
    before = dump.read_bytes()
    assert stat.S_IMODE(dump.stat().st_mode) == 0o600
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith(".dump")] == []

    other = Place(tmp_path / "other")
    other.path.mkdir()
    shutil.copy(migrated, other.path / "tidegate.db")
    other.ok("user", "add", "alice", "--password-stdin", stdin="kept")
    dry = other.ok("loaddata", dump, "--mode", "1", "--dry-run", "--json")
    assert dry.json == [
        {"kind": "user", "name": "alice", "action": "kept"},
        {"kind": "user", "name": "bob", "action": "added"},
    ]
    assert [user["username"] for user in other.ok("user", "list", "--json").json] == ["alice"]

    assert other.ok("loaddata", dump, "--mode", "1", "--json").json == dry.json
    assert verify("kept", other.stored("alice")["password"])
    result = other("loaddata", dump, "--scan-quota", "2")
    assert result.err == "note: files of 2 users are counted when the server starts\n"
    assert verify("alice", other.stored("alice")["password"])

    broken = tmp_path / "broken.json"
    broken.write_text(
        '{"users": [{"username": "new", "home_dir": "/x", "permissions": {"/": ["*"]}, "password": "p"}, {"username": ""}]}'
    )
    for extra in ([], ["--dry-run"]):
        refused = other("loaddata", broken, *extra)
        assert (refused.code, refused.out) == (1, "")
        assert "users[1]" in refused.err
    assert other("user", "show", "new").code == 1
    assert other("loaddata", tmp_path / "none.json").err == f"tidegate: {tmp_path}/none.json: no such file\n"
    assert before == dump.read_bytes()


def test_a_dump_that_fails_leaves_the_old_one(place: Place) -> None:
    dump = place.path / "dump.json"
    place.ok("dumpdata", dump)
    before = dump.read_bytes()

    assert "'nope' is not one of" in place("dumpdata", dump, "--scopes", "users,nope").err
    assert dump.read_bytes() == before
    assert [p.name for p in place.path.iterdir() if p.name.startswith(".dump")] == []


def test_provider_commands(tmp_path: Path) -> None:
    place = Place(tmp_path)
    assert "schema brought from version 0 to" in place.ok("initprovider").out
    assert "already up to date" in place.ok("initprovider").out
    place.ok("user", "add", "alice", "--password-stdin", stdin="x")

    assert place("resetprovider").err == "tidegate: no terminal to ask at: add --yes if you are sure\n"
    assert "there is no schema version 77" in place("revertprovider", "--to-version", "77", "--yes").err
    place.ok("resetprovider", "--yes")
    assert "no database of accounts here" in place("user", "list", "--json").err
    place.ok("initprovider")
    assert place.ok("user", "list", "--json").json == []


def test_explain(place: Place) -> None:
    place.ok("user", "add", "alice", "--password-stdin", "-g", "/:list", "-g", "/in:upload", stdin="x")

    allowed = place(
        "explain", "--user", "alice", "--op", "upload", "--path", "/in/x.exe", "--ip", "192.0.2.1"
    )
    refused = place("explain", "--user", "alice", "--op", "upload", "--path", "/x.exe", "--json")

    assert (allowed.code, allowed.out.splitlines()[0]) == (0, "ALLOWED  upload /in/x.exe")
    assert refused.code == 3
    assert (refused.json["allowed"], refused.json["decided_by"]["rule"]) == (False, "permissions[/]")
    assert place("explain", "--user", "bob", "--op", "list").err == "tidegate: no such user: bob\n"
    assert "operation 'fly'" in place("explain", "--user", "alice", "--op", "fly").err
    assert (
        "'GOPHER' is not a protocol; expected one of"
        in place("explain", "--user", "alice", "--op", "list", "--protocol", "GOPHER").err
    )


def test_imports(place: Place) -> None:
    passwd, shadow = place.path / "passwd", place.path / "shadow"
    passwd.write_text("root:x:0:0:root:/root:/bin/sh\nalice:x:1001:1001:Alice:/home/alice:/bin/sh\n")
    shadow.write_text(
        "alice:$6$saltsalt$qFmFH.bQmmtXzyBY0s9v7Oicd2z4XSIecDzlB5KiA2/jctKu9YterLp8wwnSq.qc.eoxqOmSuNp2xS0ktL3nh/:19000:0:99999:7:::\n"
    )

    dry = place("import", "unix", passwd, "--shadow", shadow, "--dry-run")
    assert dry.code == 0
    assert "dry run, nothing was changed: 1 to add, 0 to update, 0 to keep" in dry.out
    assert "$6$" not in dry.out + dry.err
    assert place.ok("user", "list", "--json").json == []

    done = place("import", "unix", passwd, "--shadow", shadow, "--json")
    assert [(row["name"], row["action"]) for row in done.json] == [("alice", "add")]
    assert place.stored("alice")["password"].startswith("$6$")

    pure = place.path / "pure"
    pure.write_text("bob:$1$abcdefgh$irWbblnpmw.5z7wgBnprh0:1002:1002::/home/bob/./::::::::::::\nbad line\n")
    refused = place("import", "pureftpd", pure)
    assert refused.code == 1
    assert "nothing was changed" in refused.err
    assert [user["username"] for user in place.ok("user", "list", "--json").json] == ["alice"]

    pro = place.path / "pro"
    pro.write_text("carol:$1$abcdefgh$irWbblnpmw.5z7wgBnprh0:1003:1003::/home/carol:/bin/false\n")
    assert place("import", "proftpd", pro).code == 0
    assert place.user("carol")["home_dir"] == "/home/carol"
    unreachable = place("import", "openbridge", "--port", "1", "--password-stdin", stdin="tops3cret")
    assert unreachable.code == 1
    assert unreachable.err.count("\n") == 1
    assert "tops3cret" not in unreachable.err


def test_folders_and_administrators_are_changed_field_by_field(place: Place) -> None:
    shared = place.path / "files" / "shared"
    place.ok("folder", "add", "pool", shared, "--description", "all")
    assert place.ok("folder", "set", "pool", "--directory", shared / "deeper").out == "changed pool\n"
    shown = place.ok("folder", "show", "pool", "--json").json
    assert (shown["mapped_path"], shown["description"]) == (str(shared / "deeper"), "all")
    assert (
        place("folder", "set", "pool").err
        == "tidegate: nothing to change: name --directory or --description\n"
    )
    assert (
        place("folder", "set", "pool", "--directory", "/").err
        == "tidegate: mapped_path: '/' is the whole host\n"
    )

    place.ok("admin", "add", "root", "--password-stdin", stdin="long enough")
    place.ok(
        "admin",
        "add",
        "viewer",
        "-g",
        "view_users",
        "--email",
        "v@example.com",
        "--password-stdin",
        stdin="x",
    )
    place.ok(
        "admin", "set", "viewer", "-g", "view_users,view_conns", "--disable", "--allowed-ip", "10.0.0.0/8"
    )
    shown = place.ok("admin", "show", "viewer", "--json").json
    assert sorted(shown["permissions"]) == ["view_conns", "view_users"]
    assert (shown["status"], shown["email"]) == (0, "v@example.com")
    assert shown["filters"]["allow_list"] == ["10.0.0.0/8"]
    assert "password" not in shown
    locked = place("admin", "set", "root", "--disable")
    assert "root is the last enabled administrator with all permissions" in locked.err
    assert place("admin", "set", "root").err.startswith("tidegate: nothing to change")


def test_a_new_account_has_no_past(place: Place) -> None:
    """A document of another account, as `user show --json` prints it, brings no counters along."""
    document = place.path / "doc.json"
    document.write_text('{"used_quota_size": 5, "last_login": 5, "password": "in plain"}')
    place.ok("user", "add", "alice", "--document", document)
    stored = place.stored("alice")
    assert (stored["used_quota_size"], stored["last_login"]) == (0, 0)


def test_api_keys(place: Place) -> None:
    place.ok("admin", "add", "root", "--allow-api-keys", "--password-stdin", stdin="long enough")
    assert place.ok("admin", "show", "root", "--json").json["filters"]["allow_api_key_auth"] is True
    place.ok("admin", "set", "root", "--no-api-keys")
    assert place.ok("admin", "show", "root", "--json").json["filters"]["allow_api_key_auth"] is False
    place.ok("user", "add", "ana", "--home", "/srv/ana", "--password-stdin", stdin="long enough")

    made = place.ok("api-key", "add", "job", "--admin", "root", "--expires", "2099-01-01", "--json").json
    key_id, _, secret = made["key"].partition(".")
    assert (made["id"], made["name"], made["scope"], made["admin"]) == (key_id, "job", 1, "root")
    (dumped,) = json.loads((place.path / place.ok_dump()).read_text())["api_keys"]
    assert secret not in json.dumps(dumped)
    assert "key" not in place.ok("api-key", "show", key_id, "--json").json
    place.ok("api-key", "set", key_id, "--name", "other", "--user", "ana", "--expires", "never")
    (changed,) = place.ok("api-key", "list", "--json").json
    told = {name: changed[name] for name in ("name", "scope", "admin", "user", "expires_at")}
    assert told == {"name": "other", "scope": 2, "admin": "", "user": "ana", "expires_at": 0}
    (kept,) = json.loads((place.path / place.ok_dump()).read_text())["api_keys"]
    assert kept["key"] == dumped["key"]
    assert place.ok("api-key", "list").words[-1][:4] == [key_id, "other", "user", "ana"]
    place.ok("api-key", "set", key_id, "--admin", "")
    assert place.ok("api-key", "list").words[-1][2:4] == ["any", "administrator"]

    both = place("api-key", "add", "x", "--admin", "root", "--user", "ana")
    assert both.err == "tidegate: --user: a key acts as an administrator or as a user, not as both\n"
    assert place("api-key", "add", "x", "--admin", "tom").err == (
        "tidegate: admin: there is no administrator 'tom'\n"
    )
    assert "is in the past" in place("api-key", "add", "x", "--expires", "2001-01-01").err
    assert place("api-key", "set", key_id).err.startswith("tidegate: nothing to change")
    place.ok("api-key", "del", key_id, "--yes")
    assert place("api-key", "show", key_id).err == "tidegate: no such API key\n"
