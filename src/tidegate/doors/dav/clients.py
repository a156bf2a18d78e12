# SPDX-License-Identifier: Apache-2.0
"""Logins: one client for all requests with the same credentials from the same address.

HTTP says who somebody is in each request. A client is what a connection is at other doors: one login on
record, one session of files, one entry among the account's sessions. It is found again by a keyed digest of
what it logged in with; the password itself is not kept. It ends when it is idle, when its account changes,
when it is sent away, and when others need its place.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import secrets
import time
from collections import Counter, OrderedDict
from dataclasses import replace
from typing import Any, Final

from tidegate.abc import Credential
from tidegate.cluster.registry import Activity, LiveConnection
from tidegate.doors.common.client_certificates import Certified, login_by_certificate
from tidegate.doors.common.idle import IdleWatch
from tidegate.doors.common.peers import new_peer
from tidegate.doors.common.record import ConnectionRecord, authenticate, shown_version
from tidegate.doors.dav.client import Client, DoorServices, Offer, same_account
from tidegate.doors.dav.options import IDLE_SECONDS, DavOptions
from tidegate.doors.dav.request import Rejected, Request
from tidegate.errors import LoginRefused, TidegateError
from tidegate.identity.api import PartialLogin
from tidegate.model import Peer, Principal, Protocol, http_scope

FAILED_SECONDS: Final = 1.0
"""A refused password is answered after so long at the earliest: guessing takes time."""
MAX_LOGINS: Final = 200
"""Logins that are being judged at a time."""
MAX_CLIENTS: Final = 10_000
"""The most that are logged in at a time, where no smaller number is configured."""
MAX_REQUESTS: Final = 100
"""Requests of one client under way."""
RECHECK_SECONDS: Final = 10.0
"""After so long the next request of a client has its account looked up, to see if it has changed."""

log = logging.getLogger(__name__)


class Clients:
    """All clients of the door. Life: constructed, used, `close`."""

    def __init__(self, services: DoorServices, options: DavOptions) -> None:
        self._services = services
        self.options = options
        self._secret = secrets.token_bytes(32)
        self._known: OrderedDict[bytes, Client] = OrderedDict()
        self._logins: dict[bytes, asyncio.Task[Client]] = {}
        self._ending: set[asyncio.Task[None]] = set()

    def __len__(self) -> int:
        return len(self._known)

    @property
    def busy(self) -> int:
        """Requests of clients that are under way."""
        return sum(len(client.requests) for client in self._known.values())

    def usernames(self) -> set[str]:
        """Accounts that are logged in."""
        return {client.principal.username for client in self._known.values()}

    # -- coming in ---------------------------------------------------------------------------------------

    async def of(
        self, request: Request, username: str, password: str | None, certificate: bytes | None = None
    ) -> Client:
        """The client that a request comes from; it logs in if it is new.

        Args:
            request: that comes.
            username: of Basic, or of the certificate.
            password: None if there is none.
            certificate: of the connection, DER, verified in the handshake; None if there is none.

        Raises:
            Rejected: the credentials are refused (401), or there is no room.
        """
        offer = Offer(username, password, certificate)
        key = self._digest(request, offer)
        client = self._known.get(key)
        if client is not None and await self._still_right(client):
            self._known.move_to_end(key)
            client.activity.touch()
            return client
        login = self._logins.get(key)
        if login is None:
            if len(self._logins) >= MAX_LOGINS:
                raise Rejected(503, "too many logins at a time", headers=[(b"retry-after", b"5")])
            login = asyncio.get_running_loop().create_task(
                self._login(key, request, offer), name="login of WebDAV"
            )
            self._logins[key] = login
            login.add_done_callback(lambda task: self._logged_in(key, task))
        begun = time.monotonic()
        try:
            # Requests that came together wait for one login; none of them can end it for the others.
            return await asyncio.shield(login)
        except Rejected as error:
            if error.code == 401:  # here, so that who guesses takes no place among the logins meanwhile
                await asyncio.sleep(max(0.0, begun + FAILED_SECONDS - time.monotonic()))
            raise

    def _logged_in(self, key: bytes, task: asyncio.Task[Client]) -> None:
        self._logins.pop(key, None)
        if not task.cancelled():
            task.exception()  # whoever waits for it is told; they may all have gone

    async def _login(self, key: bytes, request: Request, offer: Offer) -> Client:
        services = self._services
        agent = shown_version(request.header("user-agent") or "")
        scope = request.scope
        client = scope.get("client")
        remote = (request.ip, client[1] if client and client[0] == request.ip else 0)
        if not await services.login.admits("DAV", request.ip):
            raise Rejected(403, "you are not allowed to connect")
        protocol = Protocol.DAVS if request.encrypted else Protocol.DAV
        peer = new_peer(protocol, remote, scope.get("server"), client=agent)
        peer = replace(peer, encrypted=request.encrypted)
        record = ConnectionRecord(services.events, peer, encrypted=request.encrypted)
        record.named(offer.username)
        outcome = await self._judged(record, peer, offer, agent)
        if not isinstance(outcome, Principal):
            if isinstance(outcome, PartialLogin):  # nobody can be asked another question here
                record.login_failed(outcome.done, "second_factor")
            record.closed(client_version=agent)
            raise Rejected(401, "the user name or the password is wrong")
        try:
            self._make_room(outcome.username)  # now and not before: a wrong password must put nobody out
            made = await self._enter(key, peer, record, outcome)
        except Rejected:
            record.login_failed(outcome.method, "max_clients")
            record.closed(client_version=agent)
            raise
        except LoginRefused as refusal:
            record.login_failed(outcome.method, refusal.reason, refusal.rule)
            record.closed(client_version=agent)
            raise Rejected(
                429, f"too many sessions ({refusal.rule or 'limit'})", headers=[(b"retry-after", b"30")]
            ) from None
        except TidegateError as error:
            log.error("%s: no session for %r: %s", peer.connection_id, offer.username, error)
            record.login_failed(outcome.method, "no_session")
            record.closed(client_version=agent)
            raise Rejected(503, f"no session can be opened now: {type(error).default_text}") from None
        record.login_accepted(outcome, agent)
        return made

    async def _judged(
        self, record: ConnectionRecord, peer: Peer, offer: Offer, agent: str
    ) -> Principal | PartialLogin | None:
        """Judge a certificate first, then a password, behind the certificate where an account wants both."""
        service = self._services.login
        after: PartialLogin | None = None
        if offer.certificate is not None:
            found = await login_by_certificate(
                service, record, peer, offer.username, offer.certificate, client_version=agent
            )
            if isinstance(found, Principal):
                return found
            if found is Certified.REFUSED or offer.password is None:
                return found if isinstance(found, PartialLogin) else None
            after = found if isinstance(found, PartialLogin) else None
        if offer.password is None:
            return None
        return await authenticate(
            service,
            record,
            peer,
            offer.username,
            Credential("password", secret=offer.password),
            after=after,
            client_version=agent,
        )

    async def _enter(self, key: bytes, peer: Peer, record: ConnectionRecord, principal: Principal) -> Client:
        """Open the files of who has logged in, and count them among the account's sessions."""
        services, activity = self._services, Activity()
        made: list[Client] = []

        def disconnect(by: str) -> None:
            for client in made:
                self.end(client, by)

        live = LiveConnection(peer, principal.username, disconnect, activity=activity)
        await services.registry.enter(live, max_sessions=principal.account.max_sessions)
        try:
            session = await services.sessions.open(principal, peer)
        except BaseException:
            services.registry.remove(live)
            raise
        live.transfers = session.transfers
        handles = services.ledger.handles_of(principal.username)
        parts = services.ledger.upload_parts_of(principal.username)
        client = Client(key, peer, record, principal, session, live, handles, parts, activity)
        made.append(client)
        client.idle = IdleWatch(
            self.options.idle_seconds or IDLE_SECONDS,
            activity,
            lambda: bool(client.requests or client.uploads),  # those have a time of their own
            lambda: self.end(client, "idle_timeout"),
        )
        self._known[key] = client
        return client

    def _make_room(self, username: str) -> None:
        """Have the longest idle client end where there is no room for another.

        Clients of the account itself give way, and of accounts that have more than it has; those of whoever
        has most go first. With other passwords (where it takes any) or other names of programs one account
        makes as many clients as it likes, and would put out everybody else.

        Args:
            username: of the account that logs in.

        Raises:
            Rejected: all of them are busy.
        """
        most = self.options.max_clients or MAX_CLIENTS
        if len(self._known) < most:
            return
        held = Counter(client.principal.username for client in self._known.values())
        # What has come of an upload in parts would be lost, so those go when nobody else is left.
        for spared in (True, False):
            idle = [
                (client, held[name])
                for client in self._known.values()
                if not client.requests
                and not (spared and client.uploads)
                and ((name := client.principal.username) == username or held[name] > held[username])
            ]
            if idle:
                self.end(max(idle, key=lambda one: one[1])[0], "max_clients")
                return
        raise Rejected(503, "too many clients at a time", headers=[(b"retry-after", b"5")])

    async def _still_right(self, client: Client) -> bool:
        """True if a client may go on; one whose account has changed ends here, and logs in anew."""
        now = time.monotonic()
        if client.over:
            return False
        if self.options.remember_seconds and now - client.since > self.options.remember_seconds:
            self.end(client, "login_again")
            return False
        if now - client.checked > RECHECK_SECONDS:
            client.checked = now
            # The login looks into what cannot be told now, and so do the watch of accounts and the gate.
            with contextlib.suppress(TidegateError):
                account = await self._services.accounts.find(client.principal.username)
                if account is None or not same_account(account, client.principal.account):
                    self.end(client, "account_changed")
        return not client.over

    def _digest(self, request: Request, offer: Offer) -> bytes:
        state = hashlib.blake2b(key=self._secret, digest_size=32, person=b"tidegate-dav")
        agent = request.header("user-agent") or ""
        for part in (
            request.binding.label,
            request.ip,
            "1" if request.encrypted else "0",
            offer.username,
            "" if offer.password is None else f"p{offer.password}",
            "" if offer.certificate is None else offer.certificate.hex(),
            agent[:128],
        ):
            data = part.encode("utf-8", "surrogatepass")
            state.update(len(data).to_bytes(8, "big"))
            state.update(data)
        return state.digest()

    # -- going -------------------------------------------------------------------------------------------

    def end(self, client: Client, by: str) -> None:
        """End a client and the requests that it has under way. Safe to call twice."""
        if client.over:
            return
        client.over = True
        if self._known.get(client.key) is client:
            del self._known[client.key]
        if client.idle is not None:
            client.idle.cancel()
        for task, exchange in client.requests.items():
            exchange.abort()
            task.cancel()
        for upload in list(client.uploads.values()):
            upload.forget()  # the session ends its file
        ending = asyncio.get_running_loop().create_task(self._end(client, by), name="end of WebDAV client")
        self._ending.add(ending)
        ending.add_done_callback(self._ending.discard)

    async def _end(self, client: Client, by: str) -> None:
        try:
            if client.requests:
                await asyncio.wait(set(client.requests))
            await client.session.close()
        finally:
            client.handles.set(0)
            client.parts.set(0)
            self._services.registry.remove(client.live)
            client.record.closed(by=by, client_version=client.peer.client_version)

    def close_user(self, username: str, by: str) -> int:
        """End all clients of an account; returns how many there were."""
        found = [client for client in self._known.values() if client.principal.username == username]
        for client in found:
            self.end(client, by)
        return len(found)

    async def close(self, by: str) -> None:
        """End everybody, and wait for that."""
        for login in list(self._logins.values()):
            login.cancel()
        for client in list(self._known.values()):
            self.end(client, by)
        while self._ending:
            await asyncio.wait(set(self._ending))

    def begin(self, client: Client, exchange: http_scope.Exchange) -> asyncio.Task[Any]:
        """Count a request of a client as under way; returns its task, for `done`.

        Raises:
            Rejected: it has too many.
        """
        task = asyncio.current_task()
        assert task is not None
        if client.over or len(client.requests) >= MAX_REQUESTS:
            raise Rejected(503, "too many requests at a time", headers=[(b"retry-after", b"2")])
        client.requests[task] = exchange
        return task

    def done(self, client: Client, task: asyncio.Task[Any]) -> None:
        """A request that `begin` counted is over."""
        del client.requests[task]
        client.activity.touch()
