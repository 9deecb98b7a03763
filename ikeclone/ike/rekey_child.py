"""CREATE_CHILD_SA that rekeys a Child SA, on the same CPU (RFC 7296 section 1.3.3, RFC 9611 section 3)."""

from __future__ import annotations

from dataclasses import dataclass

from ikeclone.errors import ChildSaNotFound, PeerError, TemporaryFailure
from ikeclone.ike.actions import Kind, RemoveChild
from ikeclone.ike.child import Child, ChildState
from ikeclone.ike.exchange import Exchange, Payloads, raise_refusal, wanted_method
from ikeclone.ike.informational import DeleteChildren
from ikeclone.ike.negotiation import Keyed, Request, after, answer_after, respond
from ikeclone.ike.sa import IkeSa
from ikeclone.numbers import ExchangeType, KeMethod, NotifyType, ProtocolId
from ikeclone.wire.message import Message
from ikeclone.wire.payloads import Notify


@dataclass(frozen=True, slots=True)
class Rival:
    """The peer's exchange for the same SA at the same time; no `child` while its additional key exchanges go on."""

    nonces: tuple[bytes, bytes]
    child: Child | None = None


class RekeyChild(Exchange):
    """Replace a Child SA by a new one with new keys."""

    type = ExchangeType.CREATE_CHILD_SA
    changes_children = True

    def __init__(self, sa: IkeSa, old: Child, method: KeMethod | None = None) -> None:
        super().__init__(sa)
        self.old, self._method = old, method
        self.rival: Rival | None = None
        self.following = False
        self._request = Request(sa, old.terms, old.cpu, None, method)

    def request(self, now: float) -> Payloads | None:
        if self.old.state is not ChildState.INSTALLED:
            self._free()
            return None
        self.old.enter(ChildState.REKEYING)
        self.old.tunnel.children.rekeys[self.old] = self
        spi = self.old.inbound_spi.to_bytes(4, "big")
        return (Notify(NotifyType.REKEY_SA, b"", ProtocolId.ESP, spi), *self._request.payloads())

    def response(self, message: Message, now: float) -> None:
        raise_refusal(message)
        agreed = self._request.complete(self.sa, message)
        if agreed.methods and self._loses(agreed.nonces):
            raise TemporaryFailure("the peer's exchange takes its place (RFC 9370 section 2.2.4)")
        self.following = bool(agreed.methods)
        after(self, agreed, message, self._replace, now)

    def _loses(self, nonces: tuple[bytes, bytes]) -> bool:
        """Whether ours has the lowest nonce of the four: then it is redundant (RFC 7296 section 2.8.1)."""
        return self.rival is not None and min(nonces) < min(self.rival.nonces)

    def _replace(self, keyed: Keyed, now: float) -> None:
        tunnel = self.old.tunnel
        tunnel.children.rekeys.pop(self.old, None)
        new = tunnel.children.add(self.sa, keyed, now, cpu=self.old.cpu, opened_by_us=True, replaces=self.old)
        if self._loses(keyed.nonces):
            self._yield(new, now)
            return
        if (theirs := self._theirs) is not None:
            # The peer's is redundant, and the peer deletes it.
            theirs.enter(ChildState.REKEYED)
        tunnel.children.senders.serve(new)
        if self.old.state is ChildState.REKEYING:
            self.old.enter(ChildState.REKEYED)
            self.sa.enqueue(DeleteChildren(self.sa, (self.old,)), now)

    def failed(self, error: PeerError, now: float) -> None:
        tunnel = self.old.tunnel
        tunnel.children.rekeys.pop(self.old, None)
        self._free()
        if self.old.state is not ChildState.REKEYING:
            return
        if (theirs := self._theirs) is not None:
            self._leave_to(theirs)
            return
        self.old.enter(ChildState.INSTALLED)
        method = wanted_method(error)
        if method in self._request.methods and method != self._method:
            self.sa.enqueue(RekeyChild(self.sa, self.old, method), now)
        elif isinstance(error, ChildSaNotFound) and not tunnel.children.senders.awaits_proof_of(self.old):
            tunnel.children.lose(self.sa, self.old, now)
        else:
            tunnel.note(Kind.PROGRESS, f"rekeying {self.old.name} failed, will try again: {error}")
            tunnel.children.lifetimes.rekey_later(self.old, now)

    def dropped(self) -> None:
        self.old.tunnel.children.rekeys.pop(self.old, None)
        self._free()

    def _free(self) -> None:
        self.sa.host.emit(RemoveChild(self._request.offer.spi))

    @property
    def _theirs(self) -> Child | None:
        """The peer's successor, if it is there and can take the place of the one that both sides rekey."""
        child = self.rival.child if self.rival is not None else None
        return child if child is not None and child.state is ChildState.INSTALLED else None

    def _yield(self, new: Child, now: float) -> None:
        """Ours is redundant, so we delete it; the old one is the peer's to delete."""
        new.give_way()
        self.sa.enqueue(DeleteChildren(self.sa, (new,)), now)
        if self.old.state is not ChildState.REKEYING:
            return
        if (theirs := self._theirs) is not None:
            self._leave_to(theirs)
        else:
            self.old.enter(ChildState.INSTALLED)
            self.old.tunnel.children.lifetimes.rekey_later(self.old, now)

    def _leave_to(self, theirs: Child) -> None:
        self.old.enter(ChildState.REKEYED)
        self.old.tunnel.children.senders.serve_on_proof(self.sa, theirs)


def respond_rekey_child(sa: IkeSa, message: Message, rekey: Notify, now: float) -> Payloads:
    """Answer a request to rekey a Child SA: receive on the new one, send on it when the peer shows that it has it."""
    old = next((c for c in sa.children.values() if c.outbound_spi.to_bytes(4, "big") == rekey.spi), None)
    if old is None and sa.requests.creating_children:
        raise TemporaryFailure("it may be the SA whose response is on its way")
    if old is None:
        return (Notify(ChildSaNotFound.notify, b"", ProtocolId.ESP, rekey.spi),)
    tunnel = old.tunnel
    tunnel.children.senders.named(old)
    ours = tunnel.children.rekeys.get(old)
    if ours is not None and ours.following:
        raise TemporaryFailure(f"{old.name} is being replaced")
    _check_replaceable(old)
    agreed, payloads = respond(sa, old.terms, message, old.cpu, None)
    if ours is not None:
        ours.rival = Rival(agreed.nonces)
    return payloads + answer_after(sa, agreed, lambda keyed, at: _accept(sa, old, keyed, at), now)


def _check_replaceable(old: Child) -> None:
    ours = old.tunnel.children.rekeys.get(old)
    replaced = ours is not None and ours.rival is not None and ours.rival.child is not None
    if replaced or not old.lasts:
        raise TemporaryFailure(f"{old.name} has been replaced already")


def _accept(sa: IkeSa, old: Child, keyed: Keyed, now: float) -> None:
    """Install the peer's successor, unless the old SA found another one during the additional key exchanges."""
    _check_replaceable(old)
    tunnel = old.tunnel
    ours = tunnel.children.rekeys.get(old)
    new = tunnel.children.add(sa, keyed, now, cpu=old.cpu, opened_by_us=False, replaces=old)
    if ours is not None:
        ours.rival = Rival(keyed.nonces, new)
    else:
        old.enter(ChildState.REKEYED)
        tunnel.children.senders.serve_on_proof(sa, new)
