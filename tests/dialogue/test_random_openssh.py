# SPDX-License-Identifier: Apache-2.0
"""Random dialogues with OpenSSH's sftp-server and with ours, over the same tree: answers and trees agree.

A failing seed is in the message, with the whole dialogue. To replay it or to look at others:
``DIALOGUE_SEED=1234 pytest tests/dialogue/test_random_openssh.py``.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.support import sftp_packets as p
from tests.support.random_dialogue import (
    SERVER,
    Dialogue,
    Difference,
    OpenSsh,
    Request,
    leads_outside,
    make_tree,
)
from tests.support.sftp_peer import Peer
from tests.support.vfs_world import vfs_world
from tools.reference_inside import OPENSSH

from tidegate.abc import Publish

FIRST = int(os.environ.get("DIALOGUE_SEED", "0"))
SEEDS = 40
SOAK_SEEDS = 3000

ACCOUNTS: dict[str, dict[str, Any]] = {
    "free": {},
    "rules": {"permissions": {"/": ("*",), "/zz": ("list",)}},
    "quota": {"quota_size": 1 << 40, "quota_files": 1 << 20},
}
"""Accounts that may do everything here: without limits, with several rules, with limits."""

Lasting = tuple[str, Callable[[Difference], bool]]


def _codes(theirs: str, ours: str) -> Callable[[Difference], bool]:
    return lambda d: d.theirs == theirs and d.ours == ours


def _root(d: Difference) -> bool:
    """It is about the root, by whatever name."""
    return any(os.path.normpath(arg) == "." for arg in d.request.args if isinstance(arg, str))


def _part(d: Difference) -> bool:
    """Only the owner's bits differ."""
    theirs, ours = d.theirs, d.ours
    if d.mode != Publish.RESUMABLE or not isinstance(theirs, dict) or not isinstance(ours, dict):
        return False
    opened = oct(int(theirs.get("mode", "0"), 8) | 0o600)
    return {**theirs, "mode": opened} == ours


def _created_outside(d: Difference) -> bool:
    """OpenSSH opened, to create, what is not in its tree."""
    return (
        d.outside
        and d.request.verb == "OPEN"
        and bool(d.request.args[1] & 8)
        and _codes("handle", "DENIED")(d)
    )


def _bits(d: Difference) -> int:
    """Attribute flags of a request."""
    return int.from_bytes(d.request.args[-1][:4], "big")


LASTING: list[Lasting] = [
    ("EINVAL and ENAMETOOLONG are no malformed message", _codes("BAD_MESSAGE", "FAILURE")),
    (
        "ENOTDIR and EBADF: what is named exists (a file where a directory is needed, a handle of another kind)",
        _codes("NO_SUCH_FILE", "FAILURE"),
    ),
    (
        "a directory is not opened for writing: WinSCP and others look for OP_UNSUPPORTED",
        lambda d: d.request.verb == "OPEN" and _codes("FAILURE", "UNSUPPORTED")(d),
    ),
    (
        "the root cannot be removed, renamed or linked: policy is asked first",
        lambda d: d.ours == "DENIED" and _root(d),
    ),
    (
        "a link that leads outside is not made",
        lambda d: d.request.verb == "SYMLINK" and d.ours == "DENIED",
    ),
    (
        "READ of no bytes: the draft allows either",
        lambda d: d.request.verb == "READ" and d.theirs == b"" and d.ours in ("EOF", "FAILURE"),
    ),
    (
        "SETSTAT that sets nothing looks whether the path exists; OpenSSH does not",
        lambda d: d.request.verb in ("SETSTAT", "lsetstat") and d.theirs == "OK" and not _bits(d),
    ),
    (
        "REALPATH answers for what does not exist, as the draft has it",
        lambda d: d.request.verb == "REALPATH" and isinstance(d.ours, str) and d.ours.startswith("/"),
    ),
    (
        "lsetstat with a size: OpenSSH takes none, here a file has it set",
        lambda d: d.request.verb == "lsetstat" and d.theirs == "BAD_MESSAGE" and bool(_bits(d) & 1),
    ),
    (
        "hard links are of files, not of links",
        lambda d: d.request.verb == "hardlink" and d.ours == "UNSUPPORTED",
    ),
    (
        "a directory is not opened to read: OpenSSH gives a handle that nothing can be read from",
        lambda d: d.request.verb == "OPEN" and d.request.args[1] & 63 == 1 and _codes("handle", "FAILURE")(d),
    ),
    (
        "`.` and `..` are taken away from paths before they are used: `rmdir e/.` removes e",
        lambda d: any(isinstance(arg, str) and {".", ".."} & {*arg.split("/")[1:]} for arg in d.request.args),
    ),
    (
        "listings have attributes as files have; OpenSSH asks for a file",
        lambda d: d.request.verb in ("FSTAT", "FSETSTAT") and d.theirs == "FAILURE" and d.ours != "EOF",
    ),
    ("hard links of directories: EPERM is the system's, not the gate's", _codes("DENIED", "FAILURE")),
    (
        "of two names of which one is too long and one behind a loop, the loop is told",
        lambda d: (
            any(len(arg) > 255 for arg in d.request.args if isinstance(arg, str))
            and len(d.request.args) > 1
            and _codes("BAD_MESSAGE", "NO_SUCH_FILE")(d)
        ),
    ),
    (
        "RENAME never replaces; OpenSSH follows a link that leads nowhere and finds nothing",
        lambda d: d.request.verb == "RENAME" and _codes("OK", "FAILURE")(d),
    ),
    ("mode 2: who owns the part may open it until it is published, to resume", _part),
    (
        "where rules differ from place to place, a link is not moved to where its text leads elsewhere, alone or in its directory",
        lambda d: d.account == "rules" and "rename" in d.request.verb.lower() and d.ours == "DENIED",
    ),
    (
        "where usage is counted, a file that is being written gets no second name",
        lambda d: d.account == "quota" and d.request.verb == "hardlink" and _codes("OK", "FAILURE")(d),
    ),
    (
        "a link that was moved so that it leads outside is refused; OpenSSH follows it, and creates the file that it names",
        lambda d: _codes("NO_SUCH_FILE", "DENIED")(d) or _created_outside(d),
    ),
    (
        "what a link says that leads outside is not told",
        lambda d: d.request.verb == "READLINK" and d.ours == "DENIED" and str(d.theirs).startswith("../"),
    ),
    (
        "links have no mode of their own on Linux",
        lambda d: d.request.verb == "lsetstat" and _codes("FAILURE", "UNSUPPORTED")(d),
    ),
]


def lasting(difference: Difference) -> str:
    """The reason for which an answer differs for good; empty if there is none."""
    return next((reason for reason, holds in LASTING if holds(difference)), "")


def test_every_lasting_difference_is_documented() -> None:
    assert [reason for reason, _ in LASTING] == list(OPENSSH[2:])  # the first two are in random_dialogue.py


@pytest.mark.parametrize(("path", "flags", "holds"), [("h1", 26, True), ("h1", 1, False), ("d/n", 26, False)])
def test_a_create_that_is_refused_differs_for_good_only_outside(
    tmp_path: Path, path: str, flags: int, holds: bool
) -> None:
    make_tree(tmp_path, hard=False)
    (tmp_path / "d/up").rename(tmp_path / "h1")
    opened = Request("OPEN", p.open_, (path, flags, p.NO_ATTRS))
    difference = Difference(opened, "handle", "DENIED", 1, outside=leads_outside(tmp_path, path))
    assert bool(lasting(difference)) is holds


async def compare(base: Path, seeds: range, mode: Publish, account: str) -> tuple[list[str], set[str]]:
    """Differences between dialogues, and the reasons that were needed."""
    failed: list[str] = []
    reasons: set[str] = set()
    root = base / "openssh" / "tree"
    root.mkdir(parents=True)
    openssh = await OpenSsh.start(root)
    try:
        async with vfs_world(base / "ours", upload_mode=mode) as world:
            world.account(**ACCOUNTS[account])
            peer = Peer(await world.login())
            for seed in seeds:
                dialogue = Dialogue(seed, int(mode), openssh, peer, world.home(), lasting, account)
                if told := await dialogue.run():
                    failed.append(f"{account}: {told}")
                reasons |= dialogue.reasons
            await peer.drop()
    finally:
        await openssh.close()
    return failed, reasons


MODES = [Publish.INPLACE, Publish.ATOMIC, Publish.RESUMABLE]


@pytest.mark.needs(SERVER)
@pytest.mark.parametrize("account", ACCOUNTS)
@pytest.mark.parametrize("mode", MODES)
async def test_answers_and_trees_agree(tmp_path: Path, mode: Publish, account: str) -> None:
    offset = FIRST + SEEDS * (3 * MODES.index(mode) + [*ACCOUNTS].index(account))
    failed, _ = await compare(tmp_path, range(offset, offset + SEEDS), mode, account)
    assert not failed, "\n".join(failed)


@pytest.mark.needs(SERVER)
@pytest.mark.parametrize("mode", MODES[1:])
async def test_no_file_is_created_through_a_link_that_leads_out(tmp_path: Path, mode: Publish) -> None:
    """In this dialogue `d/up` is moved to `h1`, which then leads to a file beside the tree, and is opened to create it."""
    failed, reasons = await compare(tmp_path, range(2905, 2906), mode, "free")
    assert not failed, "\n".join(failed)
    assert any("leads outside is refused" in reason for reason in reasons)
    assert (tmp_path / "openssh/g").exists()
    assert [path.name for path in (tmp_path / "ours/homes").iterdir()] == ["alice"]


@pytest.mark.soak
@pytest.mark.needs(SERVER)
@pytest.mark.parametrize("account", ACCOUNTS)
@pytest.mark.parametrize("mode", MODES)
async def test_thousands_agree(tmp_path: Path, mode: Publish, account: str) -> None:
    failed, reasons = await compare(tmp_path, range(FIRST, FIRST + SOAK_SEEDS), mode, account)
    assert not failed, "\n".join(failed[:5])
    assert reasons <= {reason for reason, _ in LASTING}
