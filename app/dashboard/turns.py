"""A lock for what only one session may do at a time."""

from __future__ import annotations

import threading
from collections import deque
from types import TracebackType


class InTurn:
    """A lock that threads get in the order in which they asked.

    ``threading.Lock`` goes to whichever thread runs when it is released, mostly to the one that releases it: a session
    that draws one figure after another pushes in before those that wait.
    """

    def __init__(self) -> None:
        self._turns: deque[threading.Lock] = deque()  # that of the thread inside first; the others are taken
        self._changing = threading.Lock()

    def __enter__(self) -> None:
        turn = threading.Lock()
        turn.acquire()
        with self._changing:
            self._turns.append(turn)
            if len(self._turns) == 1:
                turn.release()
        turn.acquire()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        with self._changing:
            self._turns.popleft()
            if self._turns:
                self._turns[0].release()

    def __len__(self) -> int:
        """How many are inside or wait."""
        return len(self._turns)
