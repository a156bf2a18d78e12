# SPDX-License-Identifier: Apache-2.0
"""The root of a local storage: closed, pinned, removed, replaced, and the ways down, with openat2 and without."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tidegate.backends.local import device as device_module
from tidegate.backends.local.device import SLOW_CALL_NS, STALL_NS, STRIKE_WINDOW_NS, Device
from tidegate.backends.local.root import Root, make_root
from tidegate.errors import Denied, InvalidHandle, IsADirectory, LinkMet, StorageFailed, TooManyLinks

READ = os.O_RDONLY | os.O_CLOEXEC


@pytest.fixture
def home(tmp_path: Path) -> Path:
    home = tmp_path / "home"
    (home / "d" / "e").mkdir(parents=True)
    (home / "f").write_bytes(b"f")
    (home / "d" / "g").write_bytes(b"g")
    (home / "to_f").symlink_to("f")
    (home / "to_d").symlink_to("d")
    (home / "out").symlink_to("..")
    (home / "dot").symlink_to("d/.")
    (home / "loop").symlink_to("loop")
    (home / "d" / "up").symlink_to("../f")
    return home


@pytest.fixture(params=[None, False], ids=["kernel", "portable"])
def root(home: Path, request: pytest.FixtureRequest) -> Iterator[Root]:
    root = Root(str(home), kernel=request.param)
    root.open()
    assert request.param is None or root._kernel is False  # what was asked for is not found out
    yield root
    root.close()


def is_open(fd: int) -> bool:
    return os.path.lexists(f"/proc/self/fd/{fd}")  # listing it would open the very number that is free


def content(root: Root, path: bytes) -> bytes:
    fd = root.resolve(path, READ)
    try:
        return os.read(fd, 10)
    finally:
        os.close(fd)


# -- life ----------------------------------------------------------------------------------------------------


WAYS: list[Callable[[Root], object]] = [
    lambda root: root.resolve(b"f", READ),
    lambda root: root.resolve(b"d/g", READ),
    lambda root: root.resolve(b"", READ),
    lambda root: root.parent(b"f"),
    lambda root: root.parent(b"d/g"),
    lambda root: root.locate(b"f"),
    lambda root: root.locate(b"d/g"),
    lambda root: root.pin(),
]


@pytest.mark.parametrize("way", WAYS)
def test_a_closed_root_is_reached_by_no_way(root: Root, way: Callable[[Root], object]) -> None:
    below = root.unlinked
    root.close()
    root.close()
    for closed in (root, below):
        with pytest.raises(InvalidHandle, match="storage is closed"):
            way(closed)
        assert closed.plainly(b"f", READ) is None
        assert closed.plain_parent(b"f") is None
        assert closed.plain_parent(b"d/g") is None
        assert closed.fd == -1


def test_a_root_that_was_never_opened(home: Path) -> None:
    root = Root(str(home))
    with pytest.raises(InvalidHandle):
        root.resolve(b"f", READ)
    with pytest.raises(InvalidHandle):
        root.pin()
    root.close()


def test_a_pin_keeps_the_descriptor_until_the_last_one_goes(root: Root) -> None:
    fd = root.fd
    root.pin()
    root.unlinked.pin()  # counts as one of the same root
    root.close()
    assert is_open(fd) and root.fd == fd
    with pytest.raises(InvalidHandle):
        root.pin()  # none comes after
    assert content(root, b"f") == b"f"  # a thread under way goes on
    root.unpin()
    assert is_open(fd)
    root.unlinked.unpin()
    assert not is_open(fd) and root.fd == -1


def test_a_pin_that_went_before_the_end_keeps_nothing(root: Root) -> None:
    fd = root.fd
    root.pin()
    root.unpin()
    assert is_open(fd)
    root.unlinked.close()  # closes the root it belongs to
    assert not is_open(fd)
    assert root.fd == -1


def test_a_root_can_be_opened_again(root: Root) -> None:
    root.close()
    root.open()
    root.pin()
    root.unpin()
    assert content(root, b"f") == content(root.unlinked, b"f") == b"f"


def test_what_cannot_be_opened_leaves_nothing_open(home: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    for path, error in ((home / "f", NotADirectoryError), (home / "gone", FileNotFoundError)):
        root = Root(str(path))
        with pytest.raises(error):
            root.open()
        assert root.fd == -1
    assert len(os.listdir("/proc/self/fd")) == before


def test_whether_the_path_still_leads_here(root: Root, home: Path) -> None:
    assert root.is_current()
    home.rename(home.parent / "old")
    assert not root.is_current()
    assert content(root, b"d/g") == b"g"  # it goes on where it is
    home.mkdir()
    assert not root.is_current()
    home.rmdir()
    home.symlink_to("old")
    assert root.is_current()  # the same directory, by another way
    home.unlink()
    home.write_bytes(b"")
    assert not root.is_current()


def test_a_removed_root_is_empty(root: Root, home: Path) -> None:
    shutil.rmtree(home)
    assert not root.is_current()
    for path in (b"f", b"d/g", b"d"):
        with pytest.raises(FileNotFoundError):
            root.resolve(path, READ)
    with root.parent(b"f") as parent:
        assert parent.lstat() is None
        with pytest.raises(FileNotFoundError):
            os.mkdir(parent.name, dir_fd=parent.fd)
    with pytest.raises(FileNotFoundError):
        root.parent(b"d/g")
    os.close(root.resolve(b"", READ | os.O_DIRECTORY))


# -- the ways down -------------------------------------------------------------------------------------------


def test_links_inside_are_followed_and_those_that_lead_out_are_not(root: Root) -> None:
    assert content(root, b"to_f") == content(root, b"to_d/up") == content(root, b"f") == b"f"
    with pytest.raises(Denied):
        root.resolve(b"out", READ)
    with pytest.raises(Denied):
        root.resolve(b"out/home/f", READ)
    with pytest.raises((TooManyLinks, OSError)):
        root.resolve(b"loop", READ)
    with pytest.raises(FileNotFoundError):
        root.resolve(b"f/below", READ)
    with pytest.raises(NotADirectoryError):
        root.resolve(b"f", READ | os.O_DIRECTORY)


def test_below_an_unlinked_root_no_link_is_followed(root: Root) -> None:
    below = root.unlinked
    assert below is root.unlinked is below.unlinked
    assert below.following is root.following is root
    assert root.follows and not below.follows
    assert content(below, b"f") == b"f"
    for path in (b"to_f", b"to_d/g", b"out", b"loop"):
        with pytest.raises(LinkMet):
            below.resolve(path, READ)
    with pytest.raises(LinkMet):
        below.locate(b"to_f")
    with pytest.raises(LinkMet):
        below.parent(b"to_d/g")


def test_the_plain_way_is_taken_only_where_no_link_is(root: Root) -> None:
    for path, plain in (
        (b"f", True),
        (b"d/g", True),
        (b"to_d/g", False),
        (b"gone/g", False),
        (b"f/x", False),
    ):
        parent = root.plain_parent(path)
        assert (parent is not None) is plain, path
        if parent is not None:
            assert parent.owned is (b"/" in path)
            fd = parent.fd
            parent.close()
            parent.close()
            assert is_open(fd) is (b"/" not in path)
    assert root.plain_parent(b"") is None
    fd = root.plainly(b"f", READ)
    if root._kernel:
        assert fd is not None
        os.close(fd)
        fd = root.plainly(b"", READ)
        assert fd is not None
        os.close(fd)
    else:
        assert fd is None  # cannot be told
    assert root.plainly(b"to_f", READ) is None
    assert root.plainly(b"gone", READ) is None


def test_where_a_path_really_ends(root: Root, home: Path) -> None:
    for path, name, size in (
        (b"f", b"f", 1),
        (b"to_f", b"f", 1),
        (b"to_d/up", b"f", 1),
        (b"to_d/new", b"new", None),
    ):
        parent, found = root.locate(path)
        with parent:
            assert parent.name == name
            assert (None if found is None else found.st_size) == size
            assert parent.lstat() == found or found is None
    (home / "dangling").symlink_to("d/missing")
    with root.locate(b"dangling").parent as parent:
        assert parent.name == b"missing"
    for path, error in ((b"dot", IsADirectory), (b"out", Denied), (b"loop", TooManyLinks), (b"", Denied)):
        with pytest.raises(error):
            root.locate(path)
    before = len(os.listdir("/proc/self/fd"))
    for path in (b"dot", b"out", b"loop", b"d/up"):
        with suppress(IsADirectory, Denied, TooManyLinks):
            root.locate(path).parent.close()
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_parent_can_be_handed_on(root: Root) -> None:
    for path in (b"f", b"d/g"):
        parent = root.parent(path)
        fd = parent.detach()
        parent.close()
        assert is_open(fd) and is_open(root.fd)
        assert fd != root.fd
        os.close(fd)


def test_absolute_texts_are_host_paths(root: Root, home: Path) -> None:
    inside, outside = os.fsencode(home), os.fsencode(home.parent)
    assert root.within(inside + b"/d/g") == b"d/g"
    assert root.within(inside + b"/d/") == b"d"
    assert root.within(inside) in {b"", b"."}
    assert root.within(outside) is None
    assert root.within(inside + b"x/f") is None
    assert root.within(b"/") is None
    assert root.beside(b"d/l", inside + b"/f") == b"f"
    assert root.beside(b"d/l", b"g/") == b"d/g"
    assert root.beside(b"l", b"/".join([b".."])) == b".."
    with pytest.raises(Denied):
        root.beside(b"l", outside)
    assert len(root.beside(b"l", b"x" * 8192)) == 8192
    with pytest.raises(OSError, match="too long"):
        root.beside(b"l", b"x" * 8193)


def test_depth_is_counted_by_climbing(root: Root, home: Path) -> None:
    for path, depth in ((home, 0), (home / "d", 1), (home / "d" / "e", 2)):
        fd = os.open(path, READ | os.O_DIRECTORY)
        assert root.depth(fd) == depth
        os.close(fd)
    outside = os.open(home.parent, READ | os.O_DIRECTORY)
    with pytest.raises(Denied):
        root.depth(outside)
    os.close(outside)


# -- making --------------------------------------------------------------------------------------------------


def test_a_root_is_made_with_its_mode_and_only_if_it_is_not_there(tmp_path: Path) -> None:
    made = tmp_path / "a" / "b" / "home"
    make_root(str(made), mode=0o2750, uid=None, gid=None)
    assert made.stat().st_mode & 0o7777 == 0o2750
    assert [(tmp_path / name).stat().st_mode & 0o7777 for name in ("a", "a/b")] == [0o755, 0o755]
    make_root(str(made), mode=0o700, uid=None, gid=None)
    assert made.stat().st_mode & 0o7777 == 0o2750
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StorageFailed, match="not a directory"):
        make_root(str(tmp_path / "file"), mode=0o700, uid=None, gid=None)
    with pytest.raises(OSError, match="Not a directory"):
        make_root(str(tmp_path / "file" / "home"), mode=0o700, uid=None, gid=None)


@pytest.mark.skipif(os.geteuid() != 0, reason="owners are set by root only")
@pytest.mark.parametrize(("uid", "gid"), [(4711, 4712), (4711, None), (None, 4712), (None, None)])
def test_only_the_root_itself_is_given_away(tmp_path: Path, uid: int | None, gid: int | None) -> None:
    make_root(str(tmp_path / "a" / "home"), mode=0o700, uid=uid, gid=gid)
    made, above = (tmp_path / "a" / "home").stat(), (tmp_path / "a").stat()
    assert (made.st_uid, made.st_gid) == (uid or 0, gid or 0)
    assert (above.st_uid, above.st_gid) == (0, 0)


# -- strikes -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("calls", "fast"),
    [
        ([(0, STALL_NS - 1)], True),
        ([(0, STALL_NS)], False),
        ([(0, SLOW_CALL_NS), (STRIKE_WINDOW_NS - 1, SLOW_CALL_NS)], False),
        ([(0, SLOW_CALL_NS), (STRIKE_WINDOW_NS, SLOW_CALL_NS)], True),
        ([(0, SLOW_CALL_NS), (10, SLOW_CALL_NS - 1)], True),
        ([(0, SLOW_CALL_NS), (STRIKE_WINDOW_NS, SLOW_CALL_NS), (1, SLOW_CALL_NS)], False),
    ],
)
@pytest.mark.parametrize("in_line", [0, SLOW_CALL_NS - 1, SLOW_CALL_NS])
def test_strikes(
    monkeypatch: pytest.MonkeyPatch, calls: list[tuple[int, int]], fast: bool, in_line: int
) -> None:
    """`in_line` is how long the thread stood in line for a processor between two strikes."""
    now, stood = [10**12], [0]
    monkeypatch.setattr(device_module, "_time_in_line", lambda: stood[0])
    device = Device("ext4", 1, lambda: now[0], threaded=False)
    for later, took in calls:
        now[0] += later
        stood[0] += in_line
        device.note(took)
    # Whoever stood in line as long as the call took was starved: that is no strike of the device.
    starved = in_line >= SLOW_CALL_NS and all(took < STALL_NS for _, took in calls)
    assert device.fast() is (fast or starved)


def test_time_in_line_is_read_from_the_system(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    real_open, figures = open, tmp_path / "schedstat"
    monkeypatch.setattr(device_module, "open", lambda _, *a: real_open(figures, *a), raising=False)
    for text, found in (("123 4567 8\n", 4567), ("123", 0), ("a b c", 0), (None, 0)):
        figures.unlink(missing_ok=True)
        if text is not None:
            figures.write_text(text)
        assert device_module._time_in_line() == found
