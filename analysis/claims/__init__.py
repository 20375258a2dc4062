"""The claims: sentences of the papers, what measures them, and their verdicts (DESIGN 6).

    result = claims([open_checkpoint(path) for path in runs], "camvid:../shared/camvid", "blocks", Path("runs/claims"))
    result["claims"]

Studies measure (:mod:`analysis.studies`) and :mod:`analysis.statistics` turns intervals into words; here the two are
brought together: which checkpoint is measured on which images, which are seeds of one recipe, and what is said where a
claim cannot be tested.
"""

from analysis.claims.sentences import CLAIMS, STUDIES, Claim, chosen, find_study
from analysis.claims.testing import Given, claims, held_out, measured_on, together, write_result
from analysis.claims.verdicts import headlines

__all__ = [
    "CLAIMS",
    "STUDIES",
    "Claim",
    "Given",
    "chosen",
    "claims",
    "find_study",
    "headlines",
    "held_out",
    "measured_on",
    "together",
    "write_result",
]
