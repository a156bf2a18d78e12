# SPDX-License-Identifier: Apache-2.0
"""RNFR and RNTO between storages of different kinds in one home: a bucket, encryption over each, another server."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from tests.support.far_sshd import far_sshd
from tests.support.ftp_world import RawFtp, ftp_server
from tests.support.object_servers import ObjectServer
from tests.support.running import Person

from tidegate.model import FolderMount, StorageConfig

MTIME = "20010909014640"
CRYPT = {"passphrase": {"status": "Plain", "payload": "a long and boring passphrase of the tests"}}
KINDS = ("disk", "sealed", "bucket", "vault", "far")


@dataclass
class Mixed:
    """One account with a folder of each kind, and its control connection."""

    person: Person
    ftp: RawFtp

    def read(self, path: str) -> bytes:
        first, data, last = self.ftp.fetch(f"RETR {path}")
        assert (first[:3], last[:3]) == ("150", "226"), (first, last)
        return data

    def names(self, path: str) -> set[str]:
        first, data, last = self.ftp.fetch(f"NLST {path}")
        assert (first[:3], last[:3]) == ("150", "226"), (first, last)
        return {line.rpartition("/")[2] for line in data.decode().split()}

    def rename(self, source: str, target: str) -> str:
        assert self.ftp.code(f"RNFR {source}") == 350
        return self.ftp.ask(f"RNTO {target}")


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory, seaweedfs_server: ObjectServer) -> Iterator[Mixed]:
    base = tmp_path_factory.mktemp("mixed")
    bucket = seaweedfs_server.bucket()
    with far_sshd(base / "far") as far, ftp_server(base / "ftp") as server:
        server.running.secrets.add(seaweedfs_server.access_secret)
        storage = {
            "disk": StorageConfig(),
            "sealed": StorageConfig("crypt", {"cryptconfig": CRYPT}),
            "bucket": StorageConfig("s3", {"s3config": seaweedfs_server.options(bucket, key_prefix="plain/")}),
            "vault": StorageConfig("crypt", {
                "cryptconfig": {**CRYPT, "storage": "s3"},
                "s3config": seaweedfs_server.options(bucket, key_prefix="vault/"),
            }),
            "far": StorageConfig("sftp", {"sftpconfig": far.options(far.files)}),
        }  # fmt: skip
        mounts = tuple(
            FolderMount(name=kind, virtual_path=f"/{kind}", mapped_path=str(base / kind), filesystem=config)
            for kind, config in storage.items()
        )
        person = server.account(virtual_folders=mounts)
        with RawFtp(server.plain) as ftp:
            ftp.login(person)
            assert ftp.code("TYPE I") == 200
            yield Mixed(person, ftp)


def test_a_file_goes_round_every_kind(mixed: Mixed) -> None:
    data = os.urandom(400_001)
    assert mixed.ftp.store("STOR /f", data)[1][:3] == "226"
    assert mixed.ftp.code(f"MFMT {MTIME} /f") == 213
    for here, there in itertools.pairwise(("", *(f"/{kind}" for kind in KINDS), "")):
        assert mixed.rename(f"{here}/f", f"{there}/f")[:3] == "250", (here, there)
        assert mixed.read(f"{there}/f") == data
        assert mixed.ftp.ask(f"MDTM {there}/f") == f"213 {MTIME}", there
        assert "f" not in mixed.names(here or "/")
    assert (mixed.person.home / "f").read_bytes() == data


@pytest.mark.parametrize(("one", "other"), [("sealed", "bucket"), ("bucket", "far"), ("far", "vault")])
def test_a_tree_there_and_back(mixed: Mixed, one: str, other: str) -> None:
    content = {"a": os.urandom(1000), "sub/b": os.urandom(150_000), "sub/none": b""}
    here, there = f"/{one}/tree", f"/{other}/moved"
    for name in ("", "/sub", "/empty"):
        assert mixed.ftp.code(f"MKD {here}{name}") == 257
    for name, data in content.items():
        assert mixed.ftp.store(f"STOR {here}/{name}", data)[1][:3] == "226"
    for source, target in ((here, there), (there, here)):
        assert mixed.rename(source, target)[:3] == "250"
        assert {name: mixed.read(f"{target}/{name}") for name in content} == content
        assert mixed.names(target) == {"a", "sub", "empty"}
        assert mixed.ftp.code(f"CWD {source}") == 550


def test_a_name_that_is_taken_stays(mixed: Mixed) -> None:
    for path in ("/far/x", "/vault/x"):
        assert mixed.ftp.store(f"STOR {path}", path.encode())[1][:3] == "226"
    assert mixed.ftp.code("MKD /vault/d") == 257
    assert mixed.rename("/far/x", "/vault/d")[:3] == "550"
    assert mixed.ftp.code("RNFR /far/none") == 550
    assert (mixed.read("/far/x"), mixed.read("/vault/x")) == (b"/far/x", b"/vault/x")
