"""Choosing among proposals (RFC 7296 sections 2.7 and 3.3)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from ikeclone.crypto.registry import ADDITIONAL_TYPES
from ikeclone.errors import InvalidSyntax, NoProposalChosen
from ikeclone.numbers import Esn, Integ, KeMethod, ProtocolId, TransformType
from ikeclone.wire.payloads import Proposal, Transform

# What a proposal without a transform of this type says (an AEAD needs no integrity, PFS is optional).
ABSENT = {
    TransformType.INTEG: Integ.NONE,
    TransformType.KE: KeMethod.NONE,
    TransformType.ESN: Esn.NO,
    **{TransformType(kind): KeMethod.NONE for kind in ADDITIONAL_TYPES},
}


def choose(offered: Iterable[Proposal], configured: Iterable[Proposal], spi_size: int) -> Proposal:
    """The first configured proposal that an offered one meets, cut down to one transform of each type.

    It keeps the number and SPI of the offer. Raises NoProposalChosen.
    """
    fitting = [o for o in offered if len(o.spi) == spi_size]
    for ours in configured:
        for theirs in fitting:
            if (transforms := _match(theirs, ours)) is not None:
                return replace(theirs, transforms=transforms)
    raise NoProposalChosen


def check_choice(offered: Iterable[Proposal], answer: tuple[Proposal, ...]) -> Proposal:
    """The proposal that a responder chose, which must be one of the offered; raises InvalidSyntax when it is not."""
    if len(answer) != 1:
        raise InvalidSyntax(f"{len(answer)} proposals in a response")
    chosen = answer[0]
    if len({t.type for t in chosen.transforms}) != len(chosen.transforms):
        raise InvalidSyntax("more than one transform of a type in a response")
    for proposal in offered:
        if proposal.number == chosen.number and _match(chosen, proposal) is not None:
            return chosen
    raise InvalidSyntax("the response chose what was not offered")


def numbered(proposals: Iterable[Proposal], spi: bytes) -> tuple[Proposal, ...]:
    """The proposals as they are offered: counted from 1, with our SPI."""
    return tuple(replace(p, number=i, spi=spi) for i, p in enumerate(proposals, 1))


def with_ke(proposals: Iterable[Proposal], methods: Iterable[KeMethod]) -> tuple[Proposal, ...]:
    """The proposals with just these key exchange methods (none for the Child SA of IKE_AUTH)."""
    ke = tuple(Transform(TransformType.KE, m) for m in methods)
    return tuple(
        replace(p, transforms=tuple(t for t in p.transforms if t.type is not TransformType.KE) + ke) for p in proposals
    )


def without_additional(proposals: Iterable[Proposal]) -> tuple[Proposal, ...]:
    """The proposals without additional key exchanges."""
    return tuple(
        replace(p, transforms=tuple(t for t in p.transforms if t.type not in ADDITIONAL_TYPES)) for p in proposals
    )


def has_additional(proposals: Iterable[Proposal]) -> bool:
    """Whether the proposals name additional key exchanges (RFC 9370)."""
    return any(t.type in ADDITIONAL_TYPES and t.id != KeMethod.NONE for p in proposals for t in p.transforms)


def ke_methods(proposals: Iterable[Proposal]) -> tuple[KeMethod, ...]:
    """Every key exchange method that the proposals name, in order of preference."""
    methods = (t.id for p in proposals for t in p.transforms if t.type is TransformType.KE)
    return tuple(dict.fromkeys(KeMethod(m) for m in methods if m != KeMethod.NONE))


def spi_size(protocol: ProtocolId, rekey: bool = True) -> int:
    """Octets of an SPI in a proposal; the first IKE SA's SPIs are in the header instead."""
    if protocol is ProtocolId.IKE:
        return 8 if rekey else 0
    return 4


def _match(theirs: Proposal, ours: Proposal) -> tuple[Transform, ...] | None:
    if theirs.protocol is not ours.protocol:
        return None
    kinds = sorted({t.type for t in (*theirs.transforms, *ours.transforms)})
    chosen = _combine([[t for t in _of_type(ours, kind) if t in _of_type(theirs, kind)] for kind in kinds])
    return None if chosen is None else tuple(t for t in chosen if t in theirs.transforms)


def _combine(
    common: Sequence[Sequence[Transform]], taken: frozenset[int] = frozenset()
) -> tuple[Transform, ...] | None:
    """One transform of each type, None if that cannot be.

    Additional key exchanges are of different methods (RFC 9370 section 2.2.1), of which some are `taken`.
    """
    if not common:
        return ()
    for transform in common[0]:
        method = {transform.id} - {KeMethod.NONE} if transform.type in ADDITIONAL_TYPES else set()
        if not method & taken and (rest := _combine(common[1:], taken | method)) is not None:
            return transform, *rest
    return None


def _of_type(proposal: Proposal, kind: TransformType) -> tuple[Transform, ...]:
    found = tuple(t for t in proposal.transforms if t.type == kind)
    if not found and kind in ABSENT:
        return (Transform(kind, ABSENT[kind]),)
    return found
