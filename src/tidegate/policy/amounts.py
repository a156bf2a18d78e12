# SPDX-License-Identifier: Apache-2.0
"""The rules about amounts, as steps for `explain`: space, size, allowance, tally, bandwidth.

The server asks these of its live counters while bytes flow; here the same sets of counters and limits
(`policy.charges`, `policy.quota`) are built over the numbers of one moment, asked the same questions, and the
answers told in sentences. An upload is asked whether it may begin and whether it fits. So is a copy on the
server, which is charged as growth and not as traffic: of the allowance, and of everything that concerns its
original, it is asked only whether it may begin.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from tidegate.errors import QuotaExceeded, TooLarge
from tidegate.model import TALLY_NAMES, Account, FolderMount, Intent, Tally, VPath
from tidegate.policy.charges import allowances_for, build_charges
from tidegate.policy.decision import Step
from tidegate.policy.quota import (
    READ_TEXT,
    WRITE_TEXT,
    ChargeSet,
    Direction,
    QuotaLimit,
    UsageCounter,
    counts_in_account,
    require,
)
from tidegate.policy.throttle import rates_for

WRITES: Final = frozenset({Intent.UPLOAD, Intent.OVERWRITE, Intent.COPY})
"""Intents that use up space."""

NOT_COUNTED: Final = "nothing is counted (data_provider.track_quota is 0)"


@dataclass(frozen=True, slots=True)
class Charge:
    """Bytes and files."""

    size: int = 0
    files: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Live counters; None takes what is stored with the account.

    Attributes:
        space: bytes and files of the account's own quota.
        upload: bytes of the allowance; download likewise.
        tally: ProFTPD-style counters.
        folders: bytes and files by folder name.
        sessions: number that the user has open now; None asks nothing.
        tracked: True if space and transfers are counted at all (`data_provider.track_quota`).
    """

    space: Charge | None = None
    upload: int | None = None
    download: int | None = None
    tally: Tally | None = None
    folders: Mapping[str, Charge] = field(default_factory=dict)
    sessions: int | None = None
    tracked: bool = True


@dataclass(frozen=True, slots=True)
class Amount:
    """A file that is going to be moved.

    Attributes:
        intent: what is wanted.
        path: where bytes go to or come from.
        size: bytes of the file; None if not known.
        new_file: True if the write makes a file that is not there yet.
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
    charges = _charges(account, ip, amount, usage)
    if amount.intent in WRITES:
        yield from _space(account, amount, usage, charges)
        yield _file_size(account, amount)
        yield from _transfer(account, ip, amount, usage, charges, "upload")
    if amount.intent is Intent.DOWNLOAD:
        yield from _transfer(account, ip, amount, usage, charges, "download")


def original_steps(account: Account, ip: str, amount: Amount, usage: Usage) -> Iterator[Step]:
    """The rules about the original of a copy, asked after `amount_steps`: may it be downloaded?"""
    if amount.intent is Intent.COPY:
        charges = _charges(account, ip, amount, usage)
        yield from _transfer(account, ip, amount, usage, charges, "download")


# -- the engine, over the numbers of one moment -------------------------------------------------------


class _Space:
    """Counters of a folder."""

    def __init__(self, used: Charge) -> None:
        self.size = UsageCounter(used.size)
        self.files = UsageCounter(used.files)


class _Counters(_Space):
    """Counters of an account."""

    def __init__(self, account: Account, usage: Usage) -> None:
        stored = Charge(account.used_quota_size, account.used_quota_files)
        super().__init__(stored if usage.space is None else usage.space)
        up = account.used_upload_data_transfer if usage.upload is None else usage.upload
        down = account.used_download_data_transfer if usage.download is None else usage.download
        self.upload, self.download = UsageCounter(up), UsageCounter(down)
        self.total = UsageCounter(up + down)
        limits = account.filters.tally_limits
        begun = Tally() if limits is not None and limits.per_session else account.tally
        tally = begun if usage.tally is None else usage.tally
        self.tally = {name: UsageCounter(getattr(tally, name)) for name in TALLY_NAMES}


def _charges(account: Account, ip: str, amount: Amount, usage: Usage) -> ChargeSet:
    index = mount_of(account, amount.path)
    mount = None if index is None else account.virtual_folders[index]
    return build_charges(
        int(usage.tracked),
        lambda *_: None,
        account,
        _Counters(account, usage),
        None,
        ip=ip,
        mount=mount,
        folder=None if mount is None else _Space(_used_in(mount, usage)),
    )


def _used_in(mount: FolderMount, usage: Usage) -> Charge:
    return usage.folders.get(mount.name, Charge(mount.used_quota_size, mount.used_quota_files))


def _refusing(limits: tuple[QuotaLimit, ...], amount: int) -> QuotaLimit | None:
    """The first limit that leaves no room for `amount`."""
    for limit in limits:
        try:
            require((limit,), amount)
        except QuotaExceeded:
            return limit
    return None


def _each(charges: ChargeSet) -> Iterator[tuple[QuotaLimit, ChargeSet]]:
    """Every limit, with a set that asks nothing but this limit."""
    for limit in charges.grow_limits:
        yield limit, ChargeSet(grow_limits=(limit,))
    for limit in charges.file_limits:
        yield limit, ChargeSet(file_limits=(limit,))
    for limit in charges.up_limits:
        yield limit, ChargeSet(up_limits=(limit,))
    for limit in charges.down_limits:
        yield limit, ChargeSet(down_limits=(limit,))
    for limit in charges.fetch_limits:
        yield limit, ChargeSet(fetch_limits=(limit,))


def _over_start(charges: ChargeSet, amount: Amount, direction: Direction) -> QuotaLimit | None:
    """The first limit of `charges` by which the transfer may not begin."""
    for limit, alone in _each(charges):
        try:
            if direction == "upload":
                alone.may_upload(new=amount.new_file, replaced=amount.replaced)
            else:
                alone.may_download()
        except QuotaExceeded:
            return limit
    return None


# -- steps ----------------------------------------------------------------------------------------------


def _transfer(  # noqa: PLR0917  the facts of one question
    account: Account, ip: str, amount: Amount, usage: Usage, charges: ChargeSet, direction: Direction
) -> Iterator[Step]:
    yield _allowance(account, ip, amount, usage, charges, direction)
    if account.filters.tally_limits is not None:
        yield _tally(account, amount, charges, direction)
    if amount.intent is not Intent.COPY:  # nothing goes over the line
        yield _bandwidth(account, ip, direction)


def _space(account: Account, amount: Amount, usage: Usage, charges: ChargeSet) -> Iterator[Step]:
    if not usage.tracked:
        yield Step("quota", "pass", NOT_COUNTED, "quota_size")
        return
    index = mount_of(account, amount.path)
    mount = None if index is None else account.virtual_folders[index]
    own = mount is None or counts_in_account(mount)
    where = "" if own else f"virtual_folders[{index}]."
    if mount is not None and own:
        why = f"folder {mount.name} counts in the account's own quota"
        yield Step("quota", "pass", why, f"virtual_folders[{index}].quota_size")
    counters = _Counters(account, usage) if mount is None or own else _Space(_used_in(mount, usage))
    size, files = charges.space
    growth = amount.growth or 0
    yield _space_step("quota_size", where, size, counters.size, amount, growth)
    yield _space_step("quota_files", where, files, counters.files, amount, int(amount.new_file))


def _space_step(  # noqa: PLR0917  the facts of one question
    name: str, where: str, limit: QuotaLimit | None, used: UsageCounter, amount: Amount, wanted: int
) -> Step:
    unit = "bytes" if name == "quota_size" else "files"
    field_path = f"{where}{name}"
    if limit is None:
        return Step(name, "pass", f"no limit ({used.used} {unit} used)", field_path)
    told = f"{limit.count.used} of {limit.limit} {unit} are used"
    alone = ChargeSet(grow_limits=(limit,)) if name == "quota_size" else ChargeSet(file_limits=(limit,))
    if _over_start(alone, amount, "upload") is not None:
        wanted = 1
    elif wanted <= 0 or _refusing((limit,), wanted) is None:
        return Step(name, "pass", told, field_path)
    more = f", {wanted} more are wanted" if amount.size is not None else ""
    return _refused(name, f"{told}{more}", field_path)


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


def _allowance(  # noqa: PLR0917  the facts of one question
    account: Account, ip: str, amount: Amount, usage: Usage, charges: ChargeSet, direction: Direction
) -> Step:
    rule = f"{direction}_data_transfer"
    if not usage.tracked:
        return Step(rule, "pass", NOT_COUNTED, rule)
    entry = allowances_for(account, ip).where
    prefix = f"filters.{entry}." if entry else ""
    limits = charges.up_limits if direction == "upload" else charges.down_limits
    limits = tuple(limit for limit in limits if not _is_tally(limit))
    wanted = 0
    alone = ChargeSet(up_limits=limits) if direction == "upload" else ChargeSet(down_limits=limits)
    over = _over_start(alone, amount, direction)
    if over is None:
        wanted = amount.traffic
        over = _refusing(limits, wanted) if wanted else None
    if over is not None:
        more = f", {wanted} more are wanted" if wanted else ""
        why = f"{over.count.used} of {over.limit} bytes of the allowance are used{more}"
        name = over.name.rpartition(".")[2]
        return _refused(name, why, f"{prefix}{name}", "reset the transfer usage")
    left = min((limit.limit - limit.count.used for limit in limits), default=None)
    why = "no allowance is set" if left is None else f"{left} bytes of the allowance are left"
    if entry:
        why += f" for the network that {ip} is in"
    return Step(rule, "pass", why, f"{prefix}{rule}")


def _is_tally(limit: QuotaLimit) -> bool:
    return limit.name.startswith("tally_limits.")


def _tally(account: Account, amount: Amount, charges: ChargeSet, direction: Direction) -> Step:
    limits = account.filters.tally_limits
    assert limits is not None
    upload = direction == "upload"

    def of(group: tuple[QuotaLimit, ...]) -> tuple[QuotaLimit, ...]:
        return tuple(limit for limit in group if _is_tally(limit))

    if upload:
        asked = ChargeSet(grow_limits=of(charges.grow_limits), file_limits=of(charges.file_limits))
    else:
        asked = ChargeSet(down_limits=of(charges.down_limits), fetch_limits=charges.fetch_limits)
    over = _over_start(asked, amount, direction)
    if over is None and upload:
        growth = amount.growth or 0
        over = _refusing(asked.grow_limits, growth) if growth > 0 else None
        if over is None and amount.new_file:
            over = _refusing(asked.file_limits, 1)
    elif over is None and amount.traffic:
        over = _refusing(asked.down_limits, amount.traffic)
    where = "filters.tally_limits"
    if over is None:
        return Step("tally_limits", "pass", f"no {limits.limit_type} limit is reached", where)
    why = f"{over.count.used} of {over.limit} are used ({limits.limit_type} limit)"
    name = over.name.partition(".")[2]
    return _refused(f"tally_limits[{name}]", why, f"filters.{over.name}", "reset the tally")


def _bandwidth(account: Account, ip: str, direction: Direction) -> Step:
    rates = rates_for(account, ip)
    rate = rates.upload if direction == "upload" else rates.download
    where = f"{rates.where}.{direction}_bandwidth" if rates.where else f"{direction}_bandwidth"
    why = f"limited to {rate} KB/s" if rate else "not limited"
    return Step("bandwidth", "pass", f"{direction} is {why}", where)


def client_text(rule: str, intent: Intent) -> str:
    """The text that a client gets when a rule about amounts refuses."""
    if rule == "max_upload_file_size":
        return TooLarge.default_text
    name = rule.partition("[")[2].rstrip("]") or rule
    return f"{READ_TEXT if intent is Intent.DOWNLOAD else WRITE_TEXT}: {name}"


def _refused(rule: str, why: str, where: str, also: str = "remove files") -> Step:
    return Step(rule, "deny", why, where, f"raise {where}, or {also}")
