# SPDX-License-Identifier: Apache-2.0
"""Options under ``sftpconfig``, and the names of unfinished uploads on another server."""

from __future__ import annotations

import pytest

from tidegate.backends.factory import StorageKinds
from tidegate.backends.sftp.names import Names
from tidegate.backends.sftp.options import SftpOptions
from tidegate.errors import BadRecord, InvalidPath, NotFound
from tidegate.model import StorageConfig, StorageSpec

GOOD = {"endpoint": "files.example.com:2222", "username": "acme", "password": "s3cret"}
PRINT = "SHA256:" + "a" * 43


def spec(**options: object) -> StorageSpec:
    return StorageSpec("", StorageConfig("sftp", {"sftpconfig": {**GOOD, **options}}))


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"endpoint": ""}, "endpoint is missing"),
        ({"endpoint": "host:0"}, "endpoint is 'host:0'; expected host:port"),
        ({"endpoint": "host:65536"}, "endpoint is 'host:65536'; expected host:port"),
        ({"endpoint": "me:word@host:22"}, "endpoint holds a user; expected host:port"),
        ({"endpoint": "host:22/x"}, "endpoint is 'host:22/x'; expected host:port"),
        ({"username": ""}, "username is missing"),
        ({"password": ""}, "password and private_key are missing: one of them is needed"),
        ({"password": {"status": "Secretbox", "payload": "x"}}, "password is encrypted (Secretbox)"),
        ({"fingerprints": ["MD5:aa"]}, "fingerprints has 'MD5:aa'; expected SHA256: and 43 letters"),
        ({"prefix": "inbox"}, "prefix is 'inbox'; expected an absolute path"),
        ({"prefix": "/a/../b"}, "prefix is '/a/../b'; expected a path without .."),
        ({"buffer_size": 17}, "buffer_size is 17; expected 0 to 16 MiB"),
        ({"equality_check_mode": 2}, "equality_check_mode is 2; expected 0 or 1"),
        ({"socks": "x"}, "Unexpected keyword argument"),
    ],
)
def test_mistakes_name_the_option(options: dict[str, object], says: str) -> None:
    with pytest.raises(BadRecord) as caught:
        StorageKinds().check(spec(**options))
    assert says in str(caught.value)
    assert "s3cret" not in str(caught.value)
    assert "word@" not in str(caught.value)


@pytest.mark.parametrize(
    ("endpoint", "address", "place"),
    [
        ("h", ("h", 22), "acme@h:22"),
        ("h:2022", ("h", 2022), "acme@h:2022"),
        ("[::1]:2022", ("::1", 2022), "acme@[::1]:2022"),
        ("[fe80::1]", ("fe80::1", 22), "acme@[fe80::1]:22"),
    ],
)
def test_endpoints(endpoint: str, address: tuple[str, int], place: str) -> None:
    options = SftpOptions(endpoint=endpoint, username="acme", password="s3cret", fingerprints=(PRINT,))
    assert options.address() == address
    assert options.place == place
    assert "s3cret" not in repr(options)


def test_what_it_reaches_is_told() -> None:
    reach = StorageKinds().reach(spec())
    assert reach is not None
    assert reach.urls == {"filesystem.sftpconfig.endpoint": "sftp://files.example.com:2222"}
    assert reach.borrows == ""


def test_its_location_is_told_without_a_connection() -> None:
    assert StorageKinds().location(spec(prefix="/in//it/")) == "sftp://acme@files.example.com:2222/in/it/"


def test_hidden_names_are_found_again_and_pass_other_servers() -> None:
    names, behind = Names(b"/r", "near:22"), Names(b"/r", "far:22")
    part = names.part("d/file").decode()
    assert part.startswith("/r/d/.tidegate-")
    hidden = part.rpartition("/")[2]
    assert names.is_hidden(hidden)
    assert names.name_of_part(hidden) == "file"
    with pytest.raises(NotFound):
        names.check(f"d/{hidden}")
    behind.check(f"d/{hidden}")
    assert not behind.is_hidden(hidden)
    # A name so long that none fits around it is kept under its digest.
    long = names.part("n" * 255).rpartition(b"/")[2].decode()
    assert len(long) <= 255
    assert names.is_part(long)
    assert names.name_of_part(long) is None
    with pytest.raises(InvalidPath):
        names.check("a\ud800")
