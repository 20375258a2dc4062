"""The one exception a user is meant to read: one line that says what was wrong, where, and what to do."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

_LONGEST = 900


class AnalysisError(ValueError):
    """Bad input of any kind. The command line prints it as one line and exits with status 2.

    Messages quote names from files, so what does not print is replaced and what is endless is cut.
    """

    def __init__(self, message: str) -> None:
        line = "".join(c if c.isprintable() else "?" for c in " ".join(message.split()))
        super().__init__(line if len(line) <= _LONGEST else f"{line[: _LONGEST - 3]}...")


def closest(word: str, known: Iterable[str], n: int = 3) -> str:
    """``"; closest: a, b"`` for the known names nearest to ``word``, or all of them where none is near and few are."""
    names = sorted(set(known))
    near = difflib.get_close_matches(word, names, n=n, cutoff=0.4)
    if near:
        return f"; closest: {', '.join(near)}"
    return f"; known: {', '.join(names)}" if 0 < len(names) <= 20 else ""
