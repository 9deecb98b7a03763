"""Message windows of both sides (RFC 7296 section 2.3)."""

from __future__ import annotations

from random import Random

import pytest

from ikeclone.ike.window import Arrival, RequestWindow, ResponseWindow


def answer(window: ResponseWindow, message_id: int) -> None:
    window.received(message_id)
    window.answered(message_id, (b"%d" % message_id,))


def test_one_at_a_time_in_order() -> None:
    window = ResponseWindow()
    assert [window.arrival(i) for i in (0, 1)] == [Arrival.NEW, Arrival.OUTSIDE]
    answer(window, 0)
    assert [window.arrival(i) for i in (0, 1, 2)] == [Arrival.REPEATED, Arrival.NEW, Arrival.OUTSIDE]
    answer(window, 1)
    assert window.arrival(0) is Arrival.OUTSIDE
    assert window.answer(1) == (b"1",)


def test_a_window_takes_requests_in_any_order_but_never_beyond_the_first_missing() -> None:
    window = ResponseWindow(size=4)
    for i in (3, 1, 2):
        assert window.arrival(i) is Arrival.NEW
        answer(window, i)
    assert [window.arrival(i) for i in range(5)] == [Arrival.NEW, *[Arrival.REPEATED] * 3, Arrival.OUTSIDE]
    answer(window, 0)
    assert [window.arrival(i) for i in (4, 7, 8)] == [Arrival.NEW, Arrival.NEW, Arrival.OUTSIDE]


@pytest.mark.parametrize("size", [1, 2, 5, 32])
def test_every_request_is_answered_once_and_few_answers_are_kept(size: int) -> None:
    """A sender that keeps to the window, on a network that delays, repeats and loses."""
    chance, window = Random(size), ResponseWindow(size=size)
    sender: RequestWindow[int] = RequestWindow(size=size)
    done: list[int] = []
    for _ in range(5000):
        if sender.has_room:
            sender.sent(sender.next_id, (), (b"",), 0.0)
        message_id = chance.choice(list(sender.outstanding))
        match window.arrival(message_id):
            case Arrival.NEW:
                answer(window, message_id)
                done.append(message_id)
            case Arrival.REPEATED:
                assert window.answer(message_id) == (b"%d" % message_id,)
            case Arrival.OUTSIDE:
                pytest.fail("a request within the sender's window is refused")
        if chance.random() < 0.5:
            sender.answered(message_id)
        assert len(window._answers) <= 2 * size
    assert len(set(done)) == len(done) > 2000
