# SPDX-License-Identifier: Apache-2.0
"""`filesystem` documents keep their numbers and names, and mean one typed configuration inside."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tidegate.abc import Backend
from tidegate.backends.memory import MemoryBackend
from tidegate.model import (
    LOCAL_DISK,
    Account,
    Folder,
    FolderMount,
    Peer,
    Principal,
    Protocol,
    StorageConfig,
    StorageSpec,
    VPath,
)
from tidegate.policy.folders import storage_at, storage_of, storage_of_folder, storages_of
from tidegate.store.documents import decode_account, decode_folder, encode_account, encode_folder
from tidegate.store.kv import LmdbProvider
from tidegate.store.memory import MemoryProvider
from tidegate.store.options import ProviderOptions
from tidegate.store.storages import decode_storage, encode_storage, keep_secrets, shown_storage
from tidegate.vfs.factory import VfsSessions

S3 = {"provider": 1, "s3config": {"bucket": "b", "access_secret": {"status": "Plain", "payload": "S"}}}


@pytest.mark.parametrize(
    ("provider", "kind"),
    [
        (0, "local"), ("osfs", "local"), ("", "local"), ("0", "local"), (None, "local"), ("local", "local"),
        (1, "s3"), ("s3fs", "s3"), ("s3", "s3"), (2, "gcs"), ("gcsfs", "gcs"), (3, "azblob"),
        (4, "crypt"), (5, "sftp"), (6, "http"), ("httpfs", "http"), ("zip", "zip"),
    ],
)  # fmt: skip
def test_every_spelling_means_one_kind(provider: object, kind: str) -> None:
    config = decode_storage({"provider": provider, "x": {"y": 1}})
    assert (config.kind, config.options) == (kind, {"x": {"y": 1}})


@pytest.mark.parametrize("provider", [7, -1, True, 1.0, [], {}, "Zip", "../x", "x" * 40])
def test_what_is_no_provider_is_refused(provider: object) -> None:
    with pytest.raises(ValueError, match="is not a provider"):
        decode_storage({"provider": provider})


@pytest.mark.parametrize(
    "document",
    [{}, S3, {"provider": 5, "sftpconfig": {"endpoint": "h"}}, {"provider": 0, "osconfig": {"x": 1}}],
)
def test_documents_are_written_as_they_were_read(document: dict[str, Any]) -> None:
    assert encode_storage(decode_storage(document)) == document


def test_local_disk_is_one_value_however_it_is_written() -> None:
    assert decode_storage({}) == decode_storage({"provider": 0}) == decode_storage({"provider": "osfs"})
    assert decode_storage({}) == LOCAL_DISK


def test_secrets_of_any_kind_are_hidden_by_their_names_and_survive_updates() -> None:
    stored = StorageConfig("zip", {"zipconfig": {"file": "a", "zip_password": "P", "api_token": {"x": "T"}}})
    shown = shown_storage(stored)
    assert shown == {"provider": "zip", "zipconfig": {"file": "a"}}
    assert keep_secrets(decode_storage(shown), stored) == stored
    assert "P" not in repr(stored)


@pytest.mark.parametrize(
    "change",
    [{"endpoint": "https://mine.example"}, {"skip_tls_verify": True}, {"ca_file": "/srv/ana/mine.pem"}],
)
def test_secrets_do_not_follow_to_another_place(change: dict[str, object]) -> None:
    stored = decode_storage(S3)
    shown = shown_storage(stored)
    moved = {**shown, "s3config": {**shown["s3config"], **change}}
    assert "S" not in str(keep_secrets(decode_storage(moved), stored).options.values())
    same = {**shown, "s3config": {**shown["s3config"], "endpoint": "", "skip_tls_verify": False}}
    assert "'payload': 'S'" in str(keep_secrets(decode_storage(same), stored).options)


def _account(**more: object) -> Account:
    mount = FolderMount(name="b", virtual_path="/b", mapped_path="/srv/b", filesystem=decode_storage(S3))
    fields: dict[str, Any] = {"username": "a", "home_dir": "/srv/a", "uid": 5, "gid": 6, **more}
    return Account(virtual_folders=(mount,), permissions={"/": ("*",)}, **fields)


def test_records_have_the_documents_of_the_field() -> None:
    account = _account(filesystem=decode_storage({"provider": 5, "sftpconfig": {"endpoint": "h:22"}}))
    document = encode_account(account, confidential=True)
    assert document["filesystem"] == {"provider": 5, "sftpconfig": {"endpoint": "h:22"}}
    assert document["virtual_folders"][0]["filesystem"] == S3
    assert decode_account(json.loads(json.dumps(document))).filesystem == account.filesystem
    folder = Folder(name="b", mapped_path="/srv/b", filesystem=decode_storage(S3))
    assert encode_folder(folder, confidential=True)["filesystem"] == S3
    assert decode_folder(encode_folder(folder, confidential=True)) == folder


async def test_a_key_value_record_of_before_is_read_as_what_it_is(tmp_path: Path) -> None:
    """Those records hold documents too; read by field names alone a bucket would be local disk."""
    provider = LmdbProvider(ProviderOptions(driver="bolt", name="x", base_dir=tmp_path))
    await provider.open()
    await provider.add_folder(Folder(name="b", mapped_path="/srv/b", filesystem=decode_storage(S3)))
    await provider.close()
    held = b"".join(item.read_bytes() for item in tmp_path.rglob("*") if item.is_file())
    assert b'"filesystem":{"provider":1,"s3config"' in held
    await provider.open()
    found = await provider.folder("b")
    await provider.close()
    assert found is not None
    assert found.filesystem == decode_storage(S3)


def test_one_function_answers_the_storage_of_a_mount() -> None:
    account = _account()
    (mount,) = account.virtual_folders
    assert storage_at(account, VPath("/b/c")) == storage_of(account, mount)
    assert storage_at(account, VPath("/c")) == storage_of(account) == storages_of(account)[VPath("/")]
    # What a folder's own scan counts is what its mounts serve.
    folder = Folder(name="b", mapped_path="/srv/b", filesystem=mount.filesystem)
    assert storage_of_folder(folder).key == storage_of(account, mount).key
    everywhere = replace(mount, virtual_path="/")
    assert storage_at(replace(account, virtual_folders=(everywhere,)), VPath("/x")).config.kind == "s3"


async def test_sessions_and_scans_open_the_storage_that_a_folder_names() -> None:
    """A folder with `provider` 1 is never local disk, whoever asks."""
    asked: list[StorageSpec] = []

    def build(spec: StorageSpec) -> Backend:
        asked.append(spec)
        return MemoryBackend()

    store = MemoryProvider(ProviderOptions(driver="memory"))
    await store.open()
    account = await store.add_user(_account())
    sessions = VfsSessions(build, store, emit=lambda event: None)
    peer = Peer("c", Protocol.SFTP, "192.0.2.1")
    session = await sessions.open(Principal(account, "password", "192.0.2.1"), peer)
    await session.mkdir(VPath("/b/d"))
    await session.close()
    before = len(asked)
    scan = await sessions.scans.start_folder("b")
    assert scan.task is not None
    await scan.task
    assert len(asked) == before + 1
    await sessions.close()
    await store.close()
    kinds = [(spec.directory, spec.config.kind) for spec in asked]
    assert ("/srv/b", "s3") in kinds
    assert ("/srv/b", "local") not in kinds
