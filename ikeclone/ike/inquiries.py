"""What is being fetched about certificates, and the messages that wait for it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from cryptography.x509 import CertificateRevocationList

from ikeclone.errors import AuthenticationFailed
from ikeclone.ike.actions import Fetch
from ikeclone.ike.sa import IkeSa
from ikeclone.ike.state import State
from ikeclone.pki.standing import Policy, Query, Standing, Unsettled

if TYPE_CHECKING:
    from ikeclone.ike.endpoint import Endpoint

Resume = Callable[[float], None]


@dataclass(slots=True, eq=False)
class _Waiting:
    """A message of an IKE SA that cannot be judged before these queries have come to something."""

    sa: IkeSa
    queries: set[Query]
    resume: Resume


class Inquiries:
    """Asks the daemon to fetch, each thing once at a time, and goes on when it is there or when its time is up."""

    def __init__(self, endpoint: Endpoint, policy: Policy, now: float) -> None:
        self._endpoint, self._host = endpoint, endpoint.host
        self.standing = Standing(policy)
        self._open: set[Query] = set()
        self._waiting: list[_Waiting] = []
        if policy.crl_interval:
            self._host.timers.set(self, "lists", now, self._fetch_lists)

    def learn(self, lists: tuple[CertificateRevocationList, ...]) -> None:
        """From now on these lists are at hand, in place of those before."""
        self.standing.policy = replace(self.standing.policy, lists=lists)

    def _fetch_lists(self, now: float) -> None:
        """Fetch the lists of all authorities that are known, so that no peer has to wait for them."""
        for query in self.standing.lists_of(self._endpoint.certificates()):
            self._ask(query)
        self._host.timers.set(self, "lists", now + self.standing.policy.crl_interval, self._fetch_lists)

    def _ask(self, query: Query) -> None:
        if query not in self._open:
            self._open.add(query)
            self._host.emit(Fetch(self.standing.order(query)))

    def await_settled(self, sa: IkeSa, unsettled: Unsettled, resume: Resume, now: float) -> None:
        """Call `resume` when what is missing is there or cannot be had; it will not be missed again so soon."""
        waiting = _Waiting(sa, set(unsettled.queries), resume)
        self._waiting.append(waiting)
        for query in unsettled.queries:
            self._ask(query)
        patience = max(self.standing.order(query).timeout for query in unsettled.queries)
        self._host.timers.set(sa, "inquiry", now + patience, lambda at: self._give_up(waiting, at))

    def fetched(self, query: Query, data: bytes | None, now: float) -> str | None:
        """Take what the daemon fetched, None if it could not; what is wrong with it, if anything is."""
        self._open.discard(query)
        try:
            self.standing.learn(query, data, self._host.wall())
            wrong = None
        except AuthenticationFailed as error:
            wrong = str(error)
        for waiting in [each for each in self._waiting if query in each.queries]:
            waiting.queries.discard(query)
            if not waiting.queries:
                self._go_on(waiting, now)
        return wrong

    def _give_up(self, waiting: _Waiting, now: float) -> None:
        for query in waiting.queries:
            self.standing.learn(query, None, self._host.wall())
        self._go_on(waiting, now)

    def _go_on(self, waiting: _Waiting, now: float) -> None:
        self._waiting.remove(waiting)
        self._host.timers.cancel(waiting.sa, "inquiry")
        if waiting.sa.state is not State.DEAD:
            waiting.resume(now)
