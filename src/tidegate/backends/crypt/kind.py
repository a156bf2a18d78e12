# SPDX-License-Identifier: Apache-2.0
"""Encryption as a kind of storage: ``cryptconfig`` of a record, over local disk or over another kind."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, ClassVar, Final

from tidegate.abc import Backend, StorageHost, StorageKind, WrapsStorage
from tidegate.errors import StorageFailed
from tidegate.model import LOCAL, StorageConfig, StorageSpec
from tidegate.model.secrets import Secret, check_secret, open_secret
from tidegate.model.storage import NUMBERED

if TYPE_CHECKING:
    from tidegate.backends.crypt.keys import Stretched

BUFFERS: Final = range(11)
"""`read_buffer_size` and `write_buffer_size` in MiB."""
_MIB: Final = 1024 * 1024
_NAMES: Final = {
    "": LOCAL, "osfs": LOCAL, "s3fs": "s3", "gcsfs": "gcs", "azblobfs": "azblob", "sftpfs": "sftp",
    "httpfs": "http",
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class CryptOptions:
    """Options of a record under ``cryptconfig``.

    Attributes:
        passphrase: what all files of the root are encrypted with. Who loses it loses them.
        read_buffer_size: MiB that a file that is read in sequence is asked for at once; 0 for 64 KiB.
        write_buffer_size: MiB of a file that are handed on at once; 0 for what has arrived.
        storage: the kind of storage that holds the encrypted files, by name or number; its own section
            (``s3config``...) stands beside ``cryptconfig``. By default local disk.
        format: of the files; only ``tidegate`` can be used. Imports set ``cryptfs`` for files of SFTPGo.
    """

    passphrase: Secret = field(default="", repr=False)
    read_buffer_size: int = 0
    write_buffer_size: int = 0
    storage: str | int = LOCAL
    format: str = "tidegate"

    def __post_init__(self) -> None:
        check_secret("passphrase", self.passphrase)
        if not self.passphrase:
            raise ValueError("passphrase is empty")
        if self.format == "cryptfs":
            raise ValueError(
                "format is 'cryptfs': files that SFTPGo has encrypted cannot be read; move them through one "
                "of its clients, then remove this option"
            )
        if self.format != "tidegate":
            raise ValueError(f"format is {self.format!r}; expected 'tidegate'")
        for name in ("read_buffer_size", "write_buffer_size"):
            if (value := getattr(self, name)) not in BUFFERS:
                raise ValueError(f"{name} is {value}; expected 0 to {BUFFERS.stop - 1} MiB")
        if isinstance(self.storage, int) and self.storage not in range(len(NUMBERED)):
            raise ValueError(f"storage is {self.storage}; expected the number or name of a provider")
        if self.below == "crypt":
            raise ValueError("storage is 'crypt'; expected the storage that holds the encrypted files")

    @property
    def below(self) -> str:
        """The kind of the storage that holds the encrypted files."""
        if isinstance(self.storage, int):
            return NUMBERED[self.storage]
        return _NAMES.get(self.storage, self.storage).removesuffix("fs")


class CryptStorage:
    """`tidegate.abc.StorageKind` and `tidegate.abc.WrapsStorage` of encrypted files."""

    options: ClassVar[type[CryptOptions]] = CryptOptions
    section: ClassVar[str] = "cryptconfig"
    needs_directory: ClassVar[bool] = False

    def __init__(self, host: StorageHost) -> None:
        del host
        self._stretched: Stretched | None = None

    async def open(self) -> Sequence[str]:
        """Nothing to get ready."""
        return ()

    @staticmethod
    def below(spec: StorageSpec, options: CryptOptions) -> StorageSpec:
        """The storage that holds the encrypted files."""
        others = {name: value for name, value in spec.config.options.items() if name != "cryptconfig"}
        return replace(spec, config=StorageConfig(options.below, others))

    def wrap(self, spec: StorageSpec, options: CryptOptions, below: Backend) -> Backend:
        """Encryption over a backend."""
        from tidegate.backends.crypt.backend import crypt_backend
        from tidegate.backends.crypt.keys import RootKeys, Stretched

        del spec
        if self._stretched is None:
            self._stretched = Stretched()
        keys = RootKeys(open_secret("passphrase", options.passphrase), self._stretched)
        return crypt_backend(below, keys, options.read_buffer_size * _MIB, options.write_buffer_size * _MIB)

    def build(self, spec: StorageSpec, options: CryptOptions) -> Backend:
        """Refused: it needs the storage below.

        Raises:
            StorageFailed.
        """
        del spec, options
        raise StorageFailed(detail="encryption needs another storage below it")

    async def close(self) -> None:
        """Nothing to release."""


def _proof(kind: CryptStorage) -> tuple[StorageKind, WrapsStorage]:
    """The type checker's word that the contracts are kept."""
    return kind, kind
