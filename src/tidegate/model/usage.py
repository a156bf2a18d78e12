# SPDX-License-Identifier: Apache-2.0
"""Changes of what an account uses, on their way from the vfs to the store."""

from __future__ import annotations

from dataclasses import dataclass, field

from tidegate.model.account import Tally


@dataclass(frozen=True, slots=True)
class UsageDelta:
    """A change of counters; may be negative. Applied as increments, so concurrent writers add up.

    Attributes:
        size: bytes of `used_quota_size`.
        files: `used_quota_files`.
        upload: bytes of `used_upload_data_transfer`.
        download: bytes of `used_download_data_transfer`.
        tally: change of the ProFTPD-style counters.
    """

    size: int = 0
    files: int = 0
    upload: int = 0
    download: int = 0
    tally: Tally = field(default_factory=Tally)
