"""Negotiating a Child SA: the payloads that IKE_AUTH and CREATE_CHILD_SA have in common, for both roles."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from ikeclone.backend import EspKeys, Mode, Path
from ikeclone.connection import Connection
from ikeclone.crypto import kex
from ikeclone.crypto.keys import child_keys
from ikeclone.crypto.suite import additional_kes, esp_suite, ke_of
from ikeclone.errors import InvalidKePayload, InvalidSyntax, PeerError, TemporaryFailure, TsUnacceptable
from ikeclone.ike.actions import RemoveChild
from ikeclone.ike.child import Agreement
from ikeclone.ike.exchange import Exchange, Payloads
from ikeclone.ike.followup import FollowUp
from ikeclone.ike.informational import Withdraw
from ikeclone.ike.narrowing import Selectors, narrow, of_end, within
from ikeclone.ike.proposals import check_choice, choose, ke_methods, numbered, spi_size, with_ke, without_additional
from ikeclone.ike.sa import IkeSa
from ikeclone.numbers import KeMethod, NotifyType, ProtocolId
from ikeclone.wire.message import Message
from ikeclone.wire.payloads import KeyExchange, Nonce, Notify, Proposal, Sa, TsI, TsR

NONCE_SIZE = 32


@dataclass(frozen=True, slots=True)
class ChildOffer:
    """What we propose. `resource` is the data of SA_RESOURCE_INFO, None to leave it out (RFC 9611 section 4)."""

    spi: int
    proposals: tuple[Proposal, ...]
    local: Selectors
    remote: Selectors
    mode: Mode
    resource: bytes | None

    def payloads(self) -> Payloads:
        """SA, TSi, TSr and notifies, as an initiator sends them."""
        notifies = _notifies(self.mode, self.resource)
        return (Sa(self.proposals), TsI(self.local), TsR(self.remote), *notifies)

    def accept(self, sa: IkeSa, message: Message) -> tuple[Agreement, Proposal]:
        """What the responder made of it; raises InvalidSyntax or TsUnacceptable when it is not within the offer."""
        chosen = check_choice(self.proposals, message.require(Sa).proposals)
        transport = message.notify(NotifyType.USE_TRANSPORT_MODE) is not None
        return Agreement(
            inbound_spi=self.spi,
            outbound_spi=_outbound_spi(sa, chosen),
            suite=esp_suite(chosen),
            local=within(message.require(TsI).selectors, self.local),
            remote=within(message.require(TsR).selectors, self.remote),
            mode=self.mode if transport else Mode.TUNNEL,
            per_resource=self.resource is not None and _has_resource(message),
        ), chosen


def proposals_of(sa: IkeSa, connection: Connection, *, with_pfs: bool) -> tuple[Proposal, ...]:
    """The connection's ESP proposals; with PFS they name their own key exchange methods or else the IKE SA's."""
    if not (with_pfs and connection.pfs):
        return with_ke(without_additional(connection.esp), ())
    return with_ke(connection.esp, ke_methods(connection.esp) or (sa.suite.ke,))


def make_offer(
    sa: IkeSa, connection: Connection, cpu: int | None, resource: bytes | None, *, with_pfs: bool
) -> ChildOffer:
    """An offer for this CPU, with a fresh SPI that the data plane reserves."""
    spi = sa.host.resources.allocate_spi(cpu)
    return ChildOffer(
        spi,
        numbered(proposals_of(sa, connection, with_pfs=with_pfs), spi.to_bytes(4, "big")),
        of_end(connection.local, sa.path.local),
        of_end(connection.remote, sa.path.remote),
        connection.mode,
        resource,
    )


@dataclass(frozen=True, slots=True)
class Answer:
    """A responder's side: what was agreed, the proposal it chose and the payloads that say so."""

    agreement: Agreement
    chosen: Proposal
    payloads: Payloads


def choose_proposal(sa: IkeSa, connection: Connection, message: Message, *, with_pfs: bool) -> Proposal:
    """The offered proposal that the connection takes; raises NoProposalChosen."""
    configured = proposals_of(sa, connection, with_pfs=with_pfs)
    return choose(message.require(Sa).proposals, configured, spi_size(ProtocolId.ESP))


def make_answer(
    sa: IkeSa, connection: Connection, message: Message, chosen: Proposal, cpu: int | None, resource: bytes | None
) -> Answer:
    """Agree to an offer; raises TsUnacceptable. `resource` None ignores SA_RESOURCE_INFO."""
    remote = narrow(message.require(TsI).selectors, of_end(connection.remote, sa.path.remote))
    sa.tunnel.claim(remote)
    local = narrow(message.require(TsR).selectors, of_end(connection.local, sa.path.local))
    mode = _mode(connection, message)
    per_resource = resource is not None and _has_resource(message)
    outbound = _outbound_spi(sa, chosen)
    spi = sa.host.resources.allocate_spi(cpu)
    agreement = Agreement(spi, outbound, esp_suite(chosen), local, remote, mode, per_resource)
    answered = Proposal(chosen.protocol, chosen.transforms, spi.to_bytes(4, "big"), chosen.number)
    notifies = _notifies(mode, resource if per_resource else None)
    return Answer(agreement, chosen, (Sa((answered,)), TsI(remote), TsR(local), *notifies))


def has_traffic(connection: Connection, path: Path, message: Message) -> bool:
    """Whether a request's selectors and the connection's have something in common."""
    try:
        traffic_of(connection, path, message)
    except TsUnacceptable:
        return False
    return True


def has_first(connection: Connection, path: Path, message: Message) -> bool:
    """Whether a connection is for a request's first selectors: those of the packet that wants it, if one does."""
    local, remote = _asked(message)
    try:
        narrow(local[:1], of_end(connection.local, path.local))
        narrow(remote[:1], of_end(connection.remote, path.remote))
    except TsUnacceptable:
        return False
    return True


def traffic_of(connection: Connection, path: Path, message: Message) -> tuple[Selectors, Selectors]:
    """What a request's selectors and the connection's have in common, ours and the peer's; raises TsUnacceptable."""
    local, remote = _asked(message)
    return narrow(local, of_end(connection.local, path.local)), narrow(remote, of_end(connection.remote, path.remote))


def _asked(message: Message) -> tuple[Selectors, Selectors]:
    remote, local = message.first(TsI), message.first(TsR)
    return local.selectors if local else (), remote.selectors if remote else ()


@dataclass(frozen=True, slots=True)
class Keyed:
    """A Child SA with its keys; `nonces` are the initiator's and the responder's."""

    agreement: Agreement
    outbound: EspKeys
    inbound: EspKeys
    nonces: tuple[bytes, bytes]


Finish = Callable[[Keyed, float], None]


@dataclass(frozen=True, slots=True)
class Agreed:
    """A Child SA that both agree on; its keys wait for the additional key exchanges of these methods."""

    agreement: Agreement
    methods: tuple[KeMethod, ...]
    nonces: tuple[bytes, bytes]
    initiator: bool
    shared: bytes = field(repr=False)

    def keyed(self, sa: IkeSa, additional: bytes) -> Keyed:
        """With its keys; `additional` are the shared secrets of these exchanges."""
        suite = self.agreement.suite
        keys = child_keys(sa.suite.prf, sa.keys.sk_d, suite, self.shared, *self.nonces, additional)
        outbound, inbound = keys if self.initiator else keys[::-1]
        return Keyed(self.agreement, outbound, inbound, self.nonces)


class Request:
    """Our side of CREATE_CHILD_SA for a Child SA: offer, nonce and, with PFS, a key pair."""

    def __init__(
        self,
        sa: IkeSa,
        connection: Connection,
        cpu: int | None,
        resource: bytes | None,
        method: KeMethod | None = None,
    ) -> None:
        self.offer = make_offer(sa, connection, cpu, resource, with_pfs=True)
        self.nonce = sa.host.random(NONCE_SIZE)
        self.methods = ke_methods(self.offer.proposals)
        self._pair = kex.generate(method or self.methods[0], sa.host.random) if self.methods else None

    def payloads(self) -> Payloads:
        """The request's payloads, less the notify of a rekey."""
        ke = (KeyExchange(self._pair.method, self._pair.public),) if self._pair else ()
        sa, *rest = self.offer.payloads()
        return (sa, Nonce(self.nonce), *ke, *rest)

    def complete(self, sa: IkeSa, message: Message) -> Agreed:
        """The Child SA that the response agrees to; raises PeerError.

        The peer then has its half of an SA that nobody answers: it is told to delete that.
        """
        try:
            return self._complete(sa, message)
        except PeerError:
            sa.requests.queue.append(Withdraw(sa, self.offer.spi))
            raise

    def _complete(self, sa: IkeSa, message: Message) -> Agreed:
        agreement, chosen = self.offer.accept(sa, message)
        nonces = self.nonce, message.require(Nonce).data
        shared = b""
        if (method := ke_of(chosen)) != KeMethod.NONE:
            theirs = message.require(KeyExchange)
            if self._pair is None or not method == theirs.method == self._pair.method:
                raise InvalidSyntax("the response's key exchange is of another method")
            shared = self._pair.shared(theirs.data)
        return Agreed(agreement, additional_kes(chosen), nonces, True, shared)


def respond(
    sa: IkeSa, connection: Connection, message: Message, cpu: int | None, resource: bytes | None
) -> tuple[Agreed, Payloads]:
    """Agree to a CREATE_CHILD_SA request: the Child SA and the response's payloads; raises PeerError."""
    chosen = choose_proposal(sa, connection, message, with_pfs=True)
    nonces = message.require(Nonce).data, sa.host.random(NONCE_SIZE)
    shared, ke = _answer_ke(sa, message, ke_of(chosen))
    answer = make_answer(sa, connection, message, chosen, cpu, resource)
    first, *rest = answer.payloads
    agreed = Agreed(answer.agreement, additional_kes(chosen), nonces, False, shared)
    return agreed, (first, Nonce(nonces[1]), *ke, *rest)


def after(origin: Exchange, agreed: Agreed, message: Message, finish: Finish, now: float) -> None:
    """Finish a request for a Child SA when its additional key exchanges are done, at once if there are none."""
    sa = origin.sa
    if not agreed.methods:
        finish(agreed.keyed(sa, b""), now)
        return
    sa.continue_with(FollowUp(origin, agreed.methods, message, lambda s, at: finish(agreed.keyed(sa, s), at)), now)


def answer_after(sa: IkeSa, agreed: Agreed, finish: Finish, now: float) -> Payloads:
    """The responder's `after`: what it adds to its answer, if the peer is to go on with IKE_FOLLOWUP_KE."""
    if not agreed.methods:
        finish(agreed.keyed(sa, b""), now)
        return ()
    spi = agreed.agreement.inbound_spi
    return sa.followups.expect(
        agreed.methods, lambda s, at: finish(agreed.keyed(sa, s), at), now, lambda: sa.host.emit(RemoveChild(spi))
    )


def _answer_ke(sa: IkeSa, message: Message, method: KeMethod) -> tuple[bytes, Payloads]:
    if method == KeMethod.NONE:
        return b"", ()
    theirs = message.require(KeyExchange)
    if theirs.method != method:
        raise InvalidKePayload(f"{method.name} is wanted", method.to_bytes(2, "big"))
    public, shared = kex.encapsulate(method, theirs.data, sa.host.random)
    return shared, (KeyExchange(method, public),)


def _mode(connection: Connection, message: Message) -> Mode:
    """Transport mode when both want it; a request for it alone does not oblige (RFC 7296 section 1.3.1)."""
    asked = message.notify(NotifyType.USE_TRANSPORT_MODE) is not None
    return Mode.TRANSPORT if asked and connection.mode is Mode.TRANSPORT else Mode.TUNNEL


def _notifies(mode: Mode, resource: bytes | None) -> tuple[Notify, ...]:
    transport = (Notify(NotifyType.USE_TRANSPORT_MODE),) if mode is Mode.TRANSPORT else ()
    info = (Notify(NotifyType.SA_RESOURCE_INFO, resource),) if resource is not None else ()
    return transport + info


def _has_resource(message: Message) -> bool:
    return message.notify(NotifyType.SA_RESOURCE_INFO) is not None


def _outbound_spi(sa: IkeSa, proposal: Proposal) -> int:
    spi = int.from_bytes(proposal.spi, "big")
    if len(proposal.spi) != 4 or spi < 256:
        raise InvalidSyntax(f"SPI {proposal.spi.hex()} in a proposal for ESP")
    if any(child.path.remote == sa.path.remote for child in sa.tunnel.endpoint.holdings.sending_on(spi)):
        raise TemporaryFailure(f"SPI {spi:08x} is in use: an SA of {sa.path.remote} has it")
    return spi
