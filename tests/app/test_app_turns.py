"""A lock that nobody can push in front of."""

from __future__ import annotations

import threading
import time

import pytest
from dashboard.turns import InTurn


def wait_for(turns: InTurn, number: int) -> None:
    """Until so many are inside or wait."""
    deadline = time.monotonic() + 30
    while len(turns) < number:
        assert time.monotonic() < deadline
        time.sleep(0.001)


def test_the_lock_is_got_in_the_order_of_asking() -> None:
    turns, order = InTurn(), []

    def take(number: int) -> None:
        with turns:
            order.append(number)

    threads = [threading.Thread(target=take, args=(number,)) for number in range(8)]
    with turns:
        for number, thread in enumerate(threads):
            thread.start()
            wait_for(turns, number + 2)
        assert not order
    for thread in threads:
        thread.join(30)
    assert order == list(range(8))


def test_who_takes_it_again_at_once_comes_behind_those_who_wait() -> None:
    turns, order = InTurn(), []

    def take() -> None:
        with turns:
            order.append("other")

    other = threading.Thread(target=take)
    with turns:
        other.start()
        wait_for(turns, 2)
    with turns:
        order.append("again")
    other.join(30)
    assert order == ["other", "again"]


def test_an_error_inside_gives_the_lock_back() -> None:
    turns = InTurn()
    with pytest.raises(ZeroDivisionError), turns:
        1 / 0  # noqa: B018
    assert len(turns) == 0
    with turns:
        assert len(turns) == 1
