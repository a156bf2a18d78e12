# SPDX-License-Identifier: Apache-2.0
"""The one table from errno to `tidegate.errors`.

Texts are fixed: no path of the host and no wording of the operating system reaches a client.
"""

from __future__ import annotations

import errno
from collections.abc import Mapping
from typing import Final

from tidegate import errors

NOT_REGULAR: Final = "operation unsupported: not a regular file"

_E = errors

TABLE: Final[Mapping[int, tuple[type[errors.TidegateError], str | None]]] = {
    errno.ENOENT: (_E.NotFound, None),
    errno.EEXIST: (_E.AlreadyExists, None),
    errno.ENOTDIR: (_E.NotADirectory, None),
    errno.EISDIR: (_E.IsADirectory, None),
    errno.ENOTEMPTY: (_E.DirectoryNotEmpty, None),
    errno.EACCES: (_E.Denied, None),
    errno.EPERM: (_E.Denied, None),
    errno.ELOOP: (_E.TooManyLinks, None),
    errno.ENAMETOOLONG: (_E.InvalidPath, "invalid path: too long"),
    errno.EILSEQ: (_E.InvalidPath, "invalid path: bytes not allowed by the storage"),
    errno.EINVAL: (_E.InvalidArgument, None),
    errno.EOVERFLOW: (_E.InvalidArgument, None),
    errno.ERANGE: (_E.InvalidArgument, None),
    errno.EBADF: (_E.InvalidHandle, None),
    errno.EXDEV: (_E.OtherDevice, None),
    errno.ENXIO: (_E.Unsupported, NOT_REGULAR),
    errno.ENOTSUP: (_E.Unsupported, None),
    errno.EOPNOTSUPP: (_E.Unsupported, None),
    errno.ENOSYS: (_E.Unsupported, None),
    errno.EMLINK: (_E.Unsupported, "operation unsupported: too many names for one file"),
    errno.EBUSY: (_E.Conflict, None),
    errno.ETXTBSY: (_E.Conflict, None),
    errno.EAGAIN: (_E.Conflict, None),
    errno.EDEADLK: (_E.Conflict, None),
    errno.ENOSPC: (_E.StorageFull, None),
    errno.EDQUOT: (_E.StorageFull, None),
    errno.EFBIG: (_E.StorageFull, "file too large for the storage"),
    errno.EROFS: (_E.StorageReadOnly, None),
    errno.EIO: (_E.StorageFailed, None),
    errno.ENODEV: (_E.StorageFailed, None),
    errno.ESTALE: (_E.StorageFailed, None),
    errno.ETIMEDOUT: (_E.StorageFailed, None),
    errno.ENOMEM: (_E.StorageFailed, "storage failure: out of memory"),
    errno.EMFILE: (_E.StorageFailed, "storage failure: too many open files"),
    errno.ENFILE: (_E.StorageFailed, "storage failure: too many open files"),
}


def translate(error: OSError) -> errors.TidegateError:
    """The error of ours for an error of the operating system; unknown ones are `StorageFailed`."""
    kind, text = TABLE.get(error.errno or 0, (_E.StorageFailed, None))
    return kind(text)
