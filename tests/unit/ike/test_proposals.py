"""What a responder may choose from an offer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from ikeclone.crypto.registry import parse_esp
from ikeclone.crypto.suite import additional_kes
from ikeclone.errors import InvalidSyntax, NoProposalChosen
from ikeclone.ike.proposals import check_choice, choose, numbered
from ikeclone.numbers import Encr, KeMethod, TransformType
from ikeclone.wire.payloads import Proposal

SPI = b"\0\0\x10\0"
OFFER = numbered(parse_esp("aes_gcm256,aes256-sha2_256"), SPI)


def test_a_choice_keeps_number_and_one_transform_of_each_type() -> None:
    chosen = choose(OFFER, parse_esp("aes256-sha2_256"), 4)
    assert (chosen.number, chosen.spi) == (2, SPI)
    assert check_choice(OFFER, (chosen,)) == chosen


def test_an_offer_with_an_spi_of_the_wrong_size_is_not_considered() -> None:
    with pytest.raises(NoProposalChosen):
        choose([replace(p, spi=b"") for p in OFFER], parse_esp("aes_gcm256"), 4)


def misnumbered(chosen: Proposal) -> tuple[Proposal, ...]:
    return (replace(chosen, number=2),)


def doubled(chosen: Proposal) -> tuple[Proposal, ...]:
    return (replace(chosen, transforms=(*chosen.transforms, chosen.transforms[0])),)


def altered(chosen: Proposal) -> tuple[Proposal, ...]:
    others = tuple(
        replace(t, id=Encr.CHACHA20_POLY1305) if t.type is TransformType.ENCR else t for t in chosen.transforms
    )
    return (replace(chosen, transforms=others),)


def several(chosen: Proposal) -> tuple[Proposal, ...]:
    return (chosen, chosen)


def none(chosen: Proposal) -> tuple[Proposal, ...]:
    return ()


@pytest.mark.parametrize("change", [misnumbered, doubled, altered, several, none])
def test_a_response_that_is_no_choice(change: Callable[[Proposal], tuple[Proposal, ...]]) -> None:
    chosen = choose(OFFER, parse_esp("aes_gcm256"), 4)
    with pytest.raises(InvalidSyntax):
        check_choice(OFFER, change(chosen))


@pytest.mark.parametrize(
    ("offered", "configured", "chosen"),
    [
        ("ke1_mlkem768-ke1_mlkem1024-ke2_mlkem768", "ke1_mlkem768-ke1_mlkem1024-ke2_mlkem768", (36 + 1, 36)),
        ("ke1_mlkem768-ke3_mlkem768-ke3_none", "ke1_mlkem768-ke3_mlkem768-ke3_none", (36,)),
        ("ke1_none-ke2_none", "ke1_none-ke2_none", ()),
        ("dh31-ke1_x25519", "dh31-ke1_x25519", (31,)),
    ],
)
def test_additional_key_exchanges_are_of_different_methods(
    offered: str, configured: str, chosen: tuple[int, ...]
) -> None:
    """Whatever the order of preference (RFC 9370 section 2.2.1); the first key exchange may be of one of them."""
    offer = numbered(parse_esp(f"aes_gcm256-{offered}"), SPI)
    choice = choose(offer, parse_esp(f"aes_gcm256-{configured}"), 4)
    assert additional_kes(choice) == chosen
    assert check_choice(offer, (choice,)) == choice


def test_additional_key_exchanges_of_one_method_are_refused() -> None:
    ours = parse_esp("aes_gcm256-ke1_mlkem768-ke1_mlkem1024-ke2_mlkem768-ke2_mlkem1024")
    (offer,) = numbered(ours, SPI)
    theirs = replace(offer, transforms=tuple(t for t in offer.transforms if t.id != KeMethod.ML_KEM_1024))
    with pytest.raises(NoProposalChosen):
        choose((theirs,), ours, 4)
    with pytest.raises(InvalidSyntax):
        check_choice((offer,), (theirs,))
