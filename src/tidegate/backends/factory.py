# SPDX-License-Identifier: Apache-2.0
"""Kinds of storage by name: ours, installed ones (entry points) and any that the configuration names.

What a name leads to is a `tidegate.abc.StorageKind`. It runs with all rights of the server: whoever may
install packages for it or write its configuration decides what that is.

Long, because a kind is found, checked, tried and built by the same rules.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
import logging
from collections.abc import Mapping, Sequence
from functools import lru_cache
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final, TypeGuard

from pydantic import TypeAdapter, ValidationError

from tidegate.abc import Backend, StorageHost, StorageKind, TriesItself, WrapsStorage
from tidegate.errors import BadRecord, ConfigError, OperatorError, Problem, StorageFailed
from tidegate.model import LOCAL, Reach, StorageConfig, StorageSpec
from tidegate.model.sealing import NO_SEALING, SealsSecrets, SecretLocked, open_secrets
from tidegate.model.secret_names import is_secret_option
from tidegate.model.storage import provider_of

log = logging.getLogger(__name__)

GROUP: Final = "tidegate.backends"
"""The entry point group."""
OURS: Final[Mapping[str, str]] = {
    LOCAL: "tidegate.backends.local.kind:LocalStorage",
    "s3": "tidegate.backends.objects.s3_kind:S3Storage",
    "azblob": "tidegate.backends.objects.azure_kind:AzureStorage",
    "gcs": "tidegate.backends.objects.gcs_kind:GcsStorage",
    "crypt": "tidegate.backends.crypt.kind:CryptStorage",
    "sftp": "tidegate.backends.sftp.kind:SftpStorage",
}
"""The kinds that always have their name; they are found as any other."""
LATE: Final = frozenset(OURS) - {LOCAL}
"""Opened when the first root needs them: a server without buckets does without their code."""
EXTRAS: Final[Mapping[str, tuple[str, str]]] = {
    "s3": ("aiobotocore", "tidegate[s3]"),
    "azblob": ("azure.storage.blob", "tidegate[azure]"),
    "gcs": ("google_crc32c", "tidegate[gcs]"),
}
"""Of those, what needs a library that is not always installed: its module, and what to install for it."""


_wrapping: Final[dict[type, bool]] = {}


def _wraps(kind: StorageKind) -> TypeGuard[WrapsStorage]:
    """True if a kind that is in use lies over other storage.

    A login asks twice, and a runtime protocol takes six microseconds to ask: it is asked once for each class.
    """
    found = _wrapping.get(type(kind))
    if found is None:
        found = _wrapping[type(kind)] = isinstance(kind, WrapsStorage)
    return found


class StorageKinds:
    """Finds kinds of storage and checks what records say about them. Importing one may take a while.

    Args:
        named: import paths (``package.module:name``) of the configuration by kind.
        seals: opens encrypted secrets of records.
    """

    def __init__(self, named: Mapping[str, str] | None = None, seals: SealsSecrets = NO_SEALING) -> None:
        self._seals = seals
        self._paths = {**(named or {}), **OURS}
        self._named = tuple(named or ())
        self._found: dict[str, type[StorageKind]] = {}
        self._broken: dict[str, str] = {}
        self._installed: dict[str, EntryPoint] | None = None

    def names(self) -> list[str]:
        """Every kind there is, loadable or not; without those of ours whose library is not installed."""
        return sorted(name for name in {*self._paths, *self._points()} if _missing(name) is None)

    def find(self, kind: str) -> type[StorageKind]:
        """The class of a kind.

        Raises:
            OperatorError: there is none, or it cannot be loaded.
        """
        if kind in self._found:
            return self._found[kind]
        if kind in self._broken:
            raise OperatorError(self._broken[kind])
        if (package := _missing(kind)) is not None:
            raise OperatorError(f"provider {provider_of(kind)} is not installed here: install {package}")
        path = self._paths.get(kind)
        point = self._points().get(kind) if path is None else None  # looking for packages takes 10 ms
        if path is None and point is None:
            raise OperatorError(f"provider {provider_of(kind)} is not available in this version")
        try:
            found: Any = _imported(path) if path is not None else point.load() if point is not None else None
            _check_class(found)
        except OperatorError as error:
            self._broken[kind] = _unusable(kind, str(error))
        except Exception as error:  # other people's code
            self._broken[kind] = _unusable(kind, f"{type(error).__name__}: {error}")
        else:
            kept: type[StorageKind] = found
            self._found[kind] = kept
            return kept
        raise OperatorError(self._broken[kind])

    def problem(self, config: StorageConfig) -> str | None:
        """The reason why storage of this kind cannot be used here at all; None if it can."""
        try:
            self.find(config.kind)
        except OperatorError as error:
            return str(error)
        return None

    def mistake(self, spec: StorageSpec) -> str | None:
        """The reason why storage cannot be used here as the record has it; asks no service."""
        if (problem := self.problem(spec.config)) is not None:
            return problem
        try:
            self.options(self.find(spec.config.kind), spec)
            below = self.below(spec)
        except BadRecord as error:
            return str(error)
        return None if below is None else self.mistake(below)

    def below(self, spec: StorageSpec) -> StorageSpec | None:
        """The storage that a root lies over; None if it lies over none.

        Raises:
            BadRecord: the record is wrong.
            OperatorError: there is no such kind.
        """
        kind = self.find(spec.config.kind)
        return kind.below(spec, self.options(kind, spec)) if isinstance(kind, WrapsStorage) else None

    def location(self, spec: StorageSpec) -> str:
        """The location of a root, for operators.

        Raises:
            BadRecord, OperatorError: as `below`.
        """
        if (below := self.below(spec)) is not None:
            return self.location(below)
        kind = self.find(spec.config.kind)
        return kind(StorageHost()).build(spec, self.options(kind, spec)).location("")

    def options(self, kind: type[StorageKind] | StorageKind, spec: StorageSpec, where: str = "") -> Any:
        """The options of a kind in a record, with its secrets as they were given: for using them right now.

        Raises:
            BadRecord: they do not fit, or a secret cannot be opened.
        """
        config = spec.config
        if config.is_sealed:
            try:
                opened = open_secrets(config.options, self._seals, spec.owner.at("filesystem"))
            except SecretLocked as error:
                raise BadRecord(f"{where}{error.field}", error.what) from None
            config = StorageConfig(config.kind, opened)
        return options_of(kind.options, kind.section, config, f"{where}filesystem.")

    def check(self, spec: StorageSpec, where: str = "", directory: str = "mapped_path") -> None:
        """Check what a record says about storage that can be used here.

        Args:
            spec: the storage.
            where: prefix of the fields of errors, for instance ``virtual_folders[0].``.
            directory: the record's name for `StorageSpec.directory`.

        Raises:
            BadRecord: the first mistake.
        """
        if self.problem(spec.config) is not None:
            return
        kind = self.find(spec.config.kind)
        if kind.needs_directory and not spec.directory:
            raise BadRecord(f"{where}{directory}", "is missing: an absolute directory is needed")
        options = self.options(kind, spec, where)
        if isinstance(kind, WrapsStorage):
            below = kind.below(spec, options)
            if (problem := self.problem(below.config)) is not None:
                raise BadRecord(f"{where}filesystem.{kind.section}.storage", problem)
            self.check(below, where, directory)

    def reach(self, spec: StorageSpec) -> Reach | None:
        """The hosts and credentials of storage, by fields of the record; None if its kind does not tell them.

        Options tell them by a method ``reach``, which returns a `tidegate.model.Reach` of their names.
        """
        if self.problem(spec.config) is not None:
            return None
        kind = self.find(spec.config.kind)
        try:
            tell = getattr(self.options(kind, spec), "reach", None)
        except BadRecord:
            return None
        if tell is None:
            return None
        told: Reach = tell()
        where = f"filesystem.{kind.section}." if kind.section else "filesystem."
        urls = {where + name: url for name, url in told.urls.items()}
        return Reach(urls, where + told.borrows if told.borrows else "")

    async def try_out(self, spec: StorageSpec, *, writes: bool = True) -> None:
        """Open a root as a server would, and ask it for what users need; nothing is kept.

        Args:
            spec: the storage of a home or folder; directories of this host are not looked at.
            writes: False to list only.

        Raises:
            TidegateError: it cannot be used; its text says why.
        """
        if spec.config.is_local:
            return
        problem = await asyncio.to_thread(self.problem, spec.config)
        if problem is not None:
            raise OperatorError(problem)
        self.check(spec)
        below = self.below(spec)
        if below is not None and below.config.is_local and not await asyncio.to_thread(_there, below):
            return  # it is made when somebody logs in
        writes = writes or (below is not None and below.config.is_local)  # nothing is written to a directory
        storages = Storages(self, StorageHost())
        try:
            await storages.ready(spec)
            backend = storages.build(spec)
            try:
                await backend.open()
                if writes and isinstance(backend, TriesItself):
                    await backend.try_itself()
                else:
                    await backend.stat("")
                    await anext(aiter(backend.list("")), None)
            finally:
                await backend.close()
        finally:
            await storages.close()

    def configured(self) -> list[Problem]:
        """Load what the configuration names; what is wrong with it."""
        found: list[Problem] = []
        for kind in self._named:
            where = f"storage.kinds.{kind}"
            if kind in OURS:
                found.append(Problem(where, "this kind cannot be replaced"))
            elif (problem := self.problem(StorageConfig(kind))) is not None:
                found.append(Problem(where, problem))
        return found

    def _points(self) -> dict[str, EntryPoint]:
        if self._installed is None:
            self._installed = {point.name: point for point in entry_points(group=GROUP)}
        return self._installed


class Storages:
    """The kinds of storage of one server. Life: constructed (pure), `open`, used, `close`.

    Args:
        kinds: finds them.
        host: what the server gives to them.
    """

    def __init__(self, kinds: StorageKinds, host: StorageHost) -> None:
        self.kinds = kinds
        self._host = host
        self._used: dict[str, StorageKind] = {}
        self._opening = asyncio.Lock()

    async def open(self) -> Sequence[str]:
        """Get every kind ready but those of `LATE`; returns lines for the log.

        Raises:
            ConfigError: a kind that the configuration names cannot be used.
        """
        lines: list[str] = []
        problems = await asyncio.to_thread(self.kinds.configured)
        if problems:
            raise ConfigError(problems)
        for name in await asyncio.to_thread(self.kinds.names):
            if name in LATE:
                continue
            problem = await asyncio.to_thread(self.kinds.problem, StorageConfig(name))
            if problem is not None:
                lines.append(f"storage: {problem}")
                continue
            kind = self._used[name] = self.kinds.find(name)(self._host)
            lines += await kind.open()
        return lines

    async def ready(self, spec: StorageSpec) -> None:
        """Open the kind of a root if that waits for the first one; to be called before `build`.

        A kind that cannot be loaded is no error here; `build` says so.
        """
        if spec.config.kind not in self._used:
            async with self._opening:
                await self._open_kind(spec.config)
        kind = self._used.get(spec.config.kind)
        if kind is not None and _wraps(kind):
            try:
                below = self.kinds.below(spec)
            except OperatorError:
                return
            if below is not None:
                await self.ready(below)

    async def _open_kind(self, config: StorageConfig) -> None:
        name = config.kind
        if name in self._used or await asyncio.to_thread(self.kinds.problem, config) is not None:
            return
        kind = self.kinds.find(name)(self._host)
        for line in await kind.open():
            log.info("%s", line)
        self._used[name] = kind

    def build(self, spec: StorageSpec) -> Backend:
        """An unopened backend; `tidegate.vfs` opens it.

        Raises:
            StorageFailed: there is no such storage here, or what the record says about it is wrong.
        """
        kind = self._used.get(spec.config.kind)
        if kind is None:
            problem = self.kinds.problem(spec.config) or "not open"
            raise StorageFailed(f"storage {problem}")
        if kind.needs_directory and not spec.directory:
            raise StorageFailed("storage: the record names no directory")
        try:
            options = self.kinds.options(kind, spec)
        except BadRecord as error:
            # Not with a colon after the field: the log takes what follows the name of a secret for one.
            whose = f" of {spec.owner.kind} {spec.owner.name}:" if spec.owner.name else ""
            raise StorageFailed(detail=f"storage{whose} {error.field} {error.what}") from None
        if _wraps(kind):
            return kind.wrap(spec, options, self.build(kind.below(spec, options)))
        return kind.build(spec, options)

    async def close(self) -> None:
        """Release what the kinds share; backends are closed before."""
        for kind in reversed(list(self._used.values())):
            await kind.close()
        self._used.clear()


def options_of(options: Any, section: str, config: StorageConfig, where: str) -> Any:
    """The section of a kind in a record, as its options class.

    Raises:
        BadRecord: it does not fit.
    """
    given: object = config.options.get(section, {}) if section else {}
    where += section
    try:
        return _adapter(options).validate_json(json.dumps(given) if given else "{}", strict=True)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        path = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in first["loc"])
        what = "is missing" if first["type"] == "missing" else first["msg"].removeprefix("Input ")
        raise BadRecord(where + path, what.removeprefix("Value error, ")) from None


@lru_cache(maxsize=64)
def _adapter(options: Any) -> TypeAdapter[Any]:
    """The validator of an options class; making one costs as much as a fifth of a login."""
    return TypeAdapter(options)


def _there(spec: StorageSpec) -> bool:
    return Path(spec.directory).is_dir()


def _missing(kind: str) -> str | None:
    """The package to install for a kind of ours; None if nothing is missing."""
    module, package = EXTRAS.get(kind, ("", ""))
    return package if module and not _installed(module) else None


def _installed(module: str) -> bool:
    package, *inner = module.split(".")
    spec = find_spec(package)
    if spec is None or not inner:
        return spec is not None
    # Of a module in a package find_spec would import the package.
    return any(Path(place, *inner).is_dir() for place in spec.submodule_search_locations or ())


def _imported(path: str) -> Any:
    module, colon, attribute = path.partition(":")
    if not (module and colon and attribute):
        raise OperatorError(f"{path!r} is no import path: write package.module:name")
    found: Any = import_module(module)
    for part in attribute.split("."):
        found = getattr(found, part)
    return found


def _check_class(found: Any) -> None:
    wanted = ("options", "section", "needs_directory", "open", "build", "close")
    missing = [name for name in wanted if not hasattr(found, name)]
    options: Any = getattr(found, "options", None)
    if not isinstance(found, type) or missing:
        raise OperatorError(f"it is no kind of storage: it has no {', '.join(missing) or 'class'}")
    if not dataclasses.is_dataclass(options):
        raise OperatorError("its options are no dataclass")
    for field in dataclasses.fields(options):
        if is_secret_option(field.name) and field.repr:
            raise OperatorError(f"its option {field.name} is a secret: give it field(repr=False)")


def _unusable(kind: str, why: str) -> str:
    return f"provider {provider_of(kind)} cannot be used: {why}"
