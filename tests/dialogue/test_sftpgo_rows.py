# SPDX-License-Identifier: Apache-2.0
"""Acts that are allowed here and not in SFTPGo, or the other way round: rows of docs/how_to/move-from-sftpgo.md."""

from __future__ import annotations

import os
from pathlib import Path

from tests.dialogue.test_sftpgo_decisions import C, R, T, W, code, talking
from tests.support import sftp_packets as p

from tidegate.model import FilePatterns, FolderMount

OK, NO_SUCH_FILE, DENIED, FAILURE, UNSUPPORTED = 0, 2, 3, 4, 8


async def test_the_handle_that_creates_a_file_sets_its_size_with_upload_alone(tmp_path: Path) -> None:
    async with talking(tmp_path, permissions={"/": ("upload",)}) as (peer, home, _):
        handle = await peer.open("/new", W | C | T)
        assert await code(peer, p.write, handle, 0, b"x" * 100) == OK
        assert await code(peer, p.fsetstat, handle, p.attrs(size=7)) == OK
        assert (await peer.ask(p.fstat, handle)).attrs["size"] == 7  # without `list`
        assert await code(peer, p.close, handle) == OK
        assert (home / "new").stat().st_size == 7
        assert await code(peer, p.setstat, "/new", p.attrs(size=3)) == DENIED


async def test_rename_dirs_moves_a_directory_with_files(tmp_path: Path) -> None:
    async with talking(tmp_path, permissions={"/": ("list", "rename_dirs")}) as (peer, home, _):
        assert await code(peer, p.rename, "/p", "/q") == OK
        assert (home / "q/secret.key").exists()
        assert await code(peer, p.rename, "/f", "/g") == DENIED


async def test_readlink_tells_the_text_and_nothing_behind_it(tmp_path: Path) -> None:
    async with talking(tmp_path, permissions={"/": ("*",), "/p": ()}) as (peer, home, _):
        (home / "l").symlink_to("p/secret.key")
        assert (await peer.ask(p.readlink, "/l")).names[0].name == b"p/secret.key"
        assert await code(peer, p.stat, "/l") in (DENIED, NO_SUCH_FILE)
        assert await code(peer, p.symlink, "p", "/to") == DENIED
        assert await code(peer, p.rename, "/p", "/q") == DENIED


async def test_realpath_without_list_is_text(tmp_path: Path) -> None:
    async with talking(tmp_path, permissions={"/": ("upload",)}) as (peer, home, _):
        (home / "l").symlink_to("p")
        for asked in ("/l/../f", "/l", "/none"):
            told = (await peer.ask(p.realpath, asked)).names[0].name
            assert told == {"/l/../f": b"/f"}.get(asked, asked.encode())


async def test_the_most_literal_of_several_keys_counts(tmp_path: Path) -> None:
    rights = {
        "/": ("list",),
        "/d*": ("list",),
        "/d?": ("list", "upload"),
        "/d[12]": ("list", "upload", "delete"),
    }
    async with talking(tmp_path, permissions=rights) as (peer, home, _):
        for name in ("d1", "d3", "dx"):
            (home / name).mkdir()
            (home / name / "f").touch()
        assert [await code(peer, p.remove, f"/{name}/f") for name in ("d1", "d3", "dx")] == [
            OK,
            DENIED,
            DENIED,
        ]


async def test_statvfs_tells_nothing_of_the_path(tmp_path: Path) -> None:
    async with talking(tmp_path, permissions={"/": ("upload",)}, quota_size=300) as (peer, _, _):
        answers = [await peer.ask(p.extended, "statvfs@openssh.com", p.s(x)) for x in ("/f", "/none")]
        assert [reply.kind for reply in answers] == [201, 201]
        # Without the free and the available inodes, which others on this disk change meanwhile.
        first, second = (reply.data[:48] + reply.data[64:] for reply in answers)
        assert first == second
    async with talking(tmp_path / "b", permissions={"/": ("download",)}) as (peer, _, _):
        assert await code(peer, p.extended, "statvfs@openssh.com", p.s("/")) == DENIED


async def test_links_that_loop_or_lead_outside_can_be_cleaned_up(tmp_path: Path) -> None:
    async with talking(tmp_path) as (peer, home, _):
        (home / "loop").symlink_to("loop")
        (home / "out").symlink_to("/etc/passwd")
        for name in ("loop", "out"):
            assert (await peer.ask(p.lstat, f"/{name}")).kind == 105
            assert (await peer.ask(p.open_, f"/{name}", R)).kind == 101
            assert await code(peer, p.rename, f"/{name}", f"/{name}2") == OK
            assert await code(peer, p.remove, f"/{name}2") == OK


async def test_names_and_modes(tmp_path: Path) -> None:
    async with talking(tmp_path) as (peer, home, _):
        handle = await peer.open("/back\\slash", W | C)
        await peer.ask(p.close, handle)
        assert (home / "back\\slash").exists()
        assert await code(peer, p.open_, "/n/", W | C) == UNSUPPORTED
        reply = await peer.ask(p.open_, "/m", W | C, p.attrs(mode=0o600))
        await peer.ask(p.close, reply.handle)
        assert (home / "m").stat().st_mode & 0o7777 == 0o600
        assert await code(peer, p.setstat, "/m", p.attrs(mode=0o6777)) == OK
        assert (home / "m").stat().st_mode & 0o7777 == 0o777


async def test_quota_in_files_counts_when_a_file_is_opened(tmp_path: Path) -> None:
    async with talking(tmp_path, quota_files=2) as (peer, _, _):
        kinds = [(await peer.ask(p.open_, f"/n{n}", W | C)).kind for n in range(3)]
        assert kinds == [102, 102, 101]


async def test_a_directory_of_thousands_is_listed_in_large_packets(tmp_path: Path) -> None:
    async with talking(tmp_path) as (peer, home, _):
        for number in range(600):
            (home / f"n{number}").touch()
        handle = (await peer.ask(p.opendir, "/")).handle
        sizes = []
        while (reply := await peer.ask(p.readdir, handle)).kind == 104:
            sizes.append(len(reply.names))
        await peer.ask(p.close, handle)
        assert sum(sizes) == 604
        assert max(sizes) > 128


async def test_allow_lists_name_files_unless_told_otherwise(tmp_path: Path) -> None:
    patterns = (FilePatterns(path="/", allowed_patterns=("*.txt",), deny_policy=1),)
    async with talking(tmp_path, filters={"file_patterns": patterns}) as (peer, home, _):
        (home / "p/a.txt").touch()
        assert (await peer.ask(p.open_, "/p/a.txt", R)).kind == 102
        assert await code(peer, p.open_, "/f", R) in (DENIED, NO_SUCH_FILE)
        assert await code(peer, p.mkdir, "/q") == OK
    patterns = (FilePatterns(path="/", allowed_patterns=("*.txt",), deny_policy=1, directories="all"),)
    async with talking(tmp_path / "all", filters={"file_patterns": patterns}) as (peer, home, _):
        (home / "p/a.txt").touch()
        assert await code(peer, p.opendir, "/p") == NO_SUCH_FILE
        assert await code(peer, p.mkdir, "/q") in (DENIED, NO_SUCH_FILE)


async def test_truncating_an_empty_file_is_a_change_of_it(tmp_path: Path) -> None:
    async with talking(tmp_path) as (peer, home, _):
        (home / "empty").touch()
        os.utime(home / "empty", (1_000_000_000, 1_000_000_000))
        await peer.ask(p.close, await peer.open("/empty", W | T))
        assert (home / "empty").stat().st_mtime > 1_000_000_000


async def test_a_folder_below_a_hidden_directory_is_not_found(tmp_path: Path) -> None:
    mount = FolderMount(name="m", virtual_path="/d1/sub/m", mapped_path=str(tmp_path / "m"))
    patterns = (FilePatterns(path="/", denied_patterns=("d1",), deny_policy=1),)
    account = {"filters": {"file_patterns": patterns}, "virtual_folders": (mount,)}
    async with talking(tmp_path / "w", **account) as (peer, _, _):
        for path in ("/d1", "/d1/sub", "/d1/sub/m"):
            assert await code(peer, p.opendir, path) == NO_SUCH_FILE
            assert await code(peer, p.stat, path) == NO_SUCH_FILE
        handle = (await peer.ask(p.opendir, "/")).handle
        assert "d1" not in {one.name.decode() for one in (await peer.ask(p.readdir, handle)).names}
        await peer.ask(p.close, handle)


async def test_a_link_moves_below_what_it_leads_to(tmp_path: Path) -> None:
    async with talking(tmp_path) as (peer, home, _):
        (home / "p/up").symlink_to("..")
        assert await code(peer, p.rename, "/p/up", "/p/up/p/x") == OK
        assert os.readlink(home / "p/x") == ".."
        long = "/" + "n" * 256
        assert (await peer.ask(p.realpath, long)).names[0].name == long.encode()
