# SPDX-License-Identifier: Apache-2.0
"""The rules about amounts, as steps for `explain`: space, size, allowance, tally, bandwidth.

The server enforces these while bytes flow, on live counters; here the same arithmetic (`policy.quota`,
`policy.tally`, `policy.throttle`) is applied to one moment and told in sentences. An upload is asked whether
it may begin and whether it fits. So is a copy on the server, which is charged as growth and not as traffic:
of the allowance, and of everything that concerns its original, it is asked only whether it may begin.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from tidegate.errors import TooLarge
from tidegate.model import Account, FolderMount, Intent, Tally, VPath
from tidegate.policy import quota, tally
from tidegate.policy.decision import Step
from tidegate.policy.throttle import rates_for

WRITES: Final = frozenset({Intent.UPLOAD, Intent.OVERWRITE, Intent.COPY})
"""Intents that use up space."""

NOT_COUNTED: Final = "nothing is counted (data_provider.track_quota is 0)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Live counters; None takes what is stored with the account.

    Attributes:
        space: bytes and files of the account's own quota.
        upload: bytes of the allowance; download likewise.
        tally: ProFTPD-style counters.
        folders: bytes and files by folder name.
        sessions: how many the user has open now; None asks nothing.
        tracked: whether space and transfers are counted at all (`data_provider.track_quota`).
    """

    space: quota.Charge | None = None
    upload: int | None = None
    download: int | None = None
    tally: Tally | None = None
    folders: Mapping[str, quota.Charge] = field(default_factory=dict)
    sessions: int | None = None
    tracked: bool = True


@dataclass(frozen=True, slots=True)
class Amount:
    """What is going to be moved.

    Attributes:
        intent: what is wanted.
        path: where bytes go to or come from.
        size: bytes of the file; None if not known.
        new_file: whether the write makes a file that is not there yet.
        replaced: bytes of the file that goes; they are given back.
    """

    intent: Intent
    path: VPath
    size: int | None
    new_file: bool
    replaced: int = 0

    @property
    def growth(self) -> int | None:
        """Bytes that are charged; None if not known."""
        return None if self.size is None else self.size - self.replaced

    @property
    def traffic(self) -> int:
        """Bytes that count against the allowance; 0 asks only whether a transfer may begin."""
        return 0 if self.intent is Intent.COPY else self.size or 0


def mount_of(account: Account, path: VPath) -> int | None:
    """Index of the virtual folder that holds `path`, the innermost one; None for the home."""
    found: int | None = None
    for index, mount in enumerate(account.virtual_folders):
        if path.is_within(mount.virtual_path) and (
            found is None or len(mount.virtual_path) > len(account.virtual_folders[found].virtual_path)
        ):
            found = index
    return found


def session_step(account: Account, usage: Usage) -> Step | None:
    """The limit of concurrent sessions, None if the number of sessions is not known."""
    if usage.sessions is None:
        return None
    if 0 < account.max_sessions <= usage.sessions:
        why = f"{usage.sessions} of {account.max_sessions} sessions are open"
        hint = "close a session, or raise max_sessions"
        return Step("max_sessions", "deny", why, "max_sessions", hint)
    limit = account.max_sessions if account.max_sessions > 0 else "any number of"
    return Step("max_sessions", "pass", f"{usage.sessions} of {limit} sessions are open", "max_sessions")


def amount_steps(account: Account, ip: str, amount: Amount, usage: Usage) -> Iterator[Step]:
    """Every rule about amounts in the order of asking; several may refuse."""
    if amount.intent in WRITES:
        yield from _space(account, amount, usage)
        yield _file_size(account, amount)
        yield from _transfer(account, ip, amount, usage, "upload")
    if amount.intent is Intent.DOWNLOAD:
        yield from _transfer(account, ip, amount, usage, "download")


def original_steps(account: Account, ip: str, amount: Amount, usage: Usage) -> Iterator[Step]:
    """What is asked about the original of a copy, after `amount_steps`: whether it might be downloaded."""
    if amount.intent is Intent.COPY:
        yield from _transfer(account, ip, amount, usage, "download")


def _transfer(
    account: Account, ip: str, amount: Amount, usage: Usage, direction: quota.Direction
) -> Iterator[Step]:
    yield _allowance(account, amount, usage, direction)
    if account.filters.tally_limits is not None:
        yield _tally(account, amount, usage, direction)
    if amount.intent is not Intent.COPY:  # nothing goes over the line
        yield _bandwidth(account, ip, direction)


def _space(account: Account, amount: Amount, usage: Usage) -> Iterator[Step]:
    if not usage.tracked:
        yield Step("quota", "pass", NOT_COUNTED, "quota_size")
        return
    index = mount_of(account, amount.path)
    mount = None if index is None else account.virtual_folders[index]
    if mount is None or quota.counts_in_account(mount):
        limits = quota.quota_of_account(account, usage.space)
        if mount is not None:
            why = f"folder {mount.name} counts in the account's own quota"
            yield Step("quota", "pass", why, f"virtual_folders[{index}].quota_size")
    else:
        limits = _folder_quota(mount, index or 0, usage)
    for name, one, used in (
        ("quota_size", replace(limits, files=0), limits.used.size),
        ("quota_files", replace(limits, size=0), limits.used.files),
    ):
        limit = one.size or one.files
        field_path = f"{limits.where}{name}"
        unit = "bytes" if name == "quota_size" else "files"
        if limit <= 0:
            yield Step(name, "pass", f"no limit ({used} {unit} used)", field_path)
        elif (over := _over_space(one, amount)) is not None:
            more = f", {over.wanted} more are wanted" if amount.size is not None else ""
            yield _refused(name, f"{used} of {limit} {unit} are used{more}", field_path)
        else:
            yield Step(name, "pass", f"{used} of {limit} {unit} are used", field_path)


def _over_space(limits: quota.Quota, amount: Amount) -> quota.Over | None:
    over = quota.check_start(limits, new_file=amount.new_file, given_back=amount.replaced)
    if over is None:
        over = quota.check_charge(limits, quota.Charge(amount.growth or 0, int(amount.new_file)))
    return over


def _folder_quota(mount: FolderMount, index: int, usage: Usage) -> quota.Quota:
    stored = quota.Charge(mount.used_quota_size, mount.used_quota_files)
    used = usage.folders.get(mount.name, stored)
    return quota.Quota(mount.quota_size, mount.quota_files, used, f"virtual_folders[{index}].")


def _file_size(account: Account, amount: Amount) -> Step:
    rule = "max_upload_file_size"
    where = f"filters.{rule}"
    limit = account.filters.max_upload_file_size
    if limit <= 0:
        return Step(rule, "pass", "a file may be of any size", where)
    if amount.size is None:
        return Step(rule, "pass", f"a file may have {limit} bytes; the size is not known", where)
    if amount.size > limit:
        why = f"a file may have {limit} bytes; this one has {amount.size}"
        return Step(rule, "deny", why, where, "raise max_upload_file_size, or send smaller files")
    return Step(rule, "pass", f"{amount.size} of {limit} bytes", where)


def _allowance(account: Account, amount: Amount, usage: Usage, direction: quota.Direction) -> Step:
    allowance = quota.allowance_of(account)
    up = account.used_upload_data_transfer if usage.upload is None else usage.upload
    down = account.used_download_data_transfer if usage.download is None else usage.download
    rule = f"{direction}_data_transfer"
    if not usage.tracked:
        return Step(rule, "pass", NOT_COUNTED, rule)
    for wanted in (0, amount.traffic):
        over = quota.check_transfer(allowance, direction, wanted, used_upload=up, used_download=down)
        if over is not None:
            more = f", {wanted} more are wanted" if wanted else ""
            why = f"{over.used} of {over.allowed} bytes of the allowance are used{more}"
            return _refused(over.limit, why, over.limit, "reset the transfer usage")
    left = quota.transfer_remaining(allowance, direction, used_upload=up, used_download=down)
    why = "no allowance is set" if left is None else f"{left} bytes of the allowance are left"
    return Step(rule, "pass", why, rule)


def _tally(account: Account, amount: Amount, usage: Usage, direction: quota.Direction) -> Step:
    limits = account.filters.tally_limits
    assert limits is not None
    used = usage.tally if usage.tally is not None else tally.start_tally(limits, account.tally)
    transfer = tally.Transfer.STORE if direction == "upload" else tally.Transfer.RETRIEVE
    exists, back = not amount.new_file, amount.replaced
    over = tally.check_start(limits, used, transfer, target_exists=exists, given_back=back)
    if over is None and direction == "upload":
        over = tally.check_bytes(limits, used, transfer, amount.growth or 0, files=int(amount.new_file))
    elif over is None:
        over = tally.check_bytes(limits, used, transfer, amount.traffic)
    where = "filters.tally_limits"
    if over is None:
        return Step("tally_limits", "pass", f"no {limits.limit_type} limit is reached", where)
    why = f"{over.used} of {over.allowed} are used ({limits.limit_type} limit)"
    return _refused(f"tally_limits[{over.limit}]", why, over.rule, "reset the tally")


def _bandwidth(account: Account, ip: str, direction: quota.Direction) -> Step:
    rates = rates_for(account, ip)
    rate = rates.upload if direction == "upload" else rates.download
    where = f"{rates.where}.{direction}_bandwidth" if rates.where else f"{direction}_bandwidth"
    why = f"limited to {rate} KB/s" if rate else "not limited"
    return Step("bandwidth", "pass", f"{direction} is {why}", where)


def client_text(rule: str, intent: Intent) -> str:
    """What a client is told when a rule about amounts refuses."""
    if rule == "max_upload_file_size":
        return TooLarge.default_text
    name = rule.partition("[")[2].rstrip("]") or rule
    return f"{quota.READ_TEXT if intent is Intent.DOWNLOAD else quota.WRITE_TEXT}: {name}"


def _refused(rule: str, why: str, where: str, also: str = "remove files") -> Step:
    return Step(rule, "deny", why, where, f"raise {where}, or {also}")
