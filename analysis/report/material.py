"""What a report is made of: the tables that were measured, and the checkpoints and images they were measured on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import pandas as pd

from analysis.claims import Claim, Given, headlines
from analysis.claims.sentences import Kind
from analysis.studies.pairing import family
from analysis.studies.study import Result


@dataclass(frozen=True, eq=False)
class Material:
    """``result`` of :func:`analysis.claims.claims` on what is ``given``."""

    given: Sequence[Given]
    result: Result

    @cached_property
    def claims(self) -> pd.DataFrame:
        """The table ``claims``."""
        return self.result["claims"]

    @cached_property
    def headlines(self) -> pd.DataFrame:
        """One row a sentence and recipe, without further measures."""
        return headlines(self.claims[~self.claims["claim"].str.contains(":")])

    def table(self, name: str) -> pd.DataFrame | None:
        """A table of a study; None where it measured nothing."""
        return self.result[name] if name in self.result.tables else None

    def recipes(self, kind: Kind) -> Iterator[tuple[str, list[Given]]]:
        """Every recipe of one of the papers' models, with what follows a figure's name, and its checkpoints."""
        fitting = [one for one in self.given if one.kind == kind]
        names = list(dict.fromkeys(one.identity["recipe"] for one in fitting))
        for i, name in enumerate(names, 1):
            yield f"-{i}" if len(names) > 1 else "", [one for one in fitting if one.identity["recipe"] == name]

    def main_rows(self, claim: Claim) -> pd.DataFrame:
        """The rows of a claim's own measure, without those beside it."""
        return self.claims[self.claims["claim"] == claim.name]


def named(given: Sequence[Given]) -> str:
    """A recipe and its number of trainings, for captions."""
    return f"{family(given[0].identity['recipe'])} ({numbered(len(given), 'checkpoint')})"


def counts_of(rows: pd.DataFrame) -> str:
    """``n_objects``, ``n_blocks`` and ``n_seeds`` of a table in words, the most of each."""
    parts = (("n_objects", "object"), ("n_blocks", "block"), ("n_seeds", "seed"))
    most = [(int(rows[column].max()), word) for column, word in parts if column in rows]
    return ", ".join(numbered(n, word) for n, word in most)


def numbered(n: int, word: str) -> str:
    """``1 block``, ``2 blocks``."""
    return f"{n:,} {word}{'s' * (n != 1)}"
