# SPDX-License-Identifier: Apache-2.0
"""The extended requests."""

from __future__ import annotations

import hashlib
import os
import zlib
from dataclasses import replace

import pytest
from blake3 import blake3
from tests.support import sftp_packets as p
from tests.support.memory_session import MemorySession
from tests.support.sftp_peer import Peer

from tidegate.doors.common.owners import AccountNames
from tidegate.doors.sftp.extensions import ADVERTISED
from tidegate.model import Account, Principal


@pytest.fixture(params=["at once", "waiting"])
async def peer(request):
    session = MemorySession(start="/home/alice")
    async with Peer(session) as peer:
        session.slow = request.param == "waiting"
        yield peer


def status(reply):
    assert reply.kind == 101
    return reply.code, reply.text


OK = (0, "success")


async def test_all_that_is_promised_is_advertised(peer):
    assert peer.version.extensions == dict(ADVERTISED)
    for name in (
        *("posix-rename", "statvfs", "fstatvfs", "hardlink", "fsync", "lsetstat", "limits", "expand-path"),
        "users-groups-by-id",
    ):
        assert f"{name}@openssh.com".encode() in peer.version.extensions
    for name in (b"copy-data", b"copy-file", b"home-directory", b"check-file", b"space-available"):
        assert name in peer.version.extensions


async def test_limits(peer):
    fields = p.Fields((await peer.ask(p.extended, "limits@openssh.com")).data)
    assert [fields.u64() for _ in range(4)] == [262144, 261120, 261120, 1024]


async def test_statvfs_and_fstatvfs(peer):
    peer.session.put("/f")
    handle = await peer.open("/f")
    directory = (await peer.ask(p.opendir, "/")).handle
    answers = [
        (await peer.ask(p.extended, "statvfs@openssh.com", p.s("/"))).data,
        (await peer.ask(p.extended, "fstatvfs@openssh.com", p.s(handle))).data,
        (await peer.ask(p.extended, "fstatvfs@openssh.com", p.s(directory))).data,
    ]
    for data in answers:
        fields = p.Fields(data)
        assert [fields.u64() for _ in range(11)] == [4096, 4096, 1000, 250, 250, 500, 400, 400, 0, 2, 255]
    assert status(await peer.ask(p.extended, "statvfs@openssh.com", p.s("/none")))[0] == 2
    for open_handle in (handle, directory):
        assert status(await peer.ask(p.close, open_handle)) == OK


async def test_space_available(peer):
    fields = p.Fields((await peer.ask(p.extended, "space-available", p.s("/"))).data)
    assert [fields.u64() for _ in range(4)] == [4096000, 1024000, 4096000, 1024000]
    assert fields.u32() == 4096


async def test_hardlink(peer):
    peer.session.put("/a", b"A")
    assert status(await peer.ask(p.extended, "hardlink@openssh.com", p.s("/a") + p.s("/b"))) == OK
    assert peer.session.nodes["/b"] is peer.session.nodes["/a"]


async def test_fsync(peer):
    handle = await peer.open("/f", "w")
    await peer.ask(p.write, handle, 0, b"abc")
    assert status(await peer.ask(p.extended, "fsync@openssh.com", p.s(handle))) == OK
    assert ("sync", "/f", 3) in peer.session.log
    assert status(await peer.ask(p.extended, "fsync@openssh.com", p.s(b"none"))) == (4, "invalid handle")
    assert status(await peer.ask(p.close, handle)) == OK
    directory = (await peer.ask(p.opendir, "/")).handle
    assert status(await peer.ask(p.extended, "fsync@openssh.com", p.s(directory)))[0] == 4
    assert status(await peer.ask(p.close, directory)) == OK


async def test_lsetstat_does_not_follow(peer):
    await peer.session.symlink("f", peer.session.start_directory.child("l"))
    body = p.s("l") + p.attrs(mode=0o700)
    assert status(await peer.ask(p.extended, "lsetstat@openssh.com", body)) == OK
    assert peer.session.entered[-1][-1] is False
    assert peer.session.nodes["/home/alice/l"].mode == 0o700


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("~", "/home/alice"),
        ("~/x/../y", "/home/alice/y"),
        ("~alice/z", "/home/alice/z"),
        ("a", "/home/alice/a"),
        ("/etc/./x", "/etc/x"),
        ("x~", "/home/alice/x~"),
        ("~/../../..", "/"),
    ],
)
async def test_expand_path(peer, path, expected):
    reply = await peer.ask(p.extended, "expand-path@openssh.com", p.s(path))
    assert [n.name.decode() for n in reply.names] == [expected]


async def test_homes_of_others_are_not_told(peer):
    assert status(await peer.ask(p.extended, "expand-path@openssh.com", p.s("~root/x"))) == (
        2,
        "no such user",
    )
    assert status(await peer.ask(p.extended, "home-directory", p.s("root"))) == (2, "no such user")


async def test_home_directory(peer):
    for name in ("", "alice"):
        reply = await peer.ask(p.extended, "home-directory", p.s(name))
        assert [n.name for n in reply.names] == [b"/home/alice"]


async def test_copy_data(peer):
    peer.session.put("/a", b"0123456789")
    source, target = await peer.open("/a"), await peer.open("/b", "w")

    def copy(offset, length, target_offset, source=source, target=target):
        return p.s(source) + p.u64(offset) + p.u64(length) + p.s(target) + p.u64(target_offset)

    assert status(await peer.ask(p.extended, "copy-data", copy(2, 3, 0))) == OK
    assert peer.session.data("/b") == b"234"
    assert status(await peer.ask(p.extended, "copy-data", copy(5, 0, 3))) == OK
    assert peer.session.data("/b") == b"23456789"
    same = copy(0, 0, 0, source, source)
    assert status(await peer.ask(p.extended, "copy-data", same)) == (
        4,
        "source and target are the same handle",
    )
    assert status(await peer.ask(p.extended, "copy-data", copy(0, 0, 0, target, source)))[0] == 3
    assert status(await peer.ask(p.extended, "copy-data", copy(0, 0, 0, b"x", target))) == (
        4,
        "invalid handle",
    )
    assert (await peer.ask(p.read, source, 0, 2)).data == b"01"
    for handle in (source, target):
        assert status(await peer.ask(p.close, handle)) == OK


async def test_copy_file(peer):
    peer.session.put("/a", b"A")
    peer.session.put("/b", b"B")
    assert status(await peer.ask(p.extended, "copy-file", p.s("/a") + p.s("/b") + b"\0")) == (
        4,
        "already exists",
    )
    assert status(await peer.ask(p.extended, "copy-file", p.s("/a") + p.s("/b") + b"\1")) == OK
    assert peer.session.data("/b") == b"A"


DATA = bytes(range(256)) * 5


def check(target, algorithms, offset=0, length=0, block=0):
    return p.s(target) + p.s(algorithms) + p.u64(offset) + p.u64(length) + p.u32(block)


@pytest.mark.parametrize(
    "algorithm", ["md5", "sha1", "sha224", "sha256", "sha384", "sha512", "crc32", "blake3"]
)
async def test_check_file_by_name_and_by_handle(peer, algorithm):
    peer.session.put("/f", DATA)
    handle = await peer.open("/f")
    expected = {
        "crc32": lambda d: zlib.crc32(d).to_bytes(4, "big"),
        "blake3": lambda d: blake3(d).digest(),
    }.get(algorithm, lambda d: hashlib.new(algorithm, d).digest())(DATA)
    for name, target in (("check-file-name", b"/f"), ("check-file-handle", handle)):
        fields = p.Fields((await peer.ask(p.extended, name, check(target, f"nonsense,{algorithm},md5"))).data)
        assert fields.s() == algorithm.encode()
        assert fields.rest() == expected
    # paramiko asks for "check-file" and wants the name repeated.
    fields = p.Fields((await peer.ask(p.extended, "check-file", check(handle, algorithm))).data)
    assert (fields.s(), fields.s(), fields.rest()) == (b"check-file", algorithm.encode(), expected)
    assert status(await peer.ask(p.close, handle)) == OK


async def test_mina_gets_digests_as_its_own_server_sends_them(peer):
    """Its client reads the extension's name first, and each digest as a string."""
    peer.session.peer = replace(peer.session.peer, client_version="SSH-2.0-APACHE-SSHD-2.20.0")
    peer.session.put("/f", DATA)
    handle = await peer.open("/f")
    for name, target in (("check-file-name", b"/f"), ("check-file-handle", handle)):
        fields = p.Fields((await peer.ask(p.extended, name, check(target, "sha256"))).data)
        assert (fields.s(), fields.s()) == (b"check-file", b"sha256")
        assert (fields.s(), fields.rest()) == (hashlib.sha256(DATA).digest(), b"")
    assert status(await peer.ask(p.close, handle)) == OK


async def test_check_file_in_blocks_of_a_range(peer):
    peer.session.put("/f", DATA)
    reply = await peer.ask(p.extended, "check-file-name", check(b"/f", "sha-256", 10, 600, 256))
    fields = p.Fields(reply.data)
    assert fields.s() == b"sha256"
    pieces = [DATA[10:266], DATA[266:522], DATA[522:610]]
    assert fields.rest() == b"".join(hashlib.sha256(piece).digest() for piece in pieces)


async def test_check_file_refuses(peer):
    peer.session.put("/f", DATA)
    peer.session.put("/big", bytes(256 * 10000))
    ask = peer.ask
    assert status(await ask(p.extended, "check-file-name", check(b"/f", "rot13"))) == (
        8,
        "no supported hash algorithm",
    )
    assert status(await ask(p.extended, "check-file-name", check(b"/f", "md5", block=255)))[0] == 4
    assert status(await ask(p.extended, "check-file-name", check(b"/none", "md5")))[0] == 2
    assert status(await ask(p.extended, "check-file-name", check(b"/big", "md5", block=256))) == (
        4,
        "too many blocks in one request",
    )
    writing = await peer.open("/w", "w")
    assert status(await ask(p.extended, "check-file-handle", check(writing, "md5")))[0] == 3
    assert status(await ask(p.close, writing)) == OK


async def test_names_by_id_knows_the_account_and_nobody_else(peer):
    ids = p.s(p.u32(1001) + p.u32(0)) + p.s(p.u32(1002) + p.u32(4))
    fields = p.Fields((await peer.ask(p.extended, "users-groups-by-id@openssh.com", ids)).data)
    assert fields.s() == p.s("alice") + p.s("")
    assert fields.s() == p.s("alice") + p.s("")
    many = p.s(p.u32(1) * 1025) + p.s(b"")
    assert status(await peer.ask(p.extended, "users-groups-by-id@openssh.com", many))[0] == 4


async def test_listings_show_the_account_as_owner(peer):
    peer.session.put("/d/f", uid=1001, gid=1002)
    handle = (await peer.ask(p.opendir, "/d")).handle
    line = (await peer.ask(p.readdir, handle)).names[-1].longname
    assert line.split()[2:4] == [b"alice", b"alice"]
    assert status(await peer.ask(p.close, handle)) == OK


def test_an_account_without_ids_owns_what_the_server_owns():
    names = AccountNames(Principal(Account(username="a b\n"), "password", ""))
    assert names.user(os.geteuid()) == "a_b_"
    assert names.group(os.getegid()) == "a_b_"
    assert names.user(os.geteuid() + 1) is None


async def test_an_unknown_extension_is_unsupported(peer):
    assert status(await peer.ask(p.extended, "flock@openssh.com", p.s("x"))) == (8, "operation unsupported")
    assert status(await peer.ask(lambda rid: p.packet(77, p.u32(rid)))) == (8, "operation unsupported")
