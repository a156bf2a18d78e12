# SPDX-License-Identifier: Apache-2.0
"""The master keys of a configuration: read once, when needed, and by every part of a server alike."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tidegate.config.load import Loaded, load
from tidegate.errors import ConfigError
from tidegate.model import StorageConfig, StorageSpec
from tidegate.model.sealing import NO_SEALING, SecretPlace, open_secrets, seal_secrets
from tidegate.sealing.keys import from_text
from tidegate.sealing.sealer import Sealer
from tidegate.server.secrets import NO_KEY, read_keys, sealing
from tidegate.server.wiring import provider_options, storage_kinds

OLD, NEW = "0d" * 32, "4e" * 32
GOOGLE = '{"type": "authorized_user", "client_id": "c", "client_secret": "s", "refresh_token": "r"}'
OWNER = SecretPlace("user", "alice", "filesystem")


def configured(place: Path, environ: dict[str, str] | None = None, **keys: Any) -> Loaded:
    import json

    (place / "tidegate.json").write_text(json.dumps({"kms": {"secrets": keys}}))
    return load(place, "tidegate", environ or {})


def test_no_key_is_no_sealing(tmp_path: Path) -> None:
    loaded = configured(tmp_path, url="", master_key="")
    assert sealing(loaded) is NO_SEALING
    assert read_keys(loaded) == NO_KEY
    assert provider_options(loaded).seals is NO_SEALING


@pytest.mark.parametrize("prefix", ["TIDEGATE", "SFTPGO"])
def test_every_source_gives_the_same_key(prefix: str, tmp_path: Path) -> None:
    (tmp_path / "key").write_text(NEW)
    name = f"{prefix}_KMS__SECRETS__MASTER_KEY"
    for number, (environ, keys) in enumerate(
        (
            ({}, {"master_key": NEW}),
            ({}, {"master_key_path": "key"}),
            ({}, {"master_key_command": ["printf", NEW]}),
            ({name: NEW}, {}),
            ({f"{name}_PATH": "key"}, {}),
        )
    ):
        loaded = configured(tmp_path, environ, **keys)
        seals = sealing(loaded)
        assert isinstance(seals, Sealer), number
        assert seals.keys.current == from_text(NEW, "")
        assert from_text(NEW, "").id in read_keys(loaded)
        assert NEW not in read_keys(loaded) + repr(provider_options(loaded)) + repr(loaded.notes)


def test_the_store_and_the_storages_share_one_reading(tmp_path: Path) -> None:
    count = tmp_path / "count"
    program = tmp_path / "program"
    program.write_text(f"#!/bin/sh\necho x >> {count}\necho {NEW}\n")
    program.chmod(0o700)
    loaded = configured(tmp_path, master_key_command=[str(program)])
    options, kinds = provider_options(loaded), storage_kinds(loaded)
    assert not count.exists()
    secret = {"s3config": {"bucket": "b", "access_key": "AK", "access_secret": "swordfish"}}
    sealed = seal_secrets(secret, options.seals, OWNER)
    spec = StorageSpec("", StorageConfig("s3", sealed), owner=OWNER)
    assert kinds.mistake(spec) is None
    again = configured(tmp_path, master_key_command=[str(program)])
    assert storage_kinds(again).mistake(spec) is None
    assert count.read_text() == "x\n"


def test_an_old_key_opens_and_encrypts_nothing(tmp_path: Path) -> None:
    (tmp_path / "old").write_text(OLD)
    before = seal_secrets({"secret": "swordfish"}, sealing(configured(tmp_path, master_key=OLD)), OWNER)
    loaded = configured(tmp_path, master_key=NEW, old_master_key_paths=["old"])
    assert read_keys(loaded).endswith(f"; former keys: {from_text(OLD, '').id}")
    seals = sealing(loaded)
    assert open_secrets(before, seals, OWNER) == {"secret": "swordfish"}
    assert from_text(NEW, "").id in str(seal_secrets({"secret": "trout"}, seals, OWNER))


def test_a_key_that_everybody_reads_is_remarked(tmp_path: Path) -> None:
    keys = {"master_key_path": "new", "old_master_key_paths": ["old", "gone"]}
    for name in ("new", "old"):
        (tmp_path / name).write_text(NEW)
        (tmp_path / name).chmod(0o644)
    says = "a master key that everybody on this host can read; chmod 600"
    assert configured(tmp_path, **keys).notes == (f"{tmp_path}/new: {says}", f"{tmp_path}/old: {says}")
    for name in ("new", "old"):
        (tmp_path / name).chmod(0o640)
    assert configured(tmp_path, **keys).notes == ()


def test_two_sources_are_an_error(tmp_path: Path) -> None:
    loaded = configured(tmp_path, master_key=NEW, master_key_command=["true"])
    with pytest.raises(ConfigError, match="master_key and master_key_command are given; give one"):
        sealing(loaded)


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("s3", {"s3config": {"bucket": "b", "access_key": "AK", "access_secret": "s", "sse_customer_key": "k" * 32}}),
        ("gcs", {"gcsconfig": {"bucket": "inbox", "credentials": {"status": "Plain", "payload": GOOGLE}}}),
        ("azblob", {"azblobconfig": {"container": "inbox", "account_name": "acct", "account_key": "c2VjcmV0LWtleQ=="}}),
        ("azblob", {"azblobconfig": {"sas_url": {
            "status": "Plain", "payload": "https://acct.blob.core.windows.net/inbox?sv=2021&sr=c&sp=rl&sig=abc"}}}),
    ],
)  # fmt: skip
def test_secrets_of_every_kind_of_storage_are_found(
    kind: str, options: dict[str, Any], tmp_path: Path
) -> None:
    loaded = configured(tmp_path, master_key=NEW)
    kinds = storage_kinds(loaded)
    plain = StorageSpec("", StorageConfig(kind, options), owner=OWNER)
    assert kinds.mistake(plain) is None
    sealed = StorageConfig(kind, seal_secrets(options, sealing(loaded), OWNER))
    assert sealed.is_sealed
    spec = StorageSpec("", sealed, owner=OWNER)
    found = kinds.find(kind)
    assert kinds.options(found, spec) == kinds.options(found, plain)
