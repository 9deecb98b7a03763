"""Parsing undoes building, for every payload; and nothing but the parser's own errors comes out of it."""

import contextlib
from ipaddress import IPv4Address, IPv6Address
from typing import TypeVar

from hypothesis import given, settings
from hypothesis import strategies as st

from ikeclone.errors import InvalidMajorVersion, InvalidSyntax, UnsupportedCriticalPayload
from ikeclone.numbers import (
    AuthMethod,
    CertEncoding,
    CfgType,
    ExchangeType,
    IdType,
    KeMethod,
    NotifyType,
    PayloadType,
    ProtocolId,
    TransformType,
    transform_id,
)
from ikeclone.selectors import TrafficSelector
from ikeclone.wire.message import (
    HEADER_SIZE,
    Header,
    Message,
    build_message,
    build_payloads,
    build_protected,
    parse_header,
    parse_message,
    parse_payloads,
)
from ikeclone.wire.payloads import (
    PARSERS,
    Attribute,
    Auth,
    Certificate,
    CertRequest,
    CfgAttribute,
    Configuration,
    Delete,
    Eap,
    Encrypted,
    EncryptedFragment,
    IdI,
    IdR,
    KeyExchange,
    Nonce,
    Notify,
    Payload,
    Proposal,
    Sa,
    Transform,
    TsI,
    TsR,
    Unknown,
    VendorId,
)

T = TypeVar("T")

quick = settings(max_examples=150)

octet = st.integers(0, 255)
short = st.integers(0, 0xFFFF)
data = st.binary(max_size=40)
spi4 = st.binary(min_size=4, max_size=4)
KNOWN = {PayloadType.NONE, PayloadType.SK, PayloadType.SKF, *PARSERS}

long_attributes = st.builds(Attribute, st.integers(0, 0x7FFF), data)
short_attributes = st.builds(
    Attribute, st.integers(0x8000, 0xFFFF).filter(lambda kind: kind != 0x800E), st.binary(min_size=2, max_size=2)
)


@st.composite
def transforms(draw: st.DrawFn) -> Transform:
    kind = TransformType(draw(octet))
    key_bits = draw(st.none() | short)
    unknown = tuple(draw(st.lists(long_attributes | short_attributes, max_size=2)))
    return Transform(kind, transform_id(kind, draw(short)), key_bits, unknown)


def tuples(elements: st.SearchStrategy[T], min_size: int = 0) -> st.SearchStrategy[tuple[T, ...]]:
    return st.lists(elements, min_size=min_size, max_size=4).map(lambda found: tuple(found))


proposals = st.builds(Proposal, octet.map(ProtocolId), tuples(transforms()), st.binary(max_size=8), st.integers(0, 255))


@st.composite
def selectors(draw: st.DrawFn) -> TrafficSelector:
    addresses: st.SearchStrategy[IPv4Address | IPv6Address] = st.ip_addresses(v=draw(st.sampled_from([4, 6])))
    first, last = sorted((draw(addresses), draw(addresses)), key=int)
    return TrafficSelector(first, last, draw(octet), draw(short), draw(short))


deletes = st.just(Delete(ProtocolId.IKE)) | st.builds(
    Delete, st.sampled_from([ProtocolId.AH, ProtocolId.ESP]), tuples(spi4)
)
eaps = st.builds(
    lambda head, body: Eap(head + (4 + len(body)).to_bytes(2) + body), st.binary(min_size=2, max_size=2), data
)
unknowns = st.builds(Unknown, octet.filter(lambda kind: kind not in KNOWN).map(PayloadType), st.just(False), data)

plain: st.SearchStrategy[Payload] = st.one_of(
    st.builds(Sa, tuples(proposals, min_size=1)),
    st.builds(KeyExchange, short.map(KeMethod), data),
    st.builds(IdI, octet.map(IdType), data),
    st.builds(IdR, octet.map(IdType), data),
    st.builds(Certificate, octet.map(CertEncoding), data),
    st.builds(CertRequest, octet.map(CertEncoding), data),
    st.builds(Auth, octet.map(AuthMethod), data),
    st.builds(Nonce, st.binary(min_size=16, max_size=256)),
    st.builds(Notify, short.map(NotifyType), data, octet.map(ProtocolId), st.binary(max_size=16)),
    deletes,
    st.builds(VendorId, data),
    st.builds(TsI, tuples(selectors(), min_size=1)),
    st.builds(TsR, tuples(selectors(), min_size=1)),
    st.builds(Configuration, octet.map(CfgType), tuples(st.builds(CfgAttribute, st.integers(0, 0x7FFF), data))),
    eaps,
    unknowns,
)  # fmt: skip


@st.composite
def fragments(draw: st.DrawFn) -> EncryptedFragment:
    total = draw(st.integers(1, 0xFFFF))
    return EncryptedFragment(PayloadType(draw(octet)), draw(st.integers(1, total)), total, draw(data))


sealed = st.builds(Encrypted, octet.map(PayloadType), data) | fragments()
spi8 = st.binary(min_size=8, max_size=8)
headers = st.builds(
    Header, spi8, spi8, octet.map(ExchangeType), st.integers(0, 0xFFFFFFFF), st.booleans(), st.booleans()
)


@quick
@given(headers, st.lists(plain, max_size=6))
def test_parsing_undoes_building(header: Header, payloads: list[Payload]) -> None:
    octets = build_message(header, payloads)
    assert parse_message(octets) == Message(header, tuple(payloads))
    assert parse_header(octets) == header
    assert parse_payloads(*build_payloads(payloads)) == tuple(payloads)


@quick
@given(headers, st.lists(plain, max_size=2), sealed)
def test_a_sealed_payload_comes_last_and_as_it_was(
    header: Header, before: list[Payload], last: Encrypted | EncryptedFragment
) -> None:
    octets = build_message(header, [*before, last])
    assert parse_message(octets) == Message(header, (*before, last))
    fragment = (last.number, last.total) if isinstance(last, EncryptedFragment) else None
    assert build_protected(header, last.first, len(last.body), fragment) + last.body == build_message(header, [last])


addresses: st.SearchStrategy[IPv4Address | IPv6Address] = st.ip_addresses()
names = st.from_regex(r"[a-z0-9-]{1,20}(\.[a-z0-9-]{1,20}){0,3}", fullmatch=True)


@quick
@given(st.lists(addresses, max_size=4), st.lists(addresses, max_size=4), st.lists(names, max_size=4))
def test_what_is_given_inside_a_tunnel_comes_through(
    leased: list[IPv4Address | IPv6Address], servers: list[IPv4Address | IPv6Address], domains: list[str]
) -> None:
    attributes = (
        *(CfgAttribute.internal_address(each.version, each) for each in leased),
        *(CfgAttribute.internal_dns(each.version, each) for each in servers),
        *map(CfgAttribute.internal_domain, domains),
    )
    (read,) = parse_payloads(*build_payloads([Configuration(CfgType.REPLY, attributes)]))
    assert isinstance(read, Configuration)
    for version in (4, 6):
        assert read.internal_addresses(version) == [each for each in leased if each.version == version]
    assert read.internal_dns() == servers
    assert read.internal_domains() == [name.encode() for name in domains]


@quick
@given(st.lists(st.builds(CfgAttribute, st.sampled_from([1, 3, 8, 10, 25]) | short, data), max_size=4))
def test_any_attributes_are_read_or_refused(attributes: list[CfgAttribute]) -> None:
    read = Configuration(CfgType.REPLY, tuple(attributes))
    with contextlib.suppress(InvalidSyntax):
        given = [*read.internal_addresses(4), *read.internal_addresses(6), *read.internal_dns()]
        assert len(given) + len(read.internal_domains()) <= len(attributes)


@st.composite
def chains(draw: st.DrawFn) -> tuple[PayloadType, bytes]:
    """Payloads whose generic headers are right and whose bodies are anything."""
    kinds = draw(st.lists(st.sampled_from(sorted(KNOWN - {PayloadType.NONE})) | octet, max_size=4))
    octets = b""
    for following in [*kinds[1:], 0][: len(kinds)]:
        body = draw(st.binary(max_size=60))
        octets += bytes([following, draw(st.sampled_from([0, 0x80]))]) + (4 + len(body)).to_bytes(2) + body
    return PayloadType((kinds or [0])[0]), octets


def check_total(octets: bytes) -> None:
    """Parsing raises one of three errors or gives a message that survives being built and parsed again."""
    with contextlib.suppress(InvalidSyntax, InvalidMajorVersion, UnsupportedCriticalPayload):
        message = parse_message(octets)
        if any(isinstance(payload, TsI | TsR) and payload.unknown for payload in message.payloads):
            return
        assert parse_message(build_message(message.header, message.payloads)) == message


@quick
@given(st.binary(max_size=200))
def test_any_octets_give_a_message_or_an_error(octets: bytes) -> None:
    check_total(octets)
    length = HEADER_SIZE + len(octets)
    check_total(bytes(16) + b"\x29\x20\x25\x08" + bytes(4) + length.to_bytes(4) + octets)


@quick
@given(headers, chains())
def test_any_bodies_give_a_message_or_an_error(header: Header, chain: tuple[PayloadType, bytes]) -> None:
    first, octets = chain
    check_total(header.build(first, len(octets)) + octets)
    with contextlib.suppress(InvalidSyntax, UnsupportedCriticalPayload):
        assert all(payload is not None for payload in parse_payloads(first, octets))
