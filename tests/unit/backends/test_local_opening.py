# SPDX-License-Identifier: Apache-2.0
"""Opening for writing: through links and not, and what is said if it cannot be."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tidegate.abc import OpenOptions, Outcome, Publish
from tidegate.backends.local import LocalBackend
from tidegate.errors import AlreadyExists, Conflict, Denied, IsADirectory, NotFound, TidegateError

WANTED = {"write": True, "create": True}


@pytest.fixture(params=[None, False], ids=["openat2", "portable"])
async def backend(request, tmp_path):
    (tmp_path / "root").mkdir()
    backend = LocalBackend(str(tmp_path / "root"), kernel=request.param)
    await backend.open()
    yield backend
    await backend.close()


async def put(backend: LocalBackend, key: str, data: bytes, **options: object) -> int | None:
    handle = await backend.open_file(key, OpenOptions(**{**WANTED, **options}))
    await handle.write(0, data)
    await handle.close(Outcome.COMMIT)
    return handle.existed_size


async def test_an_upload_leads_through_links_inside_only(backend, tmp_path: Path):
    outside = tmp_path / "outside"
    outside.mkdir()
    (tmp_path / "root/out").symlink_to(outside)
    (tmp_path / "root/dangling").symlink_to("target")
    (tmp_path / "root/astray").symlink_to(outside / "f")
    (tmp_path / "root/d").mkdir()
    (tmp_path / "root/in").symlink_to("d")
    for key in ("out/f", "astray"):
        with pytest.raises(Denied):
            await put(backend, key, b"x")
    assert list(outside.iterdir()) == []
    await put(backend, "dangling", b"through")
    assert (tmp_path / "root/target").read_bytes() == b"through"
    await put(backend, "in/f", b"inside")
    assert (tmp_path / "root/d/f").read_bytes() == b"inside"


async def test_an_upload_says_what_is_wrong(backend, tmp_path: Path):
    (tmp_path / "root/d").mkdir()
    (tmp_path / "root/f").touch()
    for key, error in (("no/f", NotFound), ("f/g", NotFound), ("", IsADirectory)):
        with pytest.raises(error):
            await put(backend, key, b"x")
    with pytest.raises(TidegateError):
        await put(backend, "d", b"x")
    assert (tmp_path / "root/d").is_dir()


async def test_survey_says_where_a_name_is_and_what(backend, tmp_path: Path):
    (tmp_path / "root/d").mkdir()
    (tmp_path / "root/d/f").write_bytes(b"abc")
    (tmp_path / "root/in").symlink_to("d")
    (tmp_path / "root/last").symlink_to("d/f")
    for key in ("d/f", "in/f"):
        place, entry = await backend.survey(key)
        assert (place, entry.size, entry.name) == ("d/f", 3, "f")
    place, entry = await backend.survey("last")
    assert place == "last"
    assert entry.is_link
    assert await backend.survey("in/none") == ("d/none", None)
    assert await backend.survey("none") == ("none", None)
    assert await backend.survey("no/none") == ("no/none", None)
    place, entry = await backend.survey("")
    assert place == ""
    assert entry.is_dir


@pytest.mark.parametrize("publish", list(Publish))
async def test_what_must_be_reached_without_links_is(backend, tmp_path: Path, publish: Publish):
    root = tmp_path / "root"
    (root / "d").mkdir()
    (root / "in").symlink_to("d")
    (root / "last").symlink_to("d/f")
    how = {"publish": publish, "truncate": True}
    backend = backend.unlinked
    for key in ("d/f", "f"):
        await put(backend, key, b"first", **how)
    for key in ("in/f", "last", "in/g"):
        with pytest.raises(Conflict):
            await put(backend, key, b"x", **how)
    with pytest.raises(NotFound):
        await put(backend, "no/f", b"x", **how)
    with pytest.raises(AlreadyExists):
        await put(backend, "f", b"x", **how, exclusive=True)
    await put(backend, "d/f", b"in the directory", **how)
    await put(backend, "f", b"in the root", **how)
    assert (root / "d/f").read_bytes() == b"in the directory"
    assert (root / "f").read_bytes() == b"in the root"
    assert sorted(path.name for path in (root / "d").iterdir()) == ["f"]


async def test_truncating_an_empty_file_is_a_change(backend, tmp_path: Path):
    """O_TRUNC marks the time of change, whatever the size was; who waits for a file goes by it."""
    path = tmp_path / "root" / "empty"
    path.write_bytes(b"")
    os.utime(path, (1_000_000_000, 1_000_000_000))
    handle = await backend.open_file("empty", OpenOptions(write=True, create=True, truncate=True))
    await handle.close(Outcome.COMMIT)
    assert path.stat().st_mtime > 1_500_000_000
