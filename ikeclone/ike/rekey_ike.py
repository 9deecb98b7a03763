"""CREATE_CHILD_SA that rekeys the IKE SA; every Child SA moves to the new one (RFC 7296 sections 1.3.2, 2.18)."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial

from ikeclone.crypto import kex
from ikeclone.crypto.keys import rekeyed_ike_keys
from ikeclone.crypto.suite import IkeSuite
from ikeclone.errors import InvalidKePayload, InvalidSyntax, PeerError, TemporaryFailure
from ikeclone.ike.actions import Kind
from ikeclone.ike.exchange import Exchange, Payloads, raise_refusal, wanted_method
from ikeclone.ike.followup import FollowUp
from ikeclone.ike.informational import DeleteIke
from ikeclone.ike.negotiation import NONCE_SIZE
from ikeclone.ike.proposals import check_choice, choose, ke_methods, numbered, spi_size
from ikeclone.ike.sa import IkeSa
from ikeclone.ike.state import State
from ikeclone.numbers import ExchangeType, KeMethod, ProtocolId
from ikeclone.wire.message import Message
from ikeclone.wire.payloads import KeyExchange, Nonce, Proposal, Sa

RETRY = 5.0


@dataclass(frozen=True, slots=True)
class Rival:
    """The peer's exchange at the same time as ours; no `sa` while its additional key exchanges go on."""

    nonces: tuple[bytes, bytes]
    sa: IkeSa | None = None


@dataclass(frozen=True, slots=True)
class _Made:
    """What CREATE_CHILD_SA makes a new IKE SA of; nonces and SPIs are its initiator's and its responder's."""

    suite: IkeSuite
    shared: bytes = field(repr=False)
    nonces: tuple[bytes, bytes]
    spis: tuple[bytes, bytes]

    def successor(self, sa: IkeSa, additional: bytes, now: float, *, initiator: bool) -> IkeSa:
        """The new IKE SA; `additional` are the shared secrets of additional key exchanges."""
        keys = rekeyed_ike_keys(
            self.suite, sa.suite.prf, sa.keys.sk_d, self.shared, *self.nonces, *self.spis, additional
        )
        new = IkeSa(
            sa.host,
            sa.tunnel,
            State.ESTABLISHED,
            initiator=initiator,
            spis=self.spis,
            suite=self.suite,
            keys=keys,
            path=sa.path,
            abilities=sa.abilities,
            now=now,
        )
        new.identities, new.presented = sa.identities, sa.presented
        new.channel.limit = sa.channel.limit
        sa.tunnel.endpoint.authenticated(new)
        sa.tunnel.endpoint.register(new)
        sa.tunnel.settle(new, now)
        # It takes the place of one whose peer proved its identity then, and not now.
        new.authenticated(now, like=sa)
        return new


class RekeyIke(Exchange):
    """Replace the IKE SA by a new one with new keys and new SPIs."""

    type = ExchangeType.CREATE_CHILD_SA
    alone = True

    def __init__(self, sa: IkeSa, method: KeMethod | None = None) -> None:
        super().__init__(sa)
        self._method = method
        self.rival: Rival | None = None
        self.following = False

    @property
    def heir(self) -> IkeSa | None:
        """The peer's IKE SA, if it can take the place of the one that both sides rekey and did not do so already."""
        theirs = self.rival.sa if self.rival is not None else None
        if theirs is None or self.sa.state is not State.ESTABLISHED:
            return None
        return theirs if theirs.state is State.ESTABLISHED else None

    def _loses(self, nonces: tuple[bytes, bytes]) -> bool:
        """Whether ours has the lowest nonce of the four, so that it is redundant (RFC 7296 section 2.8.1)."""
        if self.rival is None or min(self.rival.nonces) < min(nonces):
            return False
        return self.rival.sa is None or self.heir is not None

    def request(self, now: float) -> Payloads:
        sa = self.sa
        sa.rekey = self
        self._spi, self._nonce = sa.host.spi(), sa.host.random(NONCE_SIZE)
        self._proposals = numbered(sa.tunnel.connection.ike, self._spi)
        # The method in use was acceptable to the peer before, so it most likely is again.
        self._pair = kex.generate(self._method or sa.suite.ke, sa.host.random)
        return (Sa(self._proposals), Nonce(self._nonce), KeyExchange(self._pair.method, self._pair.public))

    def response(self, message: Message, now: float) -> None:
        raise_refusal(message)
        chosen = check_choice(self._proposals, message.require(Sa).proposals)
        suite, theirs = IkeSuite.of(chosen), message.require(KeyExchange)
        if not suite.ke == theirs.method == self._pair.method:
            raise InvalidSyntax("the response's key exchange is of another method")
        nonces = self._nonce, message.require(Nonce).data
        made = _Made(suite, self._pair.shared(theirs.data), nonces, (self._spi, chosen.spi))
        if suite.additional:
            if self._loses(nonces):
                raise TemporaryFailure("the peer's exchange takes its place (RFC 9370 section 2.2.4)")
            self.following = True
            follow = FollowUp(self, suite.additional, message, lambda secrets, at: self._replace(made, secrets, at))
            self.sa.continue_with(follow, now)
        else:
            self._replace(made, b"", now)

    def _replace(self, made: _Made, additional: bytes, now: float) -> None:
        new = made.successor(self.sa, additional, now, initiator=True)
        self.sa.rekey = None
        if self.sa.state is State.REKEYED and self.sa.children:
            self._give_way(new, made.nonces, now)
            return
        if self.sa.state is not State.ESTABLISHED:
            # The peer has settled for its own.
            new.finish(DeleteIke(new, "redundant"), now)
            return
        if self._loses(made.nonces):
            self._yield(new, now)
            return
        if (heir := self.heir) is not None:
            heir.retire(now)
        self.sa.supersede(new, now)
        self.sa.finish(DeleteIke(self.sa, "rekeyed"), now)

    def _yield(self, new: IkeSa, now: float) -> None:
        """Ours is redundant, so we delete it; the old one is the peer's to delete."""
        if (heir := self.heir) is not None:
            self.sa.supersede(heir, now)
        else:
            self._try_later(now)
        new.finish(DeleteIke(new, "redundant"), now)

    def _give_way(self, new: IkeSa, nonces: tuple[bytes, bytes], now: float) -> None:
        """The peer authenticated anew meanwhile: what it replaces then is the IKE SA that it knows as the newest."""
        theirs = self.rival.sa if self.rival is not None and min(nonces) < min(self.rival.nonces) else None
        if theirs is not None:
            self.sa.tunnel.reauth.pass_on(self.sa, theirs, now)
            new.finish(DeleteIke(new, "redundant"), now)
            return
        self.sa.tunnel.reauth.pass_on(self.sa, new, now)
        self.sa.finish(DeleteIke(self.sa, "rekeyed"), now)

    def failed(self, error: PeerError, now: float) -> None:
        sa = self.sa
        sa.rekey = None
        if (heir := self.heir) is not None:
            sa.supersede(heir, now)
        if sa.state is not State.ESTABLISHED:
            return
        method = wanted_method(error)
        if method in ke_methods(sa.tunnel.connection.ike) and method != self._method:
            sa.enqueue(RekeyIke(sa, method), now)
            return
        sa.tunnel.note(Kind.PROGRESS, f"rekeying the IKE SA failed, will try again: {error}")
        self._try_later(now)

    def _try_later(self, now: float) -> None:
        sa = self.sa
        delay = RETRY * (1 + sa.host.fraction())
        sa.host.timers.set(sa, "rekey", now + delay, lambda at: sa.enqueue(RekeyIke(sa), at))


def respond_rekey_ike(sa: IkeSa, message: Message, now: float) -> Payloads:
    """Answer a request to rekey the IKE SA; raises TemporaryFailure while our own requests change Child SAs."""
    _check_replaceable(sa)
    if sa.rekey is not None and sa.rekey.following:
        raise TemporaryFailure("this IKE SA is being replaced")
    chosen = choose(message.require(Sa).proposals, sa.tunnel.connection.ike, spi_size(ProtocolId.IKE))
    suite, theirs = IkeSuite.of(chosen), message.require(KeyExchange)
    if theirs.method != suite.ke:
        raise InvalidKePayload(f"{suite.ke.name} is wanted", suite.ke.to_bytes(2, "big"))
    public, shared = kex.encapsulate(suite.ke, theirs.data, sa.host.random)
    nonces = message.require(Nonce).data, sa.host.random(NONCE_SIZE)
    spis = chosen.spi, sa.host.spi()
    made = _Made(suite, shared, nonces, spis)
    answer = Proposal(chosen.protocol, chosen.transforms, spis[1], chosen.number)
    payloads: Payloads = (Sa((answer,)), Nonce(nonces[1]), KeyExchange(suite.ke, public))
    if sa.rekey is not None:
        sa.rekey.rival = Rival(nonces)
    if not suite.additional:
        _accept(sa, made, b"", now)
        return payloads
    link = sa.followups.expect(suite.additional, partial(_accept, sa, made), now)
    return payloads + link


def _check_replaceable(sa: IkeSa) -> None:
    replaced = sa.rekey is not None and sa.rekey.rival is not None and sa.rekey.rival.sa is not None
    if sa.requests.changing_children or replaced:
        raise TemporaryFailure("exchanges are in progress")


def _accept(sa: IkeSa, made: _Made, additional: bytes, now: float) -> None:
    """Hand over to the peer's new IKE SA, unless this one found another successor during the additional exchanges."""
    _check_replaceable(sa)
    new = made.successor(sa, additional, now, initiator=False)
    if sa.rekey is not None:
        sa.rekey.rival = Rival(made.nonces, new)
        new.contested = sa
    else:
        sa.supersede(new, now)
