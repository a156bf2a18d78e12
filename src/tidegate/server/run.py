# SPDX-License-Identifier: Apache-2.0
"""The life of the ``serve`` process: loop, signals, quickstart, and an end with exit code 0."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from tidegate import built
from tidegate.config.load import Loaded, load
from tidegate.errors import OperatorError
from tidegate.logs import Log, open_log
from tidegate.resources.descriptors import raise_descriptor_limit
from tidegate.resources.huge_pages import use_huge_pages
from tidegate.resources.inherited import inherited
from tidegate.server.app import App
from tidegate.server.quickstart import prepare
from tidegate.server.sandbox import enter
from tidegate.server.supervisor import Supervisor
from tidegate.server.welcome import announce, count

if TYPE_CHECKING:
    from tidegate.server.options import ServeOptions

log = logging.getLogger(__name__)


def run_loop(main: Callable[[], Awaitable[int]]) -> int:
    """Run a server's coroutine function on the fastest loop there is, with all descriptors it may have."""
    raise_descriptor_limit()

    async def call() -> int:
        return await main()

    # What was loaded stays for good: the collector need not look at it again.
    gc.freeze()
    gc.enable()
    try:
        import uvloop
    except ImportError:  # no uvloop for this platform
        return asyncio.run(call())
    return uvloop.run(call())


def settle() -> None:
    """Keep what lives now for good: full collections of the garbage collector leave it out from now on.

    A full collection stops the server while it goes through everything: some 50 ms more for what is loaded
    by the time the server is up.
    """
    gc.collect()
    gc.freeze()


def serve(loaded: Loaded, options: ServeOptions) -> int:
    """Serve until SIGTERM or SIGINT; returns the exit code.

    Raises:
        OperatorError: the server cannot start.
    """
    notes = enter(loaded, options.log.file_path)
    syslog = None
    if loaded.settings.syslog.address:
        from tidegate.server.syslog import syslog_options

        syslog = syslog_options(loaded)
    record = open_log(options.log, syslog)
    try:
        for warns, text in notes:
            log.log(logging.WARNING if warns else logging.INFO, "%s", text)
        return run_loop(lambda: _serve(loaded, options, record))
    finally:
        record.close()


async def _serve(loaded: Loaded, options: ServeOptions, record: Log) -> int:
    log.info("%s", built.described())
    app = App(loaded, log=record.reader)
    app.ledger.inherited = passed = inherited()
    stopping = asyncio.Event()
    reloading = asyncio.Event()
    supervisor = Supervisor()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    loop.add_signal_handler(signal.SIGHUP, reloading.set)
    loop.add_signal_handler(signal.SIGUSR1, record.rotate)
    try:
        welcome = await prepare(app, loaded) if options.quickstart else None
        await app.start()
        for where in passed.unused():
            log.warning("no binding listens on %s, which was opened for this server", where)
        announce(app, options, await count(app), welcome, sys.stdout)
        supervisor.ready(app.summary())
        watch = asyncio.create_task(supervisor.watch(app.summary), name="signs of life")
        try:
            await until(stopping, reloading, lambda: _reload(app, options, supervisor))
        finally:
            watch.cancel()
        supervisor.stopping()
        log.info("stopping; running transfers get %d s", options.grace_time)
        await app.drain(float(options.grace_time))
    finally:
        await app.stop()
        passed.close()
        log.info("stopped")
    return 0


async def _reload(app: App, options: ServeOptions, supervisor: Supervisor) -> None:
    """SIGHUP: a bad configuration is reported and changes nothing."""
    supervisor.reloading()
    try:
        fresh = await asyncio.to_thread(load, options.config_dir, options.config_file, os.environ)
        await app.reload(fresh)
    except OperatorError as error:
        log.error("not reloaded: %s", error)
    except Exception:
        log.exception("not reloaded")
    supervisor.ready(app.summary())


async def until(
    stopping: asyncio.Event, reloading: asyncio.Event, reload: Callable[[], Awaitable[None]]
) -> None:
    """Return when `stopping` is set; whenever `reloading` is, clear it and call `reload`.

    Called when the server is up.
    """
    settle()
    pages = asyncio.create_task(asyncio.to_thread(use_huge_pages))  # nobody waits for that
    try:
        await _until(stopping, reloading, reload)
    finally:
        await asyncio.wait([pages])


async def _until(
    stopping: asyncio.Event, reloading: asyncio.Event, reload: Callable[[], Awaitable[None]]
) -> None:
    while not stopping.is_set():
        await _first(stopping, reloading)
        if reloading.is_set() and not stopping.is_set():
            reloading.clear()
            await reload()


async def _first(*events: asyncio.Event) -> None:
    """Wait until one of the events is set."""
    waiters = [asyncio.create_task(event.wait()) for event in events]
    try:
        await asyncio.wait(waiters, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for waiter in waiters:
            waiter.cancel()
