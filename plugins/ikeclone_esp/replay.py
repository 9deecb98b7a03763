"""The anti-replay window of an inbound SA (RFC 4303 section 3.4.3 and appendix A)."""

from __future__ import annotations


class ReplayWindow:
    """Which sequence numbers have been received: the highest one and a bit for each of the `size` numbers up to it.

    The bits are one integer: bit i stands for `top - i`. Numbers are 64 bits wide with ESN, else 32.
    """

    __slots__ = ("_bits", "_mask", "esn", "size", "top")

    def __init__(self, size: int, esn: bool = False) -> None:
        self.size, self.esn = size, esn
        self.top = 0
        self._bits = 1  # number 0 is never sent, so it counts as seen
        self._mask = (1 << size) - 1

    def infer(self, low: int) -> int:
        """The whole sequence number behind the 32 bits on the wire (RFC 4303 appendix A2.2).

        Of the candidates, it is the one that lies in the window or comes next after it.
        """
        if not self.esn:
            return low
        high, top_low = self.top >> 32, self.top & 0xFFFFFFFF
        bottom_low = (top_low - self.size + 1) & 0xFFFFFFFF
        if top_low >= self.size - 1:  # the window lies within one run of the low 32 bits
            return (high + (low < bottom_low)) << 32 | low
        return max(high - (low >= bottom_low), 0) << 32 | low

    def fresh(self, number: int) -> bool:
        """Whether a packet with this number may be authentic and new: to be asked before any decryption."""
        behind = self.top - number
        return behind < 0 or (behind < self.size and not self._bits >> behind & 1)

    def accept(self, number: int) -> None:
        """Note an authenticated packet."""
        self.accept_run(number, 1)

    def accept_run(self, first: int, count: int) -> None:
        """Note authenticated packets with the `count` consecutive numbers from `first`."""
        last = first + count - 1
        ones = (1 << count) - 1
        ahead = last - self.top
        if ahead <= 0:
            self._bits |= ones << -ahead & self._mask
            return
        kept = self._bits << ahead if ahead < self.size else 0
        self._bits = (kept | ones) & self._mask
        self.top = last
