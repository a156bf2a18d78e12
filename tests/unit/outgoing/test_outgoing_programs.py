# SPDX-License-Identifier: Apache-2.0
"""Programs of the operator, real ones: ended in time with all that they started, capped, never by a shell."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from tidegate.errors import OutsideBusy, OutsideFailed
from tidegate.outgoing.program_files import problems_of, remarks_on
from tidegate.outgoing.programs import ProgramCall, Programs

Script = Callable[[str], str]


@pytest.fixture
def script(tmp_path: Path) -> Script:
    """Writes an executable shell script."""
    count = iter(range(100))

    def write(text: str, interpreter: str = "/bin/sh") -> str:
        path = tmp_path / f"program{next(count)}"
        path.write_text(f"#!{interpreter}\n{text}\n")
        path.chmod(0o755)
        return str(path)

    return write


@pytest.fixture
async def programs(tmp_path: Path) -> AsyncIterator[Programs]:
    runner = Programs(at_once=2, waiting=2, directory=str(tmp_path))
    yield runner
    await runner.close()


def is_alive(number: int) -> bool:
    try:
        state = Path(f"/proc/{number}/stat").read_text().rpartition(") ")[2][0]
    except OSError:
        return False
    return state not in "ZX"


async def wait_dead(number: int) -> None:
    async with asyncio.timeout(30):
        while is_alive(number):
            await asyncio.sleep(0.01)


async def test_gets_arguments_input_and_nothing_else(programs: Programs, script: Script) -> None:
    call = ProgramCall(
        (script('printf "%s|" "$@"; cat; /usr/bin/env; pwd; echo bad >&2; exit 3'), "a b", "$(id)"),
        {"ONE": "1\n2", "TWO": "x=y"},
        b"input\n",
    )
    result = await programs.run(call)
    assert result.exit_status == 3
    assert result.errors == b"bad\n"
    text = result.output.decode()
    assert text.startswith("a b|$(id)|input\n")
    assert "ONE=1\n2\n" in text
    assert "TWO=x=y\n" in text
    assert "HOME=" not in text
    assert "PYTEST" not in text
    assert text.endswith(f"{Path(call.argv[0]).parent}\n")


async def test_a_signal_is_a_negative_status(programs: Programs, script: Script) -> None:
    result = await programs.run(ProgramCall((script("echo so far; kill -TERM $$"),)))
    assert (result.exit_status, result.output) == (-signal.SIGTERM, b"so far\n")


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
async def test_late_ones_die_with_children_that_left_the_group(
    programs: Programs, script: Script, tmp_path: Path
) -> None:
    numbers = tmp_path / "numbers"
    deep = (
        f"(setsid sleep 600 & echo $! >>{numbers}) ; sleep 600 & echo $! >>{numbers}; "
        f"setsid --fork sh -c 'echo $$ >>{numbers}; exec sleep 600'"
    )
    call = ProgramCall(
        (script(f"{deep}; echo $$ >>{numbers}; sleep 600"),), {"PATH": "/usr/bin:/bin"}, seconds=1
    )
    begun = time.monotonic()
    with pytest.raises(OutsideFailed, match="took longer than 1 s"):
        await programs.run(call)
    assert time.monotonic() - begun < 30
    killed = [int(number) for number in numbers.read_text().split()]
    assert len(killed) >= 3  # the last may not have come so far
    for number in killed:
        await wait_dead(number)


async def test_a_child_that_keeps_the_output_open_delays_nobody(
    programs: Programs, script: Script, tmp_path: Path
) -> None:
    number = tmp_path / "number"
    call = ProgramCall(
        (script(f"sleep 600 & echo $! >{number}; echo done"),), {"PATH": "/usr/bin:/bin"}, seconds=30
    )
    begun = time.monotonic()
    result = await programs.run(call)
    assert result.output == b"done\n"
    assert time.monotonic() - begun < 25
    await wait_dead(int(number.read_text()))


async def test_a_job_in_a_session_of_its_own_goes_on(
    programs: Programs, script: Script, tmp_path: Path
) -> None:
    number = tmp_path / "number"
    text = (
        f"setsid sh -c 'echo $$ >{number}; exec sleep 600' & while [ ! -s {number} ]; do :; done; echo done"
    )
    result = await programs.run(ProgramCall((script(text),), {"PATH": "/usr/bin:/bin"}))
    assert result.output == b"done\n"
    kept = int(number.read_text())
    assert is_alive(kept)
    os.kill(kept, signal.SIGKILL)


@pytest.mark.parametrize("stream", ["1", "2"])
async def test_a_flood_is_cut_and_its_writer_killed(programs: Programs, script: Script, stream: str) -> None:
    call = ProgramCall(
        (script(f"echo $$; exec yes >&{stream}"),), {"PATH": "/usr/bin:/bin"}, max_output=100_000
    )
    with pytest.raises(OutsideFailed, match="wrote more than 100000 bytes"):
        await programs.run(call)
    assert programs.running == 0


async def test_as_much_as_allowed_is_whole(programs: Programs, script: Script) -> None:
    text = "head -c 300000 /dev/zero; head -c 300000 /dev/zero >&2"
    result = await programs.run(ProgramCall((script(text),), {"PATH": "/usr/bin:/bin"}, max_output=300_000))
    assert (len(result.output), len(result.errors)) == (300_000, 300_000)


async def test_input_that_nobody_reads_is_lost_quietly(programs: Programs, script: Script) -> None:
    result = await programs.run(ProgramCall((script("exit 0"),), input=b"x" * 1_000_000))
    assert result.exit_status == 0


async def test_long_input_arrives_whole(programs: Programs, script: Script) -> None:
    result = await programs.run(ProgramCall((script("exec /usr/bin/wc -c"),), input=b"x" * 3_000_000))
    assert int(result.output) == 3_000_000


async def test_a_caller_that_is_cancelled_kills_it(
    programs: Programs, script: Script, tmp_path: Path
) -> None:
    number = tmp_path / "number"
    call = ProgramCall(
        (script(f"echo $$ >{number}.new; mv {number}.new {number}; exec sleep 600"),), {"PATH": "/bin"}
    )
    task = asyncio.create_task(programs.run(call))
    async with asyncio.timeout(30):
        while not number.exists():
            await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not is_alive(int(number.read_text()))
    assert programs.running == 0


async def test_closing_kills_what_runs_and_refuses_the_rest(script: Script, tmp_path: Path) -> None:
    runner = Programs(1, 4, directory=str(tmp_path))
    task = asyncio.create_task(
        runner.run(ProgramCall((script(f"echo > {tmp_path}/began; exec sleep 600"),), {"PATH": "/bin"}))
    )
    waiting = asyncio.create_task(runner.run(ProgramCall((script("exit 0"),))))
    async with asyncio.timeout(30):
        while not (tmp_path / "began").exists():
            await asyncio.sleep(0.01)
        await runner.close()
    assert (await task).exit_status == -signal.SIGKILL
    with pytest.raises(OutsideFailed, match="ending"):
        await waiting


async def test_closing_kills_what_is_being_started(script: Script, tmp_path: Path) -> None:
    runner = Programs(1, 4, directory=str(tmp_path))
    path = script(f"echo > {tmp_path}/began; exec sleep 600")
    task = asyncio.create_task(runner.run(ProgramCall((path,), {"PATH": "/bin"})))
    await asyncio.sleep(0)  # its start is under way, in a thread
    while not (tmp_path / "began").exists():  # the loop stands still: nobody is told of its start
        time.sleep(0.01)
    async with asyncio.timeout(30):
        await runner.close()
        assert (await task).exit_status == -signal.SIGKILL


async def test_so_many_run_and_so_many_wait(programs: Programs, script: Script, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    path = script(f"while [ ! -e {gate} ]; do /bin/sleep 0.02; done")
    tasks = [asyncio.create_task(programs.run(ProgramCall((path,)))) for _ in range(4)]
    await asyncio.sleep(0)
    with pytest.raises(OutsideBusy):
        await programs.run(ProgramCall((path,)))
    gate.touch()
    assert [one.exit_status for one in await asyncio.gather(*tasks)] == [0] * 4


@pytest.mark.parametrize(
    ("argv", "env", "what"),
    [
        (("sh", "-c", "id"), {}, "not an absolute path"),
        ((), {}, "not an absolute path"),
        (("/bin/true", "a\0b"), {}, "argument holds a NUL"),
        (("/bin/true",), {"A": "x\0y"}, "variable A holds a NUL"),
        (("/bin/true",), {"A=B": "x"}, "cannot be the name"),
        (("/does/not/exist",), {}, ""),
    ],
)
async def test_what_cannot_be_called(
    programs: Programs, argv: tuple[str, ...], env: dict[str, str], what: str
) -> None:
    if what:
        with pytest.raises(OutsideFailed, match=what):
            await programs.run(ProgramCall(argv, env))
    else:
        with pytest.raises(OutsideFailed, match="cannot be started: /does/not/exist: No such file"):
            await programs.run(ProgramCall(argv, env))
    assert programs.running == 0


async def test_more_than_the_system_lets_pass_is_an_error_that_shows_no_value(programs: Programs) -> None:
    with pytest.raises(OutsideFailed, match="cannot be started") as caught:
        await programs.run(ProgramCall(("/bin/true",), {"A": "secret" * 100_000}))
    assert "secret" not in str(caught.value)
    assert "secret" not in repr(ProgramCall(("/bin/true",), {"A": "secret"}, b"secret"))


async def test_one_that_everybody_may_write_to_is_not_run(programs: Programs, script: Script) -> None:
    path = script("echo")
    Path(path).chmod(0o777)
    with pytest.raises(OutsideFailed, match="everybody may write to it"):
        await programs.run(ProgramCall((path,)))


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
async def test_the_kernel_kills_it_with_the_server(script: Script, tmp_path: Path) -> None:
    number = tmp_path / "number"
    path = script(f"echo $$ >{number}.new; /bin/mv {number}.new {number}; exec /bin/sleep 600")
    code = (
        "import asyncio, sys\n"
        "from tidegate.outgoing.programs import ProgramCall, Programs\n"
        "asyncio.run(Programs(1, 1).run(ProgramCall((sys.argv[1],))))\n"
    )
    server = await asyncio.create_subprocess_exec(sys.executable, "-c", code, path)
    async with asyncio.timeout(20):
        while not number.exists():
            await asyncio.sleep(0.02)
    server.kill()
    await server.wait()
    await wait_dead(int(number.read_text()))


def test_programs_that_others_could_replace_are_named(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    good = tmp_path / "good"
    good.write_text("#!/bin/sh\n")
    assert problems_of(str(good)) == [f"{good}: is not executable by this server"]
    good.chmod(0o755)
    assert problems_of(str(good)) == []
    assert remarks_on(str(good)) == []
    assert problems_of("relative") == ["'relative' is not an absolute path"]
    assert problems_of(str(tmp_path / "none")) == [f"{tmp_path / 'none'}: No such file or directory"]
    assert problems_of(str(tmp_path)) == [f"{tmp_path}: is not a file"]
    link = tmp_path / "link"
    link.symlink_to(good)
    good.chmod(0o777)
    assert problems_of(str(link)) == [f"{good}: everybody may write to it; chmod o-w {good}"]
    good.chmod(0o755)
    open_directory = tmp_path / "open"
    open_directory.mkdir()
    inside = open_directory / "inside"
    inside.symlink_to(good)
    open_directory.chmod(0o777)
    assert problems_of(str(inside)) == [
        f"{open_directory}: everybody may replace what is in it; chmod o-w {open_directory}"
    ]
    open_directory.chmod(0o1777)
    assert problems_of(str(inside)) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="owners are set by root only")
def test_a_program_of_another_user_is_remarked(tmp_path: Path) -> None:
    strange = tmp_path / "strange"
    strange.write_text("#!/bin/sh\n")
    os.chown(strange, 12345, -1)
    assert remarks_on(str(strange)) == [
        f"{strange}: belongs to user 12345, who can change what the server runs"
    ]
