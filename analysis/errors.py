"""The one exception a user is meant to read: one line that says what was wrong, where, and what to do."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class AnalysisError(ValueError):
    """Bad input of any kind. The command line prints it as one line and exits with status 2."""


def closest(word: str, known: Iterable[str], n: int = 3) -> str:
    """``"; closest: a, b"`` for the known names nearest to ``word``, or all of them where none is near and few are."""
    names = sorted(set(known))
    near = difflib.get_close_matches(word, names, n=n, cutoff=0.4)
    if near:
        return f"; closest: {', '.join(near)}"
    return f"; known: {', '.join(names)}" if 0 < len(names) <= 20 else ""
