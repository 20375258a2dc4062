"""The sentences that are tested, and which study measures each."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Literal

from pandas import DataFrame

from analysis.errors import AnalysisError, closest
from analysis.studies.measured import Measured
from analysis.studies.study import Result

#: Every study: the module of analysis.studies and the function in it have this name.
STUDIES = ("object_scale", "branches", "position_context", "channel_groups", "gates", "attribution")
#: Which paper's models.
Kind = Literal["scale", "dual"]


@dataclass(frozen=True)
class Claim:
    """A sentence, who says it, and the study and kind of model that it is tested with.

    ``smallest_effect``, in ``unit``, is that of its first measure; the study states those of the others.
    ``compares``: trainings of several recipes are needed.
    """

    name: str
    source: str
    sentence: str
    study: str
    model: Kind
    smallest_effect: float
    unit: str
    compares: bool = False

    def measure(self, tables: Mapping[str, DataFrame]) -> list[Measured]:
        """What the study's function measures; its parameters are named as the tables that it takes.

        AnalysisError: a table that it needs is not there, and whatever it raises.
        """
        function = getattr(import_module(f"analysis.studies.{self.study}"), self.name.replace("-", "_"))
        parameters = inspect.signature(function).parameters.values()
        missing = [one.name for one in parameters if one.name not in tables and one.default is one.empty]
        if missing:
            raise AnalysisError(f"the study {self.study} gave no table {missing[0]}: it found nothing to measure")
        return function(**{one.name: tables[one.name] for one in parameters if one.name in tables})


# fmt: off
CLAIMS = (
    Claim("small-objects", "Chen fig. 1, §4.1", "the 1.0x branch carries the weight on small objects",
          "object_scale", "scale", 0.05, "weight"),
    Claim("large-objects", "Chen §4.1", "the smallest branch carries the weight on large objects and background",
          "object_scale", "scale", 0.05, "weight"),
    Claim("weights-matter", "Chen §3.2, seed note 8.2", "the weights point at the branch that helps",
          "object_scale", "scale", 0.1, "rank correlation"),
    Claim("attention-fusion", "Chen tables 1, 3, 6", "attention beats average and max",
          "branches", "scale", 0.5, "points", compares=True),
    Claim("extra-supervision", "Chen §3.3", "1 + S losses are essential",
          "branches", "scale", 0.5, "points", compares=True),
    Claim("discriminative-branches", "Chen §3.3", "extra supervision makes each branch discriminative",
          "branches", "scale", 0.5, "points", compares=True),
    Claim("distinct-scales", "seed note item 7", "extra supervision makes the branches' maps differ",
          "branches", "scale", 0.05, "CKA", compares=True),
    Claim("same-class-context", "Fu §4.2.3", "a position attends to its own class, however far",
          "position_context", "dual", 0.05, "row mass"),
    Claim("class-channels", "Fu §3.3, user question", "channel attention relates channels of a class",
          "channel_groups", "dual", 0.05, "share of affinity"),
    Claim("bare-channels", "Fu §3.3, seed note", "a 1×1 convolution before channel attention spoils the relation",
          "channel_groups", "dual", 0.05, "share of affinity", compares=True),
    Claim("gates-grow", "Fu §3.2–3.3, user question", "α and β leave 0 and the model comes to rely on them",
          "gates", "dual", 1.0, "%"),
    Claim("complementary", "Fu table 1", "position and channel attention add up",
          "gates", "dual", 0.5, "points of IoU", compares=True),
)
# fmt: on


def chosen(names: Collection[str]) -> tuple[Claim, ...]:
    """The claims of these names, in the order of DESIGN 6; all where there are none. AnalysisError: a name of none."""
    known = [claim.name for claim in CLAIMS]
    for name in names:
        if name not in known:
            raise AnalysisError(f"there is no claim {name!r}{closest(name, known)}")
    return tuple(claim for claim in CLAIMS if claim.name in (names or known))


def find_study(name: str) -> Callable[..., Result]:
    """A study's function by its name. AnalysisError, with the closest names, where there is none."""
    if name not in STUDIES:
        raise AnalysisError(f"there is no study {name!r}{closest(name, STUDIES)}")
    return getattr(import_module(f"analysis.studies.{name}"), name)
