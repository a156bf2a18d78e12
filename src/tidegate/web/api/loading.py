# SPDX-License-Identifier: Apache-2.0
"""Dumping, rehearsing and loading of all records, for every part of the web that offers them."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Collection, Iterable, Sequence
from functools import partial
from typing import TYPE_CHECKING, BinaryIO, Final

from tidegate.accounts.actor import Actor
from tidegate.errors import Conflict, Denied
from tidegate.identity.passwords import hash_password
from tidegate.packages import load_beside
from tidegate.store.contract import SCOPES, LoadReport, Record
from tidegate.web.api.services import Services

if TYPE_CHECKING:
    from tidegate.store.dump_reading import Hasher, HowFar, StoreBatches

_UNUSED_HASH: Final = "$2b$04$" + "." * 53
"""Stands for the hash of a password that a rehearsal does not keep."""

_log = logging.getLogger(__name__)


@contextlib.asynccontextmanager
async def alone(services: Services) -> AsyncIterator[None]:
    """Hold the backups.

    Raises:
        Conflict: another dump or load runs.
    """
    if services.backups.busy.locked():
        raise Conflict("another dump or load is under way")
    async with services.backups.busy:
        yield


def check_scan(services: Services, scan_quota: int) -> None:
    """Return if files may be counted after a load as it is asked for.

    Raises:
        Denied: they may not, usage is not tracked.
    """
    if scan_quota and not services.loaded.settings.data_provider.track_quota:
        raise Denied("quota tracking is disabled", rule="track_quota")


async def dumping(
    services: Services,
    scopes: Iterable[str] = SCOPES,
    *,
    indent: bool = False,
    written: Callable[[int], None] | None = None,
) -> AsyncGenerator[bytes, None]:
    """The dump as chunks; see `tidegate.store.dump`, which is loaded when it is first needed."""
    await load_beside("tidegate.store.dump")
    from tidegate.store.dump import dump

    return dump(services.provider, scopes, indent=indent, written=written)


async def streamed(chunks: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
    """The dump; what it holds of the provider is released also when the client goes away."""
    async with contextlib.aclosing(chunks):
        async for chunk in chunks:
            yield chunk


async def load(
    services: Services,
    stream: BinaryIO,
    by: Actor,
    *,
    mode: int,
    scan_quota: int,
    how_far: HowFar | None = None,
    absent: Collection[tuple[str, str]] = (),
) -> LoadReport:
    """Load a dump, all of it or nothing, and count files as asked for.

    Raises:
        Conflict: another dump or load runs, or a record of `absent` is there by now (see `Loads.store`).
        BadRecord: a record or the whole is wrong; nothing was changed.
        Denied: whoever loads may not.
    """
    options = services.hashing
    async with alone(services):
        report = await _read(
            services,
            stream,
            partial(services.administration.loads.store, by=by, mode=mode, absent=absent),
            hashed=lambda password: hash_password(password, options),
            how_far=how_far,
        )
    _log.info("administrator %r loaded a dump of %d records", by.name, len(report.rows))
    if scan_quota:
        work = services.administration.loads.count_files(report.rows, everybody=scan_quota == 1)
        services.jobs.start(work, "quota scans after a load")
    return report


async def rehearse(
    services: Services, stream: BinaryIO, *, mode: int, how_far: HowFar | None = None
) -> LoadReport:
    """The outcome that `load` would have; nothing is changed.

    Raises:
        BadRecord: as `load`, but for what shows only against the records that are stored.
    """
    loads = services.administration.loads

    async def compare(batches: AsyncGenerator[Sequence[Record], None]) -> LoadReport:
        return LoadReport(rows=await loads.rehearse(batches, mode=mode))

    return await _read(services, stream, compare, hashed=lambda _: _UNUSED_HASH, how_far=how_far)


async def _read(
    services: Services,
    stream: BinaryIO,
    store: StoreBatches,
    *,
    hashed: Hasher,
    how_far: HowFar | None,
) -> LoadReport:
    # With the formats of SFTPGo it is half a megabyte, which most servers never need.
    await load_beside("tidegate.store.dump_reading")
    from tidegate.store.dump_reading import load_file

    return await load_file(store, stream, rules=services.rules, hash_password=hashed, how_far=how_far)
