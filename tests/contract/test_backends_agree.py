# SPDX-License-Identifier: Apache-2.0
"""Local disk and memory give the same answers to any sequence of operations."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Awaitable, Callable

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tidegate.abc import Backend, OpenOptions, Outcome, Publish
from tidegate.backends.local import Devices, LocalBackend
from tidegate.backends.memory import MemoryBackend
from tidegate.errors import TidegateError
from tidegate.model import Attrs
from tidegate.testing.backend import get, names

KEYS = st.sampled_from(["a", "b", "d", "d/a", "d/e", "d/e/a", "a/x"])
BYTES = st.binary(max_size=12)
Step = Callable[[Backend], Awaitable[object]]


async def _upload(
    backend: Backend, key: str, data: bytes, offset: int, *, options: OpenOptions, outcome: Outcome
) -> object:
    handle = await backend.open_file(key, options)
    if options.write:
        await handle.write(offset, data)
    size = (await handle.stat()).size
    await handle.close(outcome)
    return handle.existed_size, size


@st.composite
def uploads(draw: st.DrawFn) -> tuple[str, Step]:
    key, data, offset = draw(KEYS), draw(BYTES), draw(st.integers(0, 5))
    outcome = draw(st.sampled_from(Outcome))
    create = draw(st.booleans())
    options = OpenOptions(
        write=True,
        create=create,
        truncate=draw(st.booleans()),
        exclusive=create and draw(st.booleans()),
        append=draw(st.booleans()),
        publish=draw(st.sampled_from(Publish)),
        mode=draw(st.sampled_from([None, 0o600, 0o777])),
    )
    step: Step = lambda backend: _upload(backend, key, data, offset, options=options, outcome=outcome)  # noqa: E731
    return f"upload {key} {data!r}@{offset} {options} {outcome}", step


async def _stat(backend: Backend, key: str) -> object:
    entry = await backend.stat(key)
    return entry.name, entry.kind, entry.size if entry.is_file else 0, entry.mode


@st.composite
def others(draw: st.DrawFn) -> tuple[str, Step]:
    key, other, replace = draw(KEYS), draw(KEYS), draw(st.booleans())
    size, mode = draw(st.integers(0, 20)), draw(st.sampled_from([0o600, 0o755]))
    steps: dict[str, Step] = {
        f"stat {key}": lambda backend: _stat(backend, key),
        f"read {key}": lambda backend: get(backend, key),
        f"list {key}": lambda backend: names(backend, key),
        f"remove {key}": lambda backend: backend.remove(key),
        f"mkdir {key}": lambda backend: backend.mkdir(key),
        f"rmdir {key}": lambda backend: backend.rmdir(key),
        f"rename {key} {other} {replace}": lambda backend: backend.rename(key, other, replace=replace),
        f"copy {key} {other} {replace}": lambda backend: backend.copy(key, other, replace=replace),
        f"size {key} {size}": lambda backend: backend.set_attrs(key, Attrs(size=size)),
        f"mode {key} {mode:o}": lambda backend: backend.set_attrs(key, Attrs(mode=mode)),
    }
    name = draw(st.sampled_from(sorted(steps)))
    return name, steps[name]


async def _answer(backend: Backend, step: Step) -> object:
    try:
        return await step(backend)
    except TidegateError as error:
        return type(error).__name__


async def _tree(backend: Backend, key: str = "") -> object:
    found: dict[str, object] = {}
    async for batch in backend.list(key):
        for entry in batch:
            path = f"{key}/{entry.name}" if key else entry.name
            found[path] = await _tree(backend, path) if entry.is_dir else await get(backend, path)
    return found


async def _compare(steps: list[tuple[str, Step]]) -> None:
    folder = tempfile.mkdtemp()
    devices = Devices(workers=2)
    memory, local = MemoryBackend(), LocalBackend(folder, devices=devices)
    try:
        await local.open()
        told = []
        for name, step in steps:
            wanted, got = await _answer(memory, step), await _answer(local, step)
            told.append(f"{name} -> {wanted}")
            assert got == wanted, "\n".join([*told, f"local disk said {got}"])
            assert await _tree(local) == await _tree(memory), "\n".join(told)
    finally:
        await local.close()
        devices.close()
        shutil.rmtree(folder)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True)
@given(st.lists(uploads() | others(), min_size=1, max_size=25))
def test_same_answers(steps: list[tuple[str, Step]]) -> None:
    asyncio.run(_compare(steps))
