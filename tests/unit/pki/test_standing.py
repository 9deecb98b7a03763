"""What is fetched before a certificate is judged, what is not, and what counts of it."""

from __future__ import annotations

from base64 import b64decode
from dataclasses import replace
from datetime import timedelta
from urllib.parse import unquote

import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp as wire

from ikeclone.errors import AuthenticationFailed
from ikeclone.pki import ocsp
from ikeclone.pki.certificate import Certificate
from ikeclone.pki.revocation import Evidence
from ikeclone.pki.standing import Policy, Query, Standing, Unsettled
from tests.unit.pki.authority import DAY, NOW, Holder, points, responders, root
from tests.unit.pki.test_revocation import answer, crl

ROOT = root()
LIST, RESPONDER = "http://pki.example/root.crl", "http://pki.example/ocsp/"
LEAF = ROOT.issue("CN=east", points("ldap://pki.example/root", LIST), responders("https://pki.example/", RESPONDER))
PATH = LEAF.certificate, ROOT.certificate
NOTHING = Evidence()
LISTS, OCSP = Policy(crl_interval=3600), Policy(ocsp=True)
OF_LIST, OF_LEAF = Query(LIST, ROOT.certificate), Query(RESPONDER, ROOT.certificate, LEAF.certificate)
REVOKED = wire.OCSPCertStatus.REVOKED
MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)


def der(found: object) -> bytes:
    octets: bytes = found.public_bytes(Encoding.DER)  # type: ignore[attr-defined]
    return octets


def wanted(standing: Standing, *, at: timedelta = timedelta(), path: tuple[Certificate, ...] = PATH) -> set[Query]:
    """What has to be fetched before the path can be judged; nothing if it is good."""
    try:
        standing.check(path, NOTHING, NOW + at)
    except Unsettled as unsettled:
        return set(unsettled.queries)
    return set()


def refused(standing: Standing, *, at: timedelta = timedelta()) -> str:
    with pytest.raises(AuthenticationFailed) as caught:
        standing.check(PATH, NOTHING, NOW + at)
    return str(caught.value)


def test_nothing_is_fetched_unless_that_is_wanted() -> None:
    assert wanted(Standing(Policy())) == set()
    assert "nothing current says otherwise" in refused(Standing(Policy(crl_strict=True)))


@pytest.mark.parametrize(
    ("policy", "queries"),
    [
        (LISTS, {OF_LIST}),
        (OCSP, {OF_LEAF}),
        (replace(OCSP, crl_interval=60.0), {OF_LIST, OF_LEAF}),
        (replace(OCSP, ocsp_uri="http://own.example/"), {replace(OF_LEAF, address="http://own.example/")}),
    ],
)
def test_what_is_fetched_is_what_the_certificate_names_over_http(policy: Policy, queries: set[Query]) -> None:
    assert wanted(Standing(policy)) == queries


def test_a_list_at_hand_is_enough() -> None:
    assert wanted(Standing(replace(LISTS, lists=(crl(ROOT),)))) == set()
    assert "was revoked" in refused(Standing(replace(LISTS, lists=(crl(ROOT, LEAF),))))


@pytest.mark.parametrize("strict", [False, True])
def test_a_fetched_list_is_used_as_long_as_it_is_current(strict: bool) -> None:
    standing = Standing(replace(LISTS, crl_strict=strict))
    standing.learn(OF_LIST, der(crl(ROOT, ends=NOW + 2 * HOUR)), NOW)
    assert wanted(standing, at=HOUR) == set()
    assert wanted(standing, at=3 * HOUR) == {OF_LIST}
    standing.learn(OF_LIST, der(crl(ROOT, LEAF)), NOW + 3 * HOUR)
    assert "was revoked" in refused(standing, at=3 * HOUR)


def test_an_answer_is_used_as_long_as_it_is_current_and_asked_for_again_in_time() -> None:
    standing = Standing(replace(OCSP, ocsp_strict=True, ocsp_most_age=4 * 3600.0))
    standing.learn(OF_LEAF, der(answer(LEAF, ROOT, ends=NOW + 9 * HOUR)), NOW)
    assert wanted(standing, at=3 * HOUR) == set()
    assert wanted(standing, at=5 * HOUR) == {OF_LEAF}
    standing.learn(OF_LEAF, None, NOW + 5 * HOUR)
    assert wanted(standing, at=5 * HOUR) == set(), "the old answer is current still"
    assert wanted(standing, at=5 * HOUR + 2 * MINUTE) == {OF_LEAF}
    standing.learn(OF_LEAF, der(answer(LEAF, ROOT, REVOKED)), NOW + 6 * HOUR)
    assert "was revoked" in refused(standing, at=6 * HOUR)


def test_an_answer_is_not_asked_for_again_too_soon() -> None:
    standing = Standing(OCSP)
    standing.learn(OF_LEAF, der(answer(LEAF, ROOT, ends=NOW + 10 * MINUTE)), NOW)
    assert wanted(standing, at=20 * MINUTE) == set()
    assert wanted(standing, at=61 * MINUTE) == {OF_LEAF}


@pytest.mark.parametrize(
    ("policy", "query", "why"),
    [
        (replace(LISTS, crl_strict=True), OF_LIST, "nothing current says otherwise"),
        (replace(OCSP, ocsp_strict=True), OF_LEAF, "no OCSP responder speaks for"),
    ],
)
def test_what_cannot_be_had_is_not_asked_for_again_for_a_minute(policy: Policy, query: Query, why: str) -> None:
    lenient = Standing(replace(policy, crl_strict=False, ocsp_strict=False))
    strict = Standing(policy)
    for standing in (lenient, strict):
        assert wanted(standing) == {query}
        standing.learn(query, None, NOW)
    assert wanted(lenient) == set()
    assert why in refused(strict)
    assert wanted(strict, at=2 * MINUTE) == {query}


FORGED = root()


@pytest.mark.parametrize(
    ("query", "good", "bad"),
    [
        (OF_LIST, crl(ROOT, LEAF), crl(ROOT, key=FORGED)),
        (OF_LIST, crl(ROOT, LEAF), crl(ROOT, begins=NOW - 3 * DAY, ends=NOW - 2 * DAY)),
        (OF_LEAF, answer(LEAF, ROOT, REVOKED), answer(LEAF, FORGED)),
        (OF_LEAF, answer(LEAF, ROOT, REVOKED), answer(ROOT.issue("CN=west"), ROOT)),
        (OF_LEAF, answer(LEAF, ROOT, REVOKED), answer(LEAF, ROOT, wire.OCSPCertStatus.UNKNOWN)),
    ],
)
def test_what_is_no_good_does_not_replace_what_is(query: Query, good: object, bad: object) -> None:
    standing = Standing(replace(OCSP, crl_interval=3600.0))
    standing.learn(query, der(good), NOW)
    with pytest.raises(AuthenticationFailed):
        standing.learn(query, der(bad), NOW)
    for octets in (b"", b"no DER", bytes(1000)):
        with pytest.raises(AuthenticationFailed, match="cannot be read"):
            standing.learn(query, octets, NOW)
    assert "was revoked" in refused(standing)


def test_a_responder_of_ones_own_may_sign_for_any_authority() -> None:
    own = root("CN=Responder")
    signed = der(answer(LEAF, ROOT, REVOKED, signer=own))
    trusting = Standing(replace(OCSP, ocsp_signer=own.certificate))
    trusting.learn(OF_LEAF, signed, NOW)
    assert "was revoked" in refused(trusting)
    with pytest.raises(AuthenticationFailed):
        Standing(OCSP).learn(OF_LEAF, signed, NOW)


def test_the_strictness_of_ocsp_is_for_the_peer_s_own_certificate() -> None:
    middle = ROOT.authority("CN=Middle")
    leaf = middle.issue("CN=east", responders(RESPONDER))
    standing = Standing(replace(OCSP, ocsp_strict=True))
    query = Query(RESPONDER, middle.certificate, leaf.certificate)
    path = leaf.certificate, middle.certificate, ROOT.certificate
    assert wanted(standing, path=path) == {query}
    standing.learn(query, der(answer(leaf, middle)), NOW)
    assert wanted(standing, path=path) == set()


def test_what_is_kept_is_bounded() -> None:
    standing = Standing(replace(OCSP, ocsp_cache_size=2))
    leaves = [ROOT.issue(f"CN={i}", responders(RESPONDER)) for i in range(3)]
    for leaf in leaves:
        standing.learn(Query(RESPONDER, ROOT.certificate, leaf.certificate), der(answer(leaf, ROOT)), NOW)
    later = timedelta(hours=2)
    kept = [not wanted(standing, at=later, path=(leaf.certificate, ROOT.certificate)) for leaf in leaves]
    assert kept == [False, True, True]


def test_orders() -> None:
    standing = Standing(OCSP)
    order = standing.order(OF_LIST)
    assert (order.url, order.body, order.timeout) == (LIST, None, 5.0)
    order = standing.order(OF_LEAF)
    assert order.url.startswith(RESPONDER)
    assert (order.body, order.timeout) == (None, 2.0)
    asked = ocsp.request(LEAF.certificate, ROOT.certificate)
    assert b64decode(unquote(order.url.removeprefix(RESPONDER))) == asked
    posted = Standing(replace(OCSP, ocsp_post=True)).order(OF_LEAF)
    assert (posted.url, posted.body) == (RESPONDER, asked)


def test_lists_that_are_fetched_in_advance() -> None:
    other: Holder = root("CN=Other").issue("CN=west", points("http://other.example/"))
    standing = Standing(LISTS)
    assert standing.lists_of((*PATH, other.certificate)) == (OF_LIST,)
    standing.learn(OF_LIST, der(crl(ROOT)), NOW)
    assert standing.lists_of(()) == (OF_LIST,)
