"""CREATE_CHILD_SA for a new Child SA: a fallback, or a clone for one CPU (RFC 7296 section 1.3.1, RFC 9611)."""

from __future__ import annotations

from ikeclone.errors import InvalidKePayload, NoAdditionalSas, PeerError, TemporaryFailure, TsMaxQueue
from ikeclone.ike.actions import Kind, RemoveChild
from ikeclone.ike.exchange import Exchange, Payloads, raise_refusal
from ikeclone.ike.negotiation import Request, respond
from ikeclone.ike.sa import IkeSa
from ikeclone.numbers import ExchangeType, KeMethod, NotifyType
from ikeclone.wire.message import Message


class CreateChild(Exchange):
    """Open a clone for a CPU, or with None the fallback."""

    type = ExchangeType.CREATE_CHILD_SA
    changes_children = True

    def __init__(self, sa: IkeSa, cpu: int | None, method: KeMethod | None = None) -> None:
        super().__init__(sa)
        self.cpu, self._method = cpu, method
        self._request = Request(sa, cpu, sa.tunnel.resource(cpu), method)
        if cpu is not None:
            sa.tunnel.clones.queued.add(cpu)

    def request(self, now: float) -> Payloads | None:
        if self.cpu is not None:
            clones = self.sa.tunnel.clones
            clones.queued.discard(self.cpu)
            if not clones.lacks(self.cpu, self.sa.host.resources.cpus()):
                self.dropped()
                return None
            clones.pending.add(self.cpu)
        return self._request.payloads()

    def response(self, message: Message, now: float) -> None:
        raise_refusal(message)
        keyed = self._request.complete(self.sa, message)
        tunnel = self.sa.tunnel
        self._settle()
        if not keyed.agreement.per_resource:
            tunnel.clones.per_resource = False
        elif self.cpu is None:
            tunnel.clones.per_resource = True
        child = tunnel.children.add(self.sa, keyed, now, cpu=self.cpu, opened_by_us=True)
        tunnel.children.activate(child)

    def failed(self, error: PeerError, now: float) -> None:
        self._settle()
        self.sa.host.emit(RemoveChild(self._request.offer.spi))
        tunnel = self.sa.tunnel
        method = KeMethod(int.from_bytes(error.data, "big")) if isinstance(error, InvalidKePayload) else None
        if method in self._request.methods and method != self._method:
            self.sa.enqueue(CreateChild(self.sa, self.cpu, method), now)
        elif self.cpu is None:
            tunnel.note(Kind.FAILED, f"no Child SA: {error}")
        else:
            tunnel.clone_refused(error, now, lasting=isinstance(error, TsMaxQueue | NoAdditionalSas))

    def dropped(self) -> None:
        self._settle()
        self.sa.host.emit(RemoveChild(self._request.offer.spi))

    def _settle(self) -> None:
        if self.cpu is not None:
            self.sa.tunnel.clones.queued.discard(self.cpu)
            self.sa.tunnel.clones.pending.discard(self.cpu)


def respond_create(sa: IkeSa, message: Message, now: float) -> Payloads:
    """Answer a request for a new Child SA: the fallback if there is none, else a clone on the CPU with the fewest."""
    tunnel = sa.tunnel
    cpu = _cpu_for(sa, message)
    keyed, payloads = respond(sa, message, cpu, tunnel.resource(cpu))
    if cpu is None:
        tunnel.clones.per_resource = keyed.agreement.per_resource
    child = tunnel.children.add(sa, keyed, now, cpu=cpu, opened_by_us=False)
    if cpu is None:
        tunnel.children.activate(child)
    else:
        tunnel.children.activate_later(child, now)
    return payloads


def _cpu_for(sa: IkeSa, message: Message) -> int | None:
    clones, cpus = sa.tunnel.clones, sa.host.resources.cpus()
    wanted = message.notify(NotifyType.SA_RESOURCE_INFO) is not None and sa.tunnel.connection.clones != 0
    if not wanted or clones.fallback is None:
        return None
    if not clones.may_accept(cpus):
        raise TsMaxQueue(f"{len(clones.clones)} clones are enough")
    if not cpus:
        raise TemporaryFailure("no CPU is ready")
    return clones.least_loaded(cpus)
