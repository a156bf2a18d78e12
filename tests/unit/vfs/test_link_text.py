# SPDX-License-Identifier: Apache-2.0
"""A link's text is content: READLINK gives back what SYMLINK was given, wherever the link comes to lie."""

from __future__ import annotations

import os
import posixpath
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from tests.support.vfs_world import World, get, p, put, vfs_world

from tidegate import errors as e
from tidegate.backends.local import LocalBackend

TEXTS = [
    "f",
    "./f",
    "../d/f",
    "/d/f",
    "/d/./f",
    "//d/f",
    "/d/f/",
    ".",
    "x/../f",
    "/nowhere",
    ".//f",
    ".//.//f",
    ".///.//f",
    ".////.//../d/f",
    "é\udcff",
]


@pytest.fixture
async def world(tmp_path: Path):
    async with vfs_world(tmp_path) as world:
        world.account(virtual_folders=(world.mount("v", "/v"),))
        yield world


@pytest.mark.parametrize("text", TEXTS)
async def test_the_text_is_kept_to_the_letter(world: World, text: str) -> None:
    alice = await world.login()
    await alice.mkdir(p("/d"))
    await put(alice, "/d/f", b"content")
    await alice.symlink(text, p("/d/link"))
    size = len(os.fsencode(text))
    assert await alice.readlink(p("/d/link")) == text
    assert (await alice.stat(p("/d/link"), follow=False)).size == size
    listed = [entry async for batch in alice.list(p("/d")) for entry in batch]
    assert {entry.size for entry in listed if entry.name == "link"} == {size}


@pytest.mark.parametrize("text", ["/d/f", "f", "/v/x"])
async def test_absolute_links_lead_to_the_same_place_after_moves(world: World, text: str) -> None:
    alice = await world.login()
    await alice.mkdir(p("/d"))
    await put(alice, "/d/f", b"content")
    await alice.mkdir(p("/a"))
    await alice.mkdir(p("/a/b"))
    if text == "/v/x":
        with pytest.raises(e.OtherDevice, match="links do not cross folders"):
            await alice.symlink(text, p("/a/b/link"))
        return
    await alice.symlink(text, p("/a/b/link"))
    await alice.rename(p("/a/b/link"), p("/d/link"), replace=False)
    assert await alice.readlink(p("/d/link")) == text
    assert await get(alice, "/d/link") == b"content"
    assert (world.home() / "d/link").read_bytes() == b"content"
    await alice.rename(p("/d/link"), p("/a/b/link"), replace=False)
    await alice.rename(p("/a/b"), p("/b"), replace=False)
    assert await alice.readlink(p("/b/link")) == text
    if text.startswith("/"):
        assert await get(alice, "/b/link") == b"content"
        assert (world.home() / "b/link").read_bytes() == b"content"


@pytest.mark.parametrize(
    ("text", "kept"),
    [("/v/f", "/v/f"), ("/v//f", "/v//f"), ("f", "f"), ("./f", "./f"),
     ("../v/f", "f"), ("//v/f", "/v/f"), ("/x/../v/f", "/v/f")],
)  # fmt: skip
async def test_in_a_folder_the_root_of_its_storage_is_where_it_is_mounted(
    world: World, text: str, kept: str
) -> None:
    alice = await world.login()
    await put(alice, "/v/f", b"content")
    await alice.symlink(text, p("/v/link"))
    assert await alice.readlink(p("/v/link")) == kept
    assert await get(alice, "/v/link") == b"content"
    assert (world.folder_dir("v") / "link").read_bytes() == b"content"


@pytest.mark.parametrize(
    ("text", "kept"), [("../../../d/f", "f"), ("/../d/f", "/d/f"), ("/a/../../d/f", "/d/f")]
)
async def test_words_that_climb_over_the_root_stop_there(world: World, text: str, kept: str) -> None:
    alice = await world.login()
    await alice.mkdir(p("/d"))
    await put(alice, "/d/f", b"content")
    await alice.symlink(text, p("/d/link"))
    assert await alice.readlink(p("/d/link")) == kept
    assert await get(alice, "/d/link") == b"content"


async def test_with_several_rules_words_that_go_back_up_are_stored_as_judged(tmp_path: Path) -> None:
    async with vfs_world(tmp_path) as world:
        world.account(permissions={"/": ("*",), "/p": ("list",)})
        alice = await world.login()
        (world.home() / "p/q").mkdir(parents=True)
        (world.home() / "p/secret").write_bytes(b"secret")
        (world.home() / "way").symlink_to("p/q")  # made on the host
        await put(alice, "/secret", b"mine")
        await alice.symlink("way/../secret", p("/link"))
        assert await alice.readlink(p("/link")) == "secret"
        assert await get(alice, "/link") == b"mine"
        await alice.symlink("./secret", p("/other"))
        assert await alice.readlink(p("/other")) == "./secret"


PART = st.sampled_from(["a", "b", ".", "..", "", "d", ".."])


@given(
    text=st.builds(
        lambda root, parts: root + "/".join(parts),
        st.sampled_from(["", "/"]),
        st.lists(PART, min_size=1, max_size=6),
    ),
    moves=st.lists(st.sampled_from(["link", "d/link", "d/d/link", "a/link"]), min_size=1, max_size=4),
)
@example(text=".//.//a", moves=["link", "d/link"])
@example(text=".///.//../a", moves=["link"])
@settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
async def test_no_text_and_no_move_leads_out_or_changes_it(
    tmp_path_factory, text: str, moves: list[str]
) -> None:
    """At the storage: what is taken is given back after any move, and an absolute one leads where it led."""
    base = tmp_path_factory.mktemp("text")
    home = base / "home"
    for name in ("d/d", "a"):
        (home / name).mkdir(parents=True)
    (base / "a").write_bytes(b"outside")
    (home / "b").write_bytes(b"inside")
    backend = LocalBackend(str(home))
    await backend.open()
    try:
        if not text:
            return
        here = moves[0]
        try:
            await backend.symlink(text, here)
        except e.Denied:
            return
        assert await backend.readlink(here) == text
        for there in moves[1:]:
            if there == here:
                continue
            await backend.rename(here, there, replace=True)
            here = there
            try:
                assert await backend.readlink(here) == text
            except e.Denied:
                assert not text.startswith("/")  # a relative one that leads out from here
        plain = posixpath.normpath(text)
        # A slash at the end asks for a directory, also of what is none.
        if text.startswith("/") and plain.strip("/") == text.strip("/") and not text.endswith("/"):
            try:
                direct = await backend.stat(plain.strip("/"))
            except e.TidegateError:
                return
            assert (await backend.stat(here)).kind == direct.kind
    finally:
        await backend.close()
