"""Whether a peer's certificates are in good standing, by what is at hand and what can be fetched.

Nothing is fetched here: `Unsettled` says what to fetch before it can be told, and `learn` takes what came of it.
"""

from __future__ import annotations

from base64 import b64encode
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Final, TypeVar
from urllib.parse import quote

from cryptography import x509

from ikeclone.errors import AuthenticationFailed, IkecloneError
from ikeclone.pki import ocsp
from ikeclone.pki.certificate import Certificate, subject
from ikeclone.pki.revocation import Evidence, Status, check_path, is_of, load_crl, sources, status

K = TypeVar("K")
V = TypeVar("V")

_MOST_ADDRESSES: Final = 2  # of a certificate, of each kind
_MOST_LISTS: Final = 256
_LARGEST_LIST, _LARGEST_RESPONSE = 16 << 20, 64 << 10  # octets
_LARGEST_GET: Final = 255  # octets of an encoded request (RFC 5019 section 5)
_AFTER_FAILURE = timedelta(seconds=60)


@dataclass(frozen=True, slots=True)
class Policy:
    """What `config setup` says of revocation; times in seconds.

    `lists` are at hand. Others are fetched every `crl_interval`, none with 0; with `crl_strict` something current must
    speak for each certificate, with `ocsp_strict` a responder for the peer's own. `ocsp_uri` is asked instead of the
    responders that certificates name, and `ocsp_signer` may sign answers too. An answer is asked for anew not before
    `ocsp_least_age` and not after `ocsp_most_age`.
    """

    lists: tuple[x509.CertificateRevocationList, ...] = ()
    crl_strict: bool = False
    crl_interval: float = 0.0
    crl_timeout: float = 5.0
    ocsp: bool = False
    ocsp_strict: bool = False
    ocsp_uri: str | None = None
    ocsp_signer: Certificate | None = None
    ocsp_timeout: float = 2.0
    ocsp_post: bool = False
    ocsp_cache_size: int = 1000
    ocsp_least_age: float = 3600.0
    ocsp_most_age: float = 86400.0


@dataclass(frozen=True, slots=True)
class Query:
    """A list of the issuer's to fetch or, with a certificate, what an OCSP responder says of it."""

    address: str
    issuer: Certificate
    certificate: Certificate | None = None


@dataclass(frozen=True, slots=True)
class Order:
    """How to fetch what a query wants: by HTTP GET or, with a body, POST; in so many seconds and octets at most."""

    query: Query
    url: str
    body: bytes | None
    timeout: float
    most: int


class Unsettled(IkecloneError):
    """What a certificate's standing depends on has to be fetched first."""

    def __init__(self, queries: tuple[Query, ...]) -> None:
        super().__init__(f"{len(queries)} addresses have to be asked first")
        self.queries = queries


@dataclass(frozen=True, slots=True)
class _Answer:
    response: ocsp.Response
    since: datetime


class Standing:
    """The policy, and what was fetched: lists by address, and responses by what they are about."""

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self._lists: OrderedDict[Query, x509.CertificateRevocationList] = OrderedDict()
        self._answers: OrderedDict[tuple[Certificate, Certificate], _Answer] = OrderedDict()
        self._not_before: OrderedDict[Query, datetime] = OrderedDict()

    def check(self, path: tuple[Certificate, ...], sent: Evidence, now: datetime) -> None:
        """Check each certificate of a validated path, the anchor excepted; `sent` is what came with it.

        Raises AuthenticationFailed if one was revoked, or not enough is known of one; Unsettled if more can be known.
        """
        evidence = self._evidence(path, sent)
        signer = self.policy.ocsp_signer
        check_path(path, evidence, now, strict=False, signer=signer)
        queries = [query for pair in pairwise(path) for query in self._missing(*pair, evidence, now)]
        if queries:
            raise Unsettled(tuple(dict.fromkeys(queries)))
        check_path(path, evidence, now, strict=self.policy.crl_strict, signer=signer)
        if self.policy.ocsp_strict and len(path) > 1:
            answers = Evidence(responses=evidence.responses)
            if status(path[0], path[1], answers, now, signer) is not Status.GOOD:
                raise AuthenticationFailed(f"no OCSP responder speaks for the certificate of {subject(path[0])}")

    def _evidence(self, path: tuple[Certificate, ...], sent: Evidence) -> Evidence:
        answers = [self._answers[pair].response for pair in pairwise(path) if pair in self._answers]
        lists = [each for query, each in self._lists.items() if query.issuer in path]
        return Evidence((*self.policy.lists, *lists, *sent.lists), (*answers, *sent.responses))

    def _missing(
        self, certificate: Certificate, issuer: Certificate, evidence: Evidence, now: datetime
    ) -> Iterator[Query]:
        found, policy = sources(certificate), self.policy
        answers = Evidence(responses=evidence.responses)
        said = status(certificate, issuer, answers, now, policy.ocsp_signer)
        if policy.ocsp and (said is Status.UNKNOWN or self._is_old((certificate, issuer), now)):
            responders = (policy.ocsp_uri,) if policy.ocsp_uri else found.responders
            yield from self._allowed((Query(each, issuer, certificate) for each in responders), now)
        if policy.crl_interval and status(certificate, issuer, evidence, now, policy.ocsp_signer) is Status.UNKNOWN:
            yield from self._allowed((Query(each, issuer) for each in found.lists), now)

    def _is_old(self, pair: tuple[Certificate, Certificate], now: datetime) -> bool:
        answer = self._answers.get(pair)
        return answer is not None and now > answer.since + timedelta(seconds=self.policy.ocsp_most_age)

    def _allowed(self, queries: Iterable[Query], now: datetime) -> list[Query]:
        """The first of those that may be asked now; other schemes than http would need proofs themselves."""
        known = [query for query in queries if query.address.startswith("http://")][:_MOST_ADDRESSES]
        return [query for query in known if query not in self._not_before or self._not_before[query] <= now]

    def order(self, query: Query) -> Order:
        """How to fetch what a query wants."""
        policy = self.policy
        if query.certificate is None:
            return Order(query, query.address, None, policy.crl_timeout, _LARGEST_LIST)
        request = ocsp.request(query.certificate, query.issuer)
        encoded = quote(b64encode(request).decode(), safe="")
        if policy.ocsp_post or len(encoded) > _LARGEST_GET:
            return Order(query, query.address, request, policy.ocsp_timeout, _LARGEST_RESPONSE)
        url = f"{query.address.rstrip('/')}/{encoded}"
        return Order(query, url, None, policy.ocsp_timeout, _LARGEST_RESPONSE)

    def learn(self, query: Query, data: bytes | None, now: datetime) -> None:
        """Take what was fetched, None if nothing was; it replaces what is at hand only if it is authentic and current.

        Raises AuthenticationFailed if it is not.
        """
        self._put_off(query, now + _AFTER_FAILURE)
        if data is None:
            return
        if query.certificate is None:
            self._learn_list(query, load_crl(data), now)
        else:
            self._learn_answer(query, query.certificate, ocsp.load_response(data), now)

    def _learn_list(self, query: Query, found: x509.CertificateRevocationList, now: datetime) -> None:
        if not is_of(found, query.issuer, now):
            raise AuthenticationFailed(f"not a current list of {subject(query.issuer)}")
        _keep(self._lists, query, found, _MOST_LISTS)

    def _learn_answer(self, query: Query, certificate: Certificate, found: ocsp.Response, now: datetime) -> None:
        answers = Evidence(responses=(found,))
        if status(certificate, query.issuer, answers, now, self.policy.ocsp_signer) is Status.UNKNOWN:
            raise AuthenticationFailed(f"nothing authentic and current of {subject(certificate)}")
        _keep(self._answers, (certificate, query.issuer), _Answer(found, now), self.policy.ocsp_cache_size)
        self._put_off(query, now + timedelta(seconds=self.policy.ocsp_least_age))

    def _put_off(self, query: Query, until: datetime) -> None:
        _keep(self._not_before, query, until, self.policy.ocsp_cache_size + _MOST_LISTS)

    def lists_of(self, certificates: Iterable[Certificate]) -> tuple[Query, ...]:
        """The lists to fetch in advance and from time to time: those known, and those that certificates name.

        The issuer of a certificate is looked for among the others.
        """
        known = tuple(certificates)
        named = [
            Query(address, issuer)
            for certificate in known
            for issuer in known
            if certificate.issuer == issuer.subject and certificate != issuer
            for address in sources(certificate).lists[:_MOST_ADDRESSES]
            if address.startswith("http://")
        ]
        return tuple(dict.fromkeys((*self._lists, *named)))[:_MOST_LISTS]


def _keep(kept: OrderedDict[K, V], key: K, value: V, most: int) -> None:
    """Add to what is kept; of too many, the oldest goes."""
    kept[key] = value
    kept.move_to_end(key)
    while len(kept) > most:
        kept.popitem(last=False)
