# SPDX-License-Identifier: Apache-2.0
"""Decides logins: who it is, and if they may come in now, by this door, from there.

The order is fixed and matters: first the credential, then the rules. A refusal by a rule (expired, wrong
network, denied method) can therefore only be seen, by time or otherwise, by somebody who had the right
credential; everybody else meets the same answer after the same work, whether or not the user exists.

Long, because the steps of a login, whatever it is made of, are judged here in one order.
"""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, tzinfo
from typing import TYPE_CHECKING, Final

from tidegate.abc import Authenticator, Challenge, Credential
from tidegate.accounts.effective import Effective
from tidegate.accounts.key_kinds import is_certificate
from tidegate.accounts.names import DEFAULT_NAMING_RULES, login_name
from tidegate.contracts.inspection import Inspected, InspectedAct
from tidegate.errors import Denied, LoginRefused, ProviderUnavailable, TidegateError
from tidegate.identity.accounts import StoredAccounts
from tidegate.identity.api import Accounts, LoginService, PartialLogin
from tidegate.identity.cache import MAX_ENTRIES, TTL_SECONDS, VerifiedCache
from tidegate.identity.hashing import MAX_WAITING, WORKERS, Check, HashPool, PasswordChecker
from tidegate.identity.passwords import HashOptions, check
from tidegate.identity.stages import (
    CODE_CHALLENGE,
    Proved,
    Stages,
    Step,
    Surrounded,
    TakesPasswords,
    with_usage,
)
from tidegate.identity.throttle import OF_THE_SERVER, GuessLimits, LoginDelays, LoginThrottle
from tidegate.identity.upkeep import Upkeep
from tidegate.model import Account, Origin, Peer, Principal, Tally
from tidegate.model.geography import NO_LOCATION, Locate, nowhere
from tidegate.model.sealing import NO_SEALING, SealsSecrets
from tidegate.model.sources import Sources
from tidegate.policy.anonymous import takes_any_password
from tidegate.policy.login import require_login
from tidegate.policy.methods import CERTIFICATE, KEYBOARD, combined, remaining_methods
from tidegate.policy.second_factor import asks_code, code_follows, judged_method, totp_of
from tidegate.store.contract import Provider

if TYPE_CHECKING:
    from tidegate.identity.certificates.trust import UserCertificates
    from tidegate.identity.second_factor import SecondFactors
    from tidegate.model.certificate import SshCertificate

_MAX_PROVED: Final = 10_000
"""Logins by key (user, key, address) that are remembered."""
_PROVED_SECONDS: Final = 5.0
"""Seconds that a key which logged in is taken as known in an offer, which asks if signing makes sense."""
_CODE_DIGITS: Final = 6
"""Of a code that stands behind a password (`identity.totp.DIGITS`, which is loaded when it is needed)."""
_WITH_CODE: Final = re.compile(r".[0-9]{6}\Z", re.ASCII | re.DOTALL)
_PROBE_SECONDS: Final = 0.002
"""Answers to key probes come after a multiple of this; looking up one account takes less."""

_NO_GUESS: Final = frozenset({"busy", "hook_failed", "method", "provider_error", "provider_unavailable"})
"""Reasons of refusals that say nothing about a credential."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class IdentityOptions:
    """Options of checking logins.

    Attributes:
        hashing: what new and upgraded password hashes look like.
        password_caching: remember right passwords by keyed digest (`identity.cache`).
        cache_seconds: seconds that an answer is kept.
        upgrade_hashes: replace hashes of other kinds or costs at login.
        naming_rules: bits; 2 compares names in lower case, 4 ignores blanks around them.
        touch_seconds: `last_login` is written at most this often for each user.
        hash_workers: password checks computed at once.
        max_waiting: password checks asked for and not done.
        access_time_zone: what the hours of `access_time` are in.
        guesses: most wrong passwords that are borne.
        totp: name, issuer and algorithm of each kind of one-time codes.
        delays: see `LoginDelays`.
        spares: see `HashPool`.
        sources: the rule on what is one address in limits.
        home_refused: the reason why nobody may have a directory as a home; asked where a group gives it.
    """

    hashing: HashOptions = field(default_factory=HashOptions)
    password_caching: bool = True
    cache_seconds: float = TTL_SECONDS
    upgrade_hashes: bool = True
    naming_rules: int = DEFAULT_NAMING_RULES
    touch_seconds: float = 600.0
    hash_workers: int = WORKERS
    max_waiting: int = MAX_WAITING
    access_time_zone: tzinfo = UTC
    guesses: GuessLimits = field(default_factory=GuessLimits)
    totp: tuple[tuple[str, str, str], ...] = ()
    delays: LoginDelays = field(default_factory=LoginDelays)
    home_refused: Callable[[str], str | None] | None = None
    spares: Callable[[], bool] = lambda: False
    sources: Sources = field(default_factory=Sources)


_DELAYED: Final = frozenset(("password", KEYBOARD))
"""Kinds of credentials that can be guessed."""


class Identity:
    """Implements `tidegate.identity.api.LoginService`. Life: constructed, `open`, used, `close`.

    Without authenticators `open` does nothing and may be left out.

    Args:
        authenticators: asked in order before the provider's accounts.
        clock: Unix seconds; also decides expiry and hours.
        monotonic: seconds, for the password cache.
        certificates: judges certificates of users; None takes none.
        seals: opens the secrets of one-time codes.
        hooks: asked in the place of the provider's accounts, which they are given.
        inspect: asked when nothing else refuses a login; raises `Denied` if it does.
        check: checks one password against one hash; replaced in tests that count.
        locate: looks up the location of an address, for accounts with rules on that.

    Attributes:
        certificates: judges certificates of users; replaced by a reload of the configuration.
        passwords: hashes and checks for everybody who has passwords.
        throttle: of guesses, at all doors.
    """

    def __init__(
        self,
        provider: Provider,
        options: IdentityOptions | None = None,
        *,
        authenticators: Sequence[Authenticator] = (),
        certificates: UserCertificates | None = None,
        hooks: Surrounded | None = None,
        seals: SealsSecrets = NO_SEALING,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
        inspect: Callable[[InspectedAct], Awaitable[None]] | None = None,
        check: Check = check,
        locate: Locate = nowhere,
    ) -> None:
        self._locate = locate
        self._options = options or IdentityOptions()
        self._provider = provider
        self._clock = clock
        self._monotonic = monotonic
        self.certificates = certificates
        self.delays = self._options.delays
        self._seals = seals
        self._factors: SecondFactors | None = None
        self.throttle = LoginThrottle(guesses=self._options.guesses, sources=self._options.sources)
        self._inspect = inspect
        self._pool = HashPool(
            workers=self._options.hash_workers,
            max_waiting=self._options.max_waiting,
            spares=self._options.spares,
            sources=self._options.sources,
        )
        entries = MAX_ENTRIES if self._options.password_caching else 0
        self._cache = VerifiedCache(monotonic, max_entries=entries, ttl_seconds=self._options.cache_seconds)
        self.passwords = PasswordChecker(self._pool, self._cache, options=self._options.hashing, check=check)
        self._groups = Effective(provider, self._options.home_refused)
        stored = StoredAccounts(provider, self.passwords, self._groups)
        if hooks is not None:
            hooks.bind(stored, self.passwords, self._require_code)
        for authenticator in authenticators:
            if isinstance(authenticator, TakesPasswords):
                authenticator.bind(self.passwords)
        self._stages = Stages(authenticators, stored, hooks)
        self._proved: OrderedDict[tuple[str, bytes, str], float] = OrderedDict()
        self._upkeep = Upkeep(provider, self.passwords, touch_seconds=self._options.touch_seconds)

    async def open(self) -> None:
        """Open the authenticators.

        Raises:
            OperatorError: one of them cannot be used.
        """
        await self._stages.open()

    async def close(self) -> None:
        """Finish upgrades and touches under way, close the authenticators, then stop the threads."""
        self._upkeep.count_now()
        await self.settle()
        await self._stages.close()
        await self._pool.close()

    async def settle(self) -> None:
        """Wait for upgrades and touches under way."""
        await self._upkeep.settle()

    # -- LoginService ------------------------------------------------------------------------------------

    async def authenticate(
        self, peer: Peer, username: str, credential: Credential, *, after: PartialLogin | None = None
    ) -> Principal | PartialLogin:
        """See `LoginService`."""
        try:
            outcome = await self._authenticate(peer, username, credential, after)
        except LoginRefused as error:
            if self.delays.failed and credential.kind in _DELAYED and error.reason not in OF_THE_SERVER:
                await asyncio.sleep(self.delays.failed)
            raise
        if self.delays.success and isinstance(outcome, Principal):
            await asyncio.sleep(self.delays.success)
        return outcome

    async def _authenticate(
        self, peer: Peer, username: str, credential: Credential, after: PartialLogin | None
    ) -> Principal | PartialLogin:
        name = login_name(username, self._options.naming_rules)
        method = combined(after.done if after is not None else "", credential.kind)
        try:
            if name is None:
                raise LoginRefused("bad_username")
            begins = after is None or after.done == CERTIFICATE
            code = await self._code_behind(peer, name, credential) if begins else ""
            if not code:
                return await self._login(peer, name, credential, method, after)
            alone = replace(credential, secret=credential.secret.removesuffix(code))
            first = await self._login(peer, name, alone, method, after)
            if not isinstance(first, PartialLogin):
                return first
            answer = Credential(KEYBOARD, secret=code, answers=(code,))
            return await self._login(peer, name, answer, combined(first.done, KEYBOARD), first)
        except LoginRefused as error:
            raise LoginRefused(error.reason, rule=error.rule, username=name or "") from None

    async def _code_behind(self, peer: Peer, name: str, credential: Credential) -> str:
        """The one-time code that follows a password without a gap; empty if none is expected there.

        Clients of FTP send one PASS, so who has codes for FTP sends both in it.
        """
        secret = credential.secret
        if peer.protocol.family != "FTP" or credential.kind != "password" or not _WITH_CODE.search(secret):
            return ""
        try:
            account, _ = await self._stages.find(name)
            account = None if account is None else await self._groups.of(account)
        except TidegateError:  # the login itself says what is wrong
            return ""
        return secret[-_CODE_DIGITS:] if account is not None and asks_code(account, "FTP") else ""

    async def key_is_known(self, peer: Peer, username: str, public_key: bytes) -> bool:
        """See `LoginService`. False while the provider is away.

        The answer comes after a whole number of `_PROBE_SECONDS`, so that its time does not tell whether
        there is such an account.

        A key that logged in a moment ago from the same address is known without asking: half of what a burst
        of logins asks the provider. It decides nothing; the login itself always asks.
        """
        name = login_name(username, self._options.naming_rules)
        proved = self._proved.get((name or "", public_key, peer.remote_ip))
        if proved is not None and time.monotonic() - proved < _PROVED_SECONDS:
            return True
        asked = time.monotonic()
        known = name is not None and await self._look_up_key(peer, name, public_key)
        await asyncio.sleep(_PROBE_SECONDS - (time.monotonic() - asked) % _PROBE_SECONDS)
        return known

    async def challenge(self, peer: Peer, username: str, *, after: PartialLogin | None = None) -> Challenge:
        """See `LoginService`."""
        return await self._stages.challenge(
            peer, login_name(username, self._options.naming_rules) or "", after
        )

    async def admits(self, protocol: str, address: str) -> bool:
        """See `LoginService`."""
        return await self._stages.admits(protocol, address)

    async def left(self, peer: Peer) -> None:
        """See `LoginService`."""
        await self._stages.left(peer)

    async def _look_up_key(self, peer: Peer, name: str, public_key: bytes) -> bool:
        if is_certificate(public_key):
            await self._require_certificate(peer, name, public_key)
        try:
            if is_certificate(public_key):
                return (await self._stages.find(name))[0] is not None
            return await self._stages.knows_key(peer, name, public_key)
        except LoginRefused:
            return False
        except TidegateError as error:
            _log.error("key of user %r cannot be looked up: %s", name, error)
            return False

    async def _require_certificate(self, peer: Peer, name: str, blob: bytes) -> SshCertificate:
        """The certificate, if it may stand for the user.

        Raises:
            LoginRefused: reason ``certificate``; or certificates are not taken (``bad_credential``).
        """
        if self.certificates is None:
            raise LoginRefused("bad_credential", username=name)
        return await self.certificates.check(blob, name, peer.remote_ip)

    # -- accounts by name ----------------------------------------------------------------------------------

    async def find(self, username: str) -> Account | None:
        """The account as it is now, stored or not, with what it uses; None if nobody knows it.

        Raises:
            ProviderUnavailable: somebody who may know it cannot be asked.
            Unsupported: somebody may know it who can only tell from a login.
            BadRecord: what its groups give cannot be told.
        """
        account, is_stored, brings = await self._stages.find_with_tally(username)
        if account is None:
            return None
        account = await self._groups.of(account)
        if is_stored:
            return account
        record = await self._provider.user(username) or await self._provider.external(username)
        return account if record is None else with_usage(account, record, brings_tally=brings)

    async def keep_tally(self, username: str, change: Tally) -> bool:
        """Give a change of a tally to the authenticator that keeps it; False if none does."""
        return await self._stages.keep_tally(username, change)

    async def _with_usage(self, account: Account, step: Step) -> Account:
        """An account that is not stored with what is kept under its name, which begins now if need be.

        Raises:
            ProviderUnavailable: what it uses cannot be told.
        """
        record = await self._provider.user(account.username)
        if record is None:
            record = await self._provider.keep_external(account.username)
        return with_usage(account, record, brings_tally=self._stages.brings_tally(step))

    # -- steps -------------------------------------------------------------------------------------------

    async def _login(
        self, peer: Peer, name: str, credential: Credential, method: str, after: PartialLogin | None
    ) -> Principal | PartialLogin:
        if after is not None and (after.username != name or credential.kind not in after.remaining):
            raise LoginRefused("method")
        asked = time.monotonic()
        try:
            proved = await self._verify(peer, name, credential, after)
            if proved.account is None:
                return _partial(name, method, proved)
            is_stored = self._stages.is_stored(proved.step)
            account = proved.account if is_stored else await self._with_usage(proved.account, proved.step)
            account = await self._groups.of(account)
            account = await self._stages.pre_login(account, peer, method)
        except LoginRefused:
            raise
        except ProviderUnavailable as error:
            _log.error("login of user %r refused, data provider unavailable: %s", name, error)
            raise LoginRefused("provider_unavailable") from error
        except TidegateError as error:
            _log.error("login of user %r refused, it could not be checked: %s", name, error)
            raise LoginRefused("provider_error") from error
        now_ms = int(self._clock() * 1000)
        family = peer.protocol.family
        if self._stages.is_unverified(proved.step) and not takes_any_password(account, family):
            # Its groups, or what an authenticator says before a login, have changed since it was let through.
            raise LoginRefused("bad_credential")
        hashed = self._stages.is_hashed(proved.step)
        if after is None:
            follow = remaining_methods(account, credential.kind, protocol=peer.protocol)
            if follow:
                # The other rules are asked now too: a disabled user gets no further than the first step.
                self._require(account, peer, credential.kind, now_ms, partial=True)
                code = asks_code(account, family) and credential.kind != CERTIFICATE
                question = CODE_CHALLENGE if code else None
                return PartialLogin(name, credential.kind, follow, question, replace(proved.step, code=code))
        # A code is no method of its own: who may log in by a password may do so with a code.
        judged = judged_method(account, family, method) if proved.step.coded else method
        self._require(account, peer, judged, now_ms)
        if not proved.step.coded and code_follows(account, family, method):
            self._upgrade(hashed, proved.account, credential)
            return PartialLogin(name, method, (KEYBOARD,), CODE_CHALLENGE, replace(proved.step, code=True))
        if self._inspect is not None:
            origin = Origin.of(peer, account.username)
            try:
                await self._inspect(InspectedAct(Inspected.LOGIN, origin, method=method))
            except Denied as error:
                raise LoginRefused("inspector", rule=error.rule) from None
        if credential.public_key:
            self._remember_key((name, credential.public_key, peer.remote_ip))
        if not proved.step.coded:
            self._upgrade(hashed, proved.account, credential)
        if not is_stored:
            self._stages.remember(proved.account)
        self._upkeep.touch(account, now_ms)
        # The hash has done its work; a session has no use for it and cannot leak what it does not hold.
        known = replace(account, password="") if account.password else account
        return Principal(known, method, peer.remote_ip, asked, proved.step.sftp_only)

    def _upgrade(self, is_hashed: bool, account: Account, credential: Credential) -> None:
        # Another authenticator's secret says nothing about a hash that the account may carry.
        if is_hashed and credential.secret and self._options.upgrade_hashes:
            self._upkeep.upgrade(account, credential.secret)

    @property
    def factors(self) -> SecondFactors:
        """Checks codes, of administrators too; loaded when the first is asked for."""
        if self._factors is None:
            from tidegate.identity.second_factor import SecondFactors, TotpConfig

            self._factors = SecondFactors(
                self._provider,
                self._seals,
                {one[0]: TotpConfig(*one) for one in self._options.totp},
                throttle=self.throttle,
                clock=self._clock,
                monotonic=self._monotonic,
            )
        return self._factors

    async def _require_code(self, account: Account, code: str) -> None:
        """Return if a one-time code of an account is right.

        Raises:
            LoginRefused: it is not, or the account has none.
        """
        if not totp_of(account.filters).enabled:
            raise LoginRefused("bad_credential", rule="filters.totp_config", username=account.username)
        await self.factors.require(account, code)

    async def _check_code(self, name: str, step: Step, credential: Credential) -> Proved:
        """Check the answer to the question for a code."""
        if step.accepted is not None:
            name = step.accepted.account.username  # a hook may answer another one than was typed
        account, _ = await self._stages.find(name)
        if account is None:
            raise LoginRefused("unknown_user", username=name)
        await self.factors.require(account, credential.answers[0] if credential.answers else "")
        done = step.done if step.done[-1:] == (KEYBOARD,) else (*step.done, KEYBOARD)
        return Proved(replace(step, done=done, code=False, coded=True), account=account)

    async def _verify(
        self, peer: Peer, name: str, credential: Credential, after: PartialLogin | None
    ) -> Proved:
        """Check a credential; one that can be guessed is not looked at after too many wrong ones."""
        if credential.kind == "publickey":
            if is_certificate(credential.public_key):
                if after is not None:
                    raise LoginRefused("method")  # whoever asked for a key has to see it
                return await self._certified(peer, name, credential)
            return await self._stages.verify(peer, name, credential, after)
        if credential.kind == CERTIFICATE:
            return await self._stages.verify(peer, name, credential, after)
        if rule := self.throttle.guess_refused(name, peer.remote_ip, self._monotonic()):
            raise LoginRefused("throttled", rule=rule)
        try:
            step = after.step if after is not None else None
            if credential.kind == KEYBOARD and isinstance(step, Step) and step.code:
                return await self._check_code(name, step, credential)
            return await self._stages.verify(peer, name, credential, after)
        except LoginRefused as error:
            if error.reason not in _NO_GUESS:
                self.throttle.guessed_wrong(name, peer.remote_ip, self._monotonic())
            raise

    async def _certified(self, peer: Peer, name: str, credential: Credential) -> Proved:
        """Check a certificate whose key is proved."""
        certificate = await self._require_certificate(peer, name, credential.public_key)
        if certificate.algorithm.startswith("sk-") and not (credential.touched or certificate.no_touch):
            raise LoginRefused("certificate", rule="certificate[no-touch-required]", username=name)
        if certificate.verify and not credential.verified:
            raise LoginRefused("certificate", rule="certificate[verify-required]", username=name)
        _log.info(
            "certificate of user %r: key id %r, serial %d", name, certificate.key_id[:100], certificate.serial
        )
        return await self._stages.certified(
            peer, name, credential.public_key, sftp_only=certificate.sftp_only
        )

    def _require(
        self, account: Account, peer: Peer, method: str, now_ms: int, *, partial: bool = False
    ) -> None:
        require_login(
            account,
            protocol=peer.protocol,
            method=method,
            ip=peer.remote_ip,
            now_ms=now_ms,
            partial=partial,
            tz=self._options.access_time_zone,
            encrypted=peer.encrypted,
            location=self._locate(peer.remote_ip) if account.filters.geoip else NO_LOCATION,
        )

    def _remember_key(self, login: tuple[str, bytes, str]) -> None:
        proved = self._proved
        proved[login] = time.monotonic()
        proved.move_to_end(login)
        if len(proved) > _MAX_PROVED:
            proved.popitem(last=False)


def _partial(name: str, method: str, proved: Proved) -> PartialLogin:
    following = proved.following
    assert following is not None
    return PartialLogin(name, method, following.methods, following.challenge, proved.step)


def _keeps_contract(identity: Identity) -> tuple[LoginService, Accounts]:
    return identity, identity
