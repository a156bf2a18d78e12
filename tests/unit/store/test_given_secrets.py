# SPDX-License-Identifier: Apache-2.0
"""Secrets in documents that somebody sends: kept by ``Redacted``, and never another record's encrypted ones."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tidegate.abc import StorageHost
from tidegate.accounts.rules import Rules
from tidegate.backends.factory import StorageKinds, Storages
from tidegate.errors import BadRecord, StorageFailed
from tidegate.model import Account, Admin, Folder, StorageSpec
from tidegate.model.sealing import SecretPlace, open_secrets
from tidegate.policy.folders import storage_of, storage_of_folder
from tidegate.sealing.keys import from_bytes
from tidegate.sealing.sealer import Keyring, Sealer
from tidegate.store.documents import (
    decode_account,
    decode_admin,
    decode_folder,
    encode_account,
    encode_admin,
    encode_folder,
)
from tidegate.store.sealing import record_secrets, renew_record, seal_record

KEY, OTHER = from_bytes(b"k" * 32, ""), from_bytes(b"o" * 32, "")
SEALS, WITHOUT = Sealer(lambda: Keyring(KEY)), Sealer(lambda: Keyring(OTHER))
RULES, KEYLESS = (Rules(storages=StorageKinds(seals=seals)) for seals in (SEALS, WITHOUT))
REDACTED = {"status": "Redacted", "payload": "", "key": "", "additional_data": "", "mode": 0}


def filesystem(secret: object = "swordfish", **more: object) -> dict[str, Any]:
    options = {"bucket": "b", "access_key": "AK", "access_secret": secret, **more}
    return {"provider": 1, "s3config": {name: value for name, value in options.items() if value is not None}}


def document(name: str = "alice", **more: object) -> dict[str, Any]:
    return {"username": name, "home_dir": f"/srv/{name}", "permissions": {"/": ["*"]}, **more}


def stored(name: str = "alice", **more: object) -> Account:
    return seal_record(decode_account(document(name, filesystem=filesystem(), **more), rules=RULES), SEALS)


def opened(record: Account) -> object:
    place = SecretPlace("user", record.username, "filesystem")
    return open_secrets(record.filesystem.options, SEALS, place)["s3config"]["access_secret"]


@pytest.mark.parametrize("secret", [REDACTED, {"status": "Redacted"}, None])
@pytest.mark.parametrize("sealed", [True, False])
def test_redacted_and_nothing_keep_the_stored_secret(secret: object, sealed: bool) -> None:
    base = stored() if sealed else decode_account(document(filesystem=filesystem()), rules=RULES)
    changed = decode_account(
        document(filesystem=filesystem(secret, region="eu-west-1")), base=base, rules=RULES
    )
    assert opened(changed) == "swordfish"
    assert changed.filesystem.options["s3config"]["region"] == "eu-west-1"  # type: ignore[index]


def test_an_empty_secret_is_removed_and_another_one_is_taken() -> None:
    plain = {"status": "Plain", "payload": "trout"}
    changed = decode_account(document(filesystem=filesystem(plain)), base=stored(), rules=RULES)
    assert opened(seal_record(changed, SEALS)) == plain
    for nothing in ("", {}, {"status": "", "payload": ""}):
        gone = filesystem(nothing, access_key="")
        changed = decode_account(document(filesystem=gone), base=stored(), rules=RULES)
        assert [*record_secrets(changed)] == []


def test_redacted_needs_a_stored_secret() -> None:
    with pytest.raises(
        BadRecord, match=r"filesystem\.s3config\.access_secret.* is Redacted, but .* is not stored"
    ):
        decode_account(document(filesystem=filesystem(REDACTED)), rules=RULES)
    moved = filesystem(REDACTED, endpoint="https://mine.example")
    with pytest.raises(BadRecord, match="is Redacted, but the secret is for another endpoint"):
        decode_account(document(filesystem=moved), base=stored(), rules=RULES)


def test_encrypted_secrets_of_an_old_dump_cannot_be_sent_elsewhere() -> None:
    base = stored()
    known = encode_account(base, confidential=True)
    assert "swordfish" not in json.dumps(known)
    assert decode_account(known, base=base, rules=RULES) == base
    theirs = encode_account(stored("bob"), confidential=True)["filesystem"]
    earlier = encode_account(stored(), confidential=True)["filesystem"]
    for taken in (theirs, earlier):
        with pytest.raises(BadRecord, match="is encrypted and not this record's own: give it in plain text"):
            decode_account({**known, "filesystem": taken}, base=base, rules=RULES)
        with pytest.raises(BadRecord, match="is encrypted and not this record's own"):
            decode_account({**known, "filesystem": taken}, rules=RULES)
    moved = json.loads(json.dumps(known))
    moved["filesystem"]["s3config"]["endpoint"] = "https://mine.example"
    with pytest.raises(BadRecord, match="is encrypted for another endpoint"):
        decode_account(moved, base=base, rules=RULES)
    mount = {"name": "f", "virtual_path": "/f", "mapped_path": "/srv/f", "filesystem": theirs}
    with pytest.raises(BadRecord, match=r"virtual_folders\[0\]\.filesystem\.s3config\.access_secret"):
        decode_account({**known, "virtual_folders": [mount]}, base=base, rules=RULES)


def test_a_record_whose_key_is_lost_can_be_changed_but_not_its_storage() -> None:
    base = stored()
    changed = decode_account(
        {**document(), "filesystem": filesystem(None), "status": 0}, base=base, rules=KEYLESS
    )
    assert changed.status == 0
    assert changed.filesystem == base.filesystem
    with pytest.raises(BadRecord, match=f"access_secret: is encrypted under master key {KEY.id}"):
        decode_account(document(filesystem=filesystem(None, bucket="other")), base=base, rules=KEYLESS)
    anew = decode_account(document(filesystem=filesystem("trout")), base=base, rules=KEYLESS)
    assert anew.filesystem.options["s3config"]["access_secret"] == "trout"  # type: ignore[index]


def test_a_name_in_another_spelling_is_the_same_record() -> None:
    rules = Rules(storages=StorageKinds(seals=SEALS), naming_rules=3)
    changed = decode_account(
        {**document("ALICE"), "filesystem": filesystem(None, region="r")}, base=stored(), rules=rules
    )
    assert (changed.username, opened(changed)) == ("alice", "swordfish")


def test_folders_and_their_mounts_keep_theirs() -> None:
    folder = seal_record(
        decode_folder({"name": "f", "mapped_path": "/srv/f", "filesystem": filesystem()}, rules=RULES), SEALS
    )
    again = decode_folder(
        {"name": "f", "mapped_path": "/x", "filesystem": filesystem(REDACTED)}, base=folder, rules=RULES
    )
    assert again.filesystem == folder.filesystem
    taken = {**encode_folder(folder, confidential=True), "name": "g"}
    with pytest.raises(BadRecord, match="not this record's own"):
        decode_folder(taken, rules=RULES)
    mount = {"name": "f", "virtual_path": "/f", "mapped_path": "/srv/f", "filesystem": filesystem()}
    base = stored(virtual_folders=[mount])
    for secret in (None, REDACTED):
        shown = {**mount, "filesystem": filesystem(secret)}
        kept = decode_account({**document(), "virtual_folders": [shown]}, base=base, rules=RULES)
        assert kept.virtual_folders == base.virtual_folders


def test_secrets_of_other_versions_are_kept_and_bound_too() -> None:
    totp = {
        "enabled": True,
        "config_name": "Default",
        "secret": {"status": "Plain", "payload": "seed-of-codes"},
    }
    admin = seal_record(
        decode_admin({"username": "root", "permissions": ["*"], "filters": {"totp_config": totp}}), SEALS
    )
    assert [*record_secrets(admin)] == [("filters.totp_config.secret", KEY.id)]
    shown = {**totp, "config_name": "Other", "secret": REDACTED}
    changed = decode_admin(
        {"username": "root", "permissions": ["*"], "filters": {"totp_config": shown}}, base=admin
    )
    held: Any = changed.filters.extra["totp_config"]
    assert held["config_name"] == "Other"
    assert held["secret"] == admin.filters.extra["totp_config"]["secret"]  # type: ignore[index]
    assert "seed-of-codes" not in json.dumps(encode_admin(changed, confidential=True))
    taken = {**encode_admin(admin, confidential=True), "username": "eve"}
    with pytest.raises(BadRecord, match=r"filters\.totp_config\.secret.* not this record's own"):
        decode_admin(taken)


def test_a_copied_secret_does_not_reach_what_its_owner_has_open() -> None:
    alice = stored()
    mallory = decode_account(
        document("mallory", filesystem=encode_account(alice, confidential=True)["filesystem"]), lenient=True
    )
    same = StorageSpec("/srv/alice", mallory.filesystem, owner=SecretPlace("user", "mallory"))
    assert same.config == alice.filesystem
    assert same.key != storage_of(alice).key
    kinds = StorageKinds(seals=SEALS)
    assert kinds.mistake(storage_of(alice)) is None
    assert "was made for another record or field, or is damaged" in str(kinds.mistake(storage_of(mallory)))


def test_the_error_of_a_backend_names_the_record_and_no_value() -> None:
    storages = Storages(StorageKinds(seals=WITHOUT), StorageHost())
    storages._used["s3"] = StorageKinds().find("s3")(StorageHost())
    folder = seal_record(Folder(name="f", mapped_path="/f", filesystem=stored().filesystem), SEALS)
    for spec, whose in ((storage_of(stored()), "user alice"), (storage_of_folder(folder), "folder f")):
        says = f"storage of {whose}: filesystem.s3config.access_secret is encrypted"
        with pytest.raises(StorageFailed, match=says) as why:
            storages.build(spec)
        assert why.value.text == "storage failure"


def test_renewing_says_what_is_equal() -> None:
    base = stored()
    assert renew_record(base, SEALS) is base
    assert renew_record(Account(username="x"), SEALS) == Account(username="x")
    assert seal_record(Admin(username="x"), SEALS) == Admin(username="x")
