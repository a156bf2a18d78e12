# SPDX-License-Identifier: Apache-2.0
"""Each request of SFTP 3, with a backend that answers at once and with one that waits."""

from __future__ import annotations

import logging

import pytest
from tests.support import sftp_packets as p
from tests.support.memory_session import MemorySession
from tests.support.sftp_peer import Peer

from tidegate import errors
from tidegate.model import Attrs, Kind
from tidegate.vfs.api import OpenFlags


@pytest.fixture(params=["at once", "waiting"])
async def peer(request):
    session = MemorySession()
    async with Peer(session) as peer:
        session.slow = request.param == "waiting"
        yield peer


def status(reply):
    assert reply.kind == 101
    return reply.code, reply.text


OK = (0, "success")


async def test_version_answers_init(peer):
    assert peer.version.kind == 2
    assert peer.version.rid == 3
    assert peer.version.extensions[b"statvfs@openssh.com"] == b"2"
    assert b"blake3" in peer.version.extensions[b"check-file"]


async def test_a_small_file_that_changes_while_it_is_read(peer):
    peer.session.put("/f", b"0123456789")
    handle = await peer.open("/f")
    node = peer.session.open_files[-1].node
    node.data += b"x" * 100_000
    got = (await peer.ask(p.read, handle, 0, 261120)).data
    while (reply := await peer.ask(p.read, handle, len(got), 261120)).kind == 103:
        assert reply.data
        got += reply.data
    assert status(reply) == (1, "end of file")
    assert got == b"0123456789" + b"x" * 100_000
    del node.data[4:]
    assert (await peer.ask(p.read, handle, 0, 261120)).data == b"0123"
    assert status(await peer.ask(p.read, handle, 4, 261120)) == (1, "end of file")
    node.data.clear()
    assert status(await peer.ask(p.read, handle, 0, 261120)) == (1, "end of file")


async def test_upload_and_download(peer):
    handle = await peer.open("/f", "w")
    assert status(await peer.ask(p.write, handle, 0, b"hello ")) == OK
    assert status(await peer.ask(p.write, handle, 6, b"world")) == OK
    assert status(await peer.ask(p.close, handle)) == OK
    handle = await peer.open("/f")
    assert (await peer.ask(p.read, handle, 0, 1000)).data == b"hello world"
    assert (await peer.ask(p.read, handle, 6, 3)).data == b"wor"
    assert status(await peer.ask(p.read, handle, 11, 10)) == (1, "end of file")
    assert status(await peer.ask(p.read, handle, 2**40, 10)) == (1, "end of file")
    assert status(await peer.ask(p.read, handle, 2**64 - 1, 10)) == (1, "end of file")
    assert status(await peer.ask(p.close, handle)) == OK
    assert peer.session.data("/f") == b"hello world"


async def test_a_read_above_the_bound_is_answered_short(peer):
    peer.session.put("/big", bytes(600_000))
    handle = await peer.open("/big")
    assert len((await peer.ask(p.read, handle, 0, 2**32 - 1)).data) == 261120
    assert status(await peer.ask(p.close, handle)) == OK


async def test_an_empty_write_and_an_empty_read(peer):
    handle = await peer.open("/f", "w+")
    assert status(await peer.ask(p.write, handle, 0, b"")) == OK
    assert status(await peer.ask(p.read, handle, 0, 0)) == (1, "end of file")
    assert status(await peer.ask(p.close, handle)) == OK


@pytest.mark.parametrize(
    ("bits", "flags"),
    [
        (0x01, OpenFlags(read=True)),
        (0x1A, OpenFlags(write=True, create=True, truncate=True)),
        (0x0E, OpenFlags(write=True, append=True, create=True)),
        (0x2A, OpenFlags(write=True, create=True, exclusive=True)),
        (0x1B, OpenFlags(read=True, write=True, create=True, truncate=True)),
        (0x00, OpenFlags(read=True)),
        (0x09, OpenFlags(read=True, write=True, create=True)),
        (0x10, OpenFlags(write=True, truncate=True)),
        (0x04, OpenFlags(write=True, append=True)),
    ],
)
async def test_open_flags(peer, bits, flags):
    peer.session.put("/d/f", b"x")
    path = "/d/f" if not bits & 0x20 else "/d/new"
    handle = await peer.open(path, bits)
    entered = [e for e in peer.session.entered if e[0] == "open"][-1]
    assert entered == ("open", path, flags, None)
    assert status(await peer.ask(p.close, handle)) == OK


async def test_open_passes_attributes_on(peer):
    reply = await peer.ask(p.open_, "/f", "w", p.attrs(mode=0o100600, times=(1, 2)))
    assert peer.session.nodes["/f"].mode == 0o600
    assert peer.session.nodes["/f"].mtime_ns == 2 * 10**9
    assert status(await peer.ask(p.close, reply.handle)) == OK


async def test_exclusive_open_refuses_an_existing_file(peer):
    peer.session.put("/f")
    assert status(await peer.ask(p.open_, "/f", "x")) == (4, "already exists")


async def test_append_writes_at_the_end_whatever_the_offset(peer):
    peer.session.put("/log", b"one\n")
    handle = await peer.open("/log", "a")
    assert status(await peer.ask(p.write, handle, 0, b"two\n")) == OK
    assert status(await peer.ask(p.close, handle)) == OK
    assert peer.session.data("/log") == b"one\ntwo\n"


async def test_open_errors(peer):
    peer.session.put("/d/f")
    assert status(await peer.ask(p.open_, "/nope")) == (2, "No such file or directory")
    assert status(await peer.ask(p.open_, "/d", "w"))[0] == 8
    assert status(await peer.ask(p.open_, "/d", "r"))[0] == 4
    assert status(await peer.ask(p.open_, "/no/dir/f", "w"))[0] == 2
    assert status(await peer.ask(p.open_, b"/a\0b"))[0] == 4
    assert status(await peer.ask(p.open_, b"/" + b"x" * 5000))[0] == 4


async def test_reading_and_writing_need_the_right_handle(peer):
    peer.session.put("/f", b"x")
    reading, writing = await peer.open("/f"), await peer.open("/f", "a")
    assert status(await peer.ask(p.write, reading, 0, b"y")) == (4, "handle is not open for writing")
    assert status(await peer.ask(p.read, writing, 0, 1)) == (4, "handle is not open for reading")
    for handle in (reading, writing):
        assert status(await peer.ask(p.close, handle)) == OK


async def test_stat_and_lstat(peer):
    peer.session.put("/d/f", b"12345")
    await peer.session.symlink("f", peer.session.start_directory.child("d").child("l"))
    assert (await peer.ask(p.stat, "/d/f")).attrs["size"] == 5
    assert (await peer.ask(p.stat, "/d/l")).attrs["mode"] == 0o100644
    assert (await peer.ask(p.lstat, "/d/l")).attrs["mode"] == 0o120777
    assert (await peer.ask(p.stat, "d/../d/./f")).attrs["size"] == 5
    assert (await peer.ask(p.stat, "/")).attrs["mode"] == 0o040755
    assert status(await peer.ask(p.stat, "/x"))[0] == 2
    assert status(await peer.ask(p.stat, "/d/f/below"))[0] == 2


async def test_fstat_counts_what_was_written(peer):
    handle = await peer.open("/f", "w")
    await peer.ask(p.write, handle, 0, b"123")
    assert (await peer.ask(p.fstat, handle)).attrs["size"] == 3
    assert status(await peer.ask(p.close, handle)) == OK


async def test_setstat_of_every_attribute(peer):
    node = peer.session.put("/f", b"123456")
    attributes = p.attrs(size=3, owner=(5, 6), mode=0o100700, times=(7, 8))
    assert status(await peer.ask(p.setstat, "/f", attributes)) == OK
    assert (bytes(node.data), node.uid, node.gid, node.mode) == (b"123", 5, 6, 0o700)
    assert (node.atime_ns, node.mtime_ns) == (7 * 10**9, 8 * 10**9)
    assert status(await peer.ask(p.setstat, "/none", attributes))[0] == 2


async def test_fsetstat(peer):
    handle = await peer.open("/f", "w")
    assert status(await peer.ask(p.fsetstat, handle, p.attrs(times=(7, 8)))) == OK
    assert peer.session.nodes["/f"].mtime_ns == 8 * 10**9
    peer.session.errors["fsetstat"] = errors.Unsupported()
    assert status(await peer.ask(p.fsetstat, handle, p.attrs(mode=0o600))) == OK
    assert status(await peer.ask(p.fsetstat, handle, p.attrs(size=1)))[0] == 8
    assert status(await peer.ask(p.close, handle)) == OK


async def test_a_listing(peer):
    for i in range(300):
        peer.session.put(f"/d/file{i:03}", b"x" * i)
    peer.session.batch = 70
    handle = (await peer.ask(p.opendir, "/d")).handle
    names = []
    while (reply := await peer.ask(p.readdir, handle)).kind == 104:
        assert 1 <= len(reply.names) <= 250
        names += reply.names
    assert status(reply) == (1, "end of file")
    assert status(await peer.ask(p.readdir, handle)) == (1, "end of file")
    assert [n.name for n in names] == [b".", b".."] + [b"file%03d" % i for i in range(300)]
    assert [n.attrs["size"] for n in names[2:]] == list(range(300))
    assert names[0].attrs["mode"] == names[1].attrs["mode"] == 0o040755
    assert names[5].longname.startswith(b"-rw-r--r--  ")
    assert names[5].longname.endswith(b" file003")
    assert (await peer.ask(p.fstat, handle)).attrs["mode"] == 0o040755
    assert status(await peer.ask(p.close, handle)) == OK
    assert status(await peer.ask(p.readdir, handle)) == (4, "invalid handle")


async def test_an_empty_root_lists_itself_and_itself_as_its_parent(peer):
    handle = (await peer.ask(p.opendir, "/")).handle
    assert [n.name for n in (await peer.ask(p.readdir, handle)).names] == [b".", b".."]
    assert status(await peer.ask(p.readdir, handle))[0] == 1
    assert status(await peer.ask(p.close, handle)) == OK


async def test_listing_where_stat_is_refused_still_shows_the_dots(peer):
    peer.session.put("/d/f")
    peer.session.errors["stat"] = errors.Denied()
    handle = (await peer.ask(p.opendir, "/d")).handle
    names = (await peer.ask(p.readdir, handle)).names
    assert [n.name for n in names] == [b".", b"..", b"f"]
    assert status(await peer.ask(p.close, handle)) == OK


async def test_opendir_errors_come_with_opendir(peer):
    peer.session.put("/f")
    assert status(await peer.ask(p.opendir, "/none"))[0] == 2
    assert status(await peer.ask(p.opendir, "/f"))[0] == 4
    peer.session.errors["list"] = errors.Denied("permission: list on /")
    assert status(await peer.ask(p.opendir, "/")) == (3, "permission: list on /")


async def test_readdir_of_a_file_handle(peer):
    handle = await peer.open("/f", "w")
    assert status(await peer.ask(p.readdir, handle)) == (4, "not a directory")
    assert status(await peer.ask(p.close, handle)) == OK


async def test_setstat_through_a_directory_handle(peer):
    peer.session.put("/d/f")
    handle = (await peer.ask(p.opendir, "/d")).handle
    assert status(await peer.ask(p.fsetstat, handle, p.attrs(mode=0o40700))) == OK
    assert peer.session.nodes["/d"].mode == 0o700
    assert status(await peer.ask(p.close, handle)) == OK


async def test_remove_mkdir_rmdir(peer):
    peer.session.put("/f")
    assert status(await peer.ask(p.mkdir, "/d", p.attrs(mode=0o750))) == OK
    assert peer.session.nodes["/d"].kind is Kind.DIRECTORY
    assert peer.session.entered[-1] == ("mkdir", "/d", Attrs(mode=0o750))
    assert status(await peer.ask(p.mkdir, "/d")) == (4, "already exists")
    assert status(await peer.ask(p.remove, "/d")) == (4, "is a directory")
    assert status(await peer.ask(p.rmdir, "/f")) == (4, "not a directory")
    assert status(await peer.ask(p.rmdir, "/"))[0] == 3
    assert status(await peer.ask(p.rmdir, "/d")) == OK
    assert status(await peer.ask(p.remove, "/f")) == OK
    assert status(await peer.ask(p.remove, "/f"))[0] == 2


@pytest.mark.parametrize(
    ("path", "clean"),
    [
        (b".", b"/home/al"),
        (b"", b"/home/al"),
        (b"x/../y", b"/home/al/y"),
        (b"/no/./such//dir/", b"/no/such/dir"),
        (b"/../..", b"/"),
        (b"..", b"/home"),
        (b"\xff\xfe", b"/home/al/\xff\xfe"),
        (b"a b\xc3\xa9", b"/home/al/a b\xc3\xa9"),
    ],
)
async def test_realpath(path, clean):
    async with Peer(MemorySession(start="/home/al")) as peer:
        reply = await peer.ask(p.realpath, path)
        assert [(n.name, n.longname, n.attrs) for n in reply.names] == [(clean, clean, {})]


async def test_relative_paths_start_at_the_start_directory():
    async with Peer(MemorySession(start="/home/al")) as peer:
        peer.session.put("/home/al/f", b"abc")
        assert (await peer.ask(p.stat, "f")).attrs["size"] == 3


async def test_rename_refuses_and_posix_rename_replaces(peer):
    peer.session.put("/a", b"A")
    peer.session.put("/b", b"B")
    assert status(await peer.ask(p.rename, "/a", "/b")) == (4, "already exists")
    assert peer.session.data("/b") == b"B"
    assert status(await peer.ask(p.extended, "posix-rename@openssh.com", p.s("/a") + p.s("/b"))) == OK
    assert peer.session.data("/b") == b"A"
    assert status(await peer.ask(p.rename, "/b", "/c")) == OK
    assert status(await peer.ask(p.rename, "/b", "/c"))[0] == 2


async def test_symlink_takes_the_text_first_as_openssh_does(peer):
    peer.session.put("/d/f", b"abc")
    assert status(await peer.ask(p.symlink, "../d/f", "/link")) == OK
    assert peer.session.nodes["/link"].text == "../d/f"
    assert [n.name for n in (await peer.ask(p.readlink, "/link")).names] == [b"../d/f"]
    assert status(await peer.ask(p.symlink, "x", "/link")) == (4, "already exists")
    assert status(await peer.ask(p.symlink, "", "/l2"))[0] == 4
    assert status(await peer.ask(p.symlink, b"a\0b", "/l2"))[0] == 4
    assert status(await peer.ask(p.symlink, b"x" * 5000, "/l2"))[0] == 4
    assert status(await peer.ask(p.readlink, "/d/f"))[0] == 8


async def test_names_of_any_bytes_survive(peer):
    raw = bytes(range(1, 256)).replace(b"/", b"")
    handle = (await peer.ask(p.open_, b"/" + raw, "w")).handle
    assert status(await peer.ask(p.close, handle)) == OK
    handle = (await peer.ask(p.opendir, "/")).handle
    assert raw in [n.name for n in (await peer.ask(p.readdir, handle)).names]
    assert status(await peer.ask(p.close, handle)) == OK


async def test_trailing_bytes_are_tolerated(peer):
    peer.session.put("/f", b"abc")
    handle = await peer.open("/f", "r+")
    for build in (
        lambda rid: p.packet(17, p.u32(rid) + p.s("/f") + b"extra"),
        lambda rid: p.packet(5, p.u32(rid) + p.s(handle) + p.u64(0) + p.u32(9) + b"extra"),
        lambda rid: p.packet(6, p.u32(rid) + p.s(handle) + p.u64(3) + p.s(b"d") + b"extra"),
        lambda rid: p.packet(4, p.u32(rid) + p.s(handle) + b"extra"),
    ):
        reply = await peer.ask(build)
        assert reply.kind in (103, 105) or status(reply) == OK
    assert peer.session.data("/f") == b"abcd"


@pytest.mark.parametrize("call", ["stat", "open", "close", "readinto_nowait", "write_nowait"])
async def test_an_unforeseen_error_is_answered_and_logged(peer, call, caplog):
    peer.session.put("/f", b"abc")
    handle = await peer.open("/f", "r+")
    names = {"readinto_nowait": "read", "write_nowait": "write"}
    peer.session.errors[names.get(call, call) if peer.session.slow else call] = ZeroDivisionError(
        "/host/path"
    )
    build = {
        "stat": lambda rid: p.stat(rid, "/f"),
        "open": lambda rid: p.open_(rid, "/f"),
        "close": lambda rid: p.close(rid, handle),
        "readinto_nowait": lambda rid: p.read(rid, handle, 0, 3),
        "write_nowait": lambda rid: p.write(rid, handle, 0, b"x"),
    }[call]
    with caplog.at_level(logging.ERROR):
        assert status(await peer.ask(build)) == (4, "internal error")
    assert "ZeroDivisionError" in caplog.text
    peer.session.errors.clear()
    assert (await peer.ask(p.stat, "/f")).attrs["size"] == 3
    peer.session.open_files.clear() if call == "close" else None


async def test_errors_of_reads_and_writes_reach_the_client(peer):
    peer.session.put("/f", b"abc")
    handle = await peer.open("/f", "r+")
    for name in ("read", "readinto_nowait"):
        peer.session.errors[name] = errors.QuotaExceeded("denying read due to quota limit")
    for name in ("write", "write_nowait"):
        peer.session.errors[name] = errors.StorageFull()
    assert status(await peer.ask(p.read, handle, 0, 3)) == (4, "denying read due to quota limit")
    assert status(await peer.ask(p.write, handle, 0, b"x")) == (4, "no space left on storage")
    assert status(await peer.ask(p.write, handle, 2**63 - 2, b"xx")) == (4, "invalid write offset")
    peer.session.errors = {"close": errors.TooLarge()}
    assert status(await peer.ask(p.close, handle)) == (4, "file too large: max_upload_file_size")
    peer.session.open_files.clear()
