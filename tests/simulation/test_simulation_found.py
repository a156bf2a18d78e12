# SPDX-License-Identifier: Apache-2.0
"""Histories in which something was wrong, made small; each names the rule that was missing."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tidegate.testing.simulation import simulate
from tidegate.testing.simulation.faults import FAIL, LATE, LOST, SLOW, Fault
from tidegate.testing.simulation.history import History, Script, Step


def script(line: str) -> Script:
    """From ``who: act seed [wait=seconds] [cut=n] [beside]; ...``; `beside` is what nobody waits for."""
    who, _, acts = line.partition(": ")
    steps = []
    for text in acts.split("; "):
        act, seed, *more = text.split()
        with_value = dict(word.split("=") for word in more if "=" in word)
        wait, cut = float(with_value.get("wait", 0)), int(with_value.get("cut", 0))
        steps.append(Step(act, int(seed), wait=wait, cut=cut, alone="beside" not in more))
    return Script(who, tuple(steps))


def history(
    schedule: int,
    mode: int,
    track_quota: int,
    limits: tuple[int, int, int],
    quick_share: int,
    *scripts: str,
    faults: tuple[Fault, ...] = (),
    divided: bool = False,
    early: bool = False,
    links: bool = False,
) -> History:
    return History(
        seed=0,
        mode=mode,
        track_quota=track_quota,
        limits=limits,
        quick_share=quick_share,
        scripts=tuple(map(script, scripts)),
        faults=faults,
        schedule=schedule,
        divided=divided,
        early=early,
        links=links,
    )


FOUND = {
    "a login's numbers are as old as the question for them": history(
        959978272, 1, 2, (30_000, 12_000, 0), 100,
        "alice: write-nothing 300446715",
        "alice: upload 630168060",
        faults=(Fault("store", 2, LATE),),
    ),
    "an upload that a limit cuts down has all names of its file": history(
        172449158, 1, 2, (0, 30_000, 12_000), 100,
        "bob: hard-link 314748317; resume 1012533728",
    ),
    "a doubt that comes up after the count outlives its result": history(
        460627853, 0, 2, (12_000, 30_000, 12_000), 100,
        "alice: remove 682720014; upload-new 295523143; recount 262438445; resize 524257629",
        "bob: rename 986623534 wait=0.3",
        faults=(Fault("storage", 20, LOST),),
    ),
    "names of one file lie in one quota": history(
        807305981, 2, 2, (0, 12_000, 12_000), 100,
        "alice: hard-link 672874650",
        "alice: rename 168150914; resize 557357643",
    ),
    "where an appending handle writes depends on the upload's others": history(
        918446228, 2, 1, (0, 12_000, 30_000), 50,
        "bob: hard-link 764183329; remove 746824292 beside; remove 203399451 wait=0.01; "
        "upload-new 335357113 beside; append 906983979",
        divided=True, links=True,
    ),
    "a tree that moves into another quota is still": history(
        177337986, 2, 1, (0, 12_000, 0), 90,
        "alice: rename-tree 41969042 beside; remove 744941391; resize 478965697",
    ),
    "an upload that ended is not what a link of its name leads to": history(
        392880320, 2, 1, (12_000, 30_000, 30_000), 0,
        "alice: rename 234333019 beside; resume 983785905",
        links=True,
    ),
    "a file without a name stays paid while it is written": history(
        527093787, 0, 2, (0, 30_000, 12_000), 0,
        "alice: upload 984225922",
        "alice: upload 586772954; rename 755977368; upload-new 781552888",
        divided=True,
    ),
    "an upload that is being published needs no loan any more": history(
        976674375, 2, 2, (0, 12_000, 0), 0,
        "alice: append 956985637 wait=0.002; copy 741087631; days-pass 720377314; write-nothing 901052165",
        "alice: resize 480262175 beside; link 470096588; append 857133195 wait=0.3",
        "bob: rest 651903588",
    ),
    "what shrinks is given back when it is free": history(
        948379537, 0, 2, (12_000, 12_000, 30_000), 0,
        "alice: upload-new 394294423 cut=3; link 51142657; remove 718997395; copy 817843590 beside; "
        "resize 604482678",
        "alice: hard-link 587436940 beside; remove 924220250; link 866555133 beside; "
        "resize 650390768 beside; upload 735952793",
        links=True,
    ),
    "one directory has one backend": history(
        841996467, 0, 2, (12_000, 0, 0), 100,
        "alice: copy-data 888683325; upload 220212649",
        "alice: resize 261645640; resume 268218667",
        faults=(Fault("storage", 2, FAIL),),
    ),
    "a copy that storage failed to confirm may be there": history(
        38003909, 1, 2, (30_000, 0, 30_000), 0,
        "alice: upload 919123700; download 282526907; resize 625883627",
        "alice: go-on 833965826; hard-link 26543132 wait=0.01 beside; make-directory 353528360 wait=0.01; "
        "copy 17237810",
        faults=(Fault("storage", 29, LOST),), divided=True, early=True,
    ),
    "a scan that removes what uploads left is marked until its numbers are set": history(
        926083478, 2, 2, (0, 0, 12_000), 100,
        "alice: rename 128424801; append 583451420; resize 301697228; upload 1029688242",
        "bob: days-pass 101919163; recount 259896811 wait=0.3; upload 390423404",
        links=True,
    ),
    "a mark is about every folder until all were counted": history(
        76143109, 1, 2, (0, 30_000, 12_000), 0,
        "alice: hard-link 778631148 wait=0.3; recount 519532708; rest 992794805",
        "alice: upload 220563096; rename 900723311; upload 140062019; append 701788725; "
        "process-ends 565247734; remove 747693535",
        early=True,
    ),
    "a count sees no file under two names": history(
        140429588, 2, 1, (12_000, 30_000, 0), 0,
        "alice: rest 309702350",
        "bob: recount 901429979; rename 116749625 wait=0.01",
    ),
    "a copy is no larger than what was paid for": history(
        952454533, 0, 1, (30_000, 30_000, 30_000), 100,
        "alice: upload 33544957; upload 191219509; go-on 58132611",
        "alice: look 384331553; copy 736531978 beside; copy-data 244718261; hard-link 406607591 wait=0.3",
        links=True,
    ),
    "a mark that fails once is set all the same": history(
        26589457, 2, 1, (0, 30_000, 12_000), 0,
        "alice: remove 464299880; process-ends 182678114",
        "bob: upload 677704777",
        faults=(Fault("store", 7, FAIL),), divided=True,
    ),
    "an upload that storage may have forsaken leaves a doubt": history(
        364836358, 2, 2, (0, 12_000, 12_000), 50,
        "alice: resume 261800343 beside; hard-link 601273591; recount 565199140; rename 358813667 wait=0.3; "
        "upload 624255631 beside; remove 395789568 wait=0.0005",
        "bob: upload 907015082 wait=0.01 beside; resize 292006764; make-directory 381225354; "
        "upload 839120068 wait=0.3; link 119601569",
        faults=(Fault("storage", 40, LOST), Fault("store", 7, SLOW)),
    ),
    "what is appended beside others is paid wherever it lands": history(
        381328738, 0, 1, (12_000, 0, 30_000), 90,
        "alice: upload 106453335 beside; resize 753254736",
        "alice: append 446085892",
    ),
    "an upload does not end while its size is changed by path": history(
        436452024, 1, 2, (12_000, 30_000, 12_000), 50,
        "alice: copy-data 861926761; download 278958155; copy 684811677; copy 949255287 beside; "
        "leave 419040030 beside; rename 1069654323; upload 783039236 beside; resize 364768721 wait=0.002",
        divided=True,
    ),
    "who opens a file beside an append that is under way does not know its end": history(
        431006422, 2, 2, (12_000, 30_000, 0), 0,
        "alice: rest 553676457",
        "alice: give-up 734298939; go-on 1045009389 wait=0.01; look 950318287; upload-new 797506173 beside; "
        "upload 393060807 wait=0.002 beside; link 876495710 wait=0.002; append 411344685 beside; "
        "resume 118090091 wait=0.002 beside; upload-new 945600314 beside; copy 731639483",
        "bob: upload-new 532499660 beside; resume 734652925 beside; append 254804891 wait=0.0005 beside; "
        "upload 612960779 wait=0.0005; days-pass 476728301; go-on 479643921 wait=0.3",
    ),
    "a new name is where links on the way to it lead": history(
        625152614, 2, 2, (0, 12_000, 30_000), 0,
        "alice: resume 1011902896",
        "bob: append 478817064 wait=0.01 beside; upload 145228217 wait=0.002; upload 922388421 beside; "
        "link 103710070",
        links=True,
    ),
    "a root whose opening is not confirmed is not open": history(
        667152972, 2, 2, (12_000, 30_000, 12_000), 0,
        "alice: rename 712023542; resume 468763928 wait=0.002; rename 74854104; download 629017579 beside; "
        "upload-new 519420867 cut=2",
        "alice: upload-new 454201198; upload 58965753 wait=0.01 beside; upload 368945676 wait=0.0005 beside; "
        "hard-link 119385381 beside; download 663399940 wait=0.01; upload-new 264266599; rest 114484060",
        faults=(Fault("storage", 34, LOST),), links=True,
    ),
}  # fmt: skip


@pytest.mark.parametrize("rule", FOUND)
def test_what_was_found_stays_mended(rule: str) -> None:
    assert not simulate(FOUND[rule]).failures


def test_a_history_is_the_same_in_every_process() -> None:
    program = (
        "import hashlib\n"
        "from tidegate.testing.simulation import generate, simulate\n"
        "for seed in (0, 4, 30, 7008346):\n"
        "    print(hashlib.blake2b('\\n'.join(simulate(generate(seed)).trace).encode()).hexdigest())\n"
    )
    told = {
        subprocess.run(
            [sys.executable, "-c", program],
            env=os.environ | {"PYTHONHASHSEED": salt},
            check=True,
            capture_output=True,
        ).stdout
        for salt in ("1", "2")
    }
    assert len(told) == 1
