"""The little DER (X.690) that AlgorithmIdentifiers and distinguished names need."""

from __future__ import annotations

from collections.abc import Iterator

SEQUENCE, SET, OID, INTEGER = 0x30, 0x31, 0x06, 0x02
_LONG = 0x80
_MULTI_OCTET_TAG = 0x1F


def tlv(tag: int, *parts: bytes) -> bytes:
    """One element: tag, length and the parts as its content."""
    content = b"".join(parts)
    if len(content) < _LONG:
        return bytes([tag, len(content)]) + content
    length = len(content).to_bytes((len(content).bit_length() + 7) // 8)
    return bytes([tag, _LONG | len(length)]) + length + content


def elements(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Tags and contents of the elements that `data` consists of.

    Raises ValueError for what is cut short, of indefinite length, or not in its shortest form.
    """
    while data:
        tag, start, end = _measure(data)
        yield tag, data[start:end]
        data = data[end:]


def only(tag: int, data: bytes) -> bytes:
    """The content of the one element that `data` consists of; raises ValueError if it has another tag."""
    found = list(elements(data))
    if [each for each, _ in found] != [tag]:
        raise ValueError(f"not one element with the tag {tag:#04x}")
    return found[0][1]


def _measure(data: bytes) -> tuple[int, int, int]:
    """The tag of the first element, and where its content starts and ends."""
    if len(data) < 2 or data[0] & _MULTI_OCTET_TAG == _MULTI_OCTET_TAG:
        raise ValueError("no tag or no length")
    size, start = data[1], 2
    if size >= _LONG:
        start += size & ~_LONG
        size = int.from_bytes(data[2:start])
        if start > len(data) or tlv(data[0], bytes(min(size, len(data))))[:start] != data[:start]:
            raise ValueError("a length that is cut short or not the shortest")
    if start + size > len(data):
        raise ValueError("longer than what holds it")
    return data[0], start, start + size


def encode_oid(dotted: str) -> bytes:
    """The content of an OBJECT IDENTIFIER; raises ValueError if the text is none."""
    first, second, *rest = (int(part) for part in dotted.split("."))
    if not 0 <= first <= 2 or min(second, *rest, 0) < 0 or (first < 2 and second >= 40):
        raise ValueError(f"not an object identifier: {dotted}")
    return b"".join(_base128(number) for number in (first * 40 + second, *rest))


def _base128(number: int) -> bytes:
    octets = [number & 0x7F]
    while number := number >> 7:
        octets.append(number & 0x7F | _LONG)
    return bytes(reversed(octets))


def decode_oid(content: bytes) -> str:
    """The dotted form; raises ValueError if it ends within a number."""
    if not content or content[-1] & _LONG:
        raise ValueError("an object identifier that is cut short")
    numbers, number = [], 0
    for octet in content:
        number = number << 7 | octet & 0x7F
        if not octet & _LONG:
            numbers.append(number)
            number = 0
    first = min(numbers[0] // 40, 2)
    return ".".join(map(str, (first, numbers[0] - 40 * first, *numbers[1:])))
