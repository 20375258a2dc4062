"""Does attention point where the prediction comes from? Attention maps beside attributions of region scores.

    result = attribution(open_checkpoint("data/demo/shapes-scale"), open_dataset("shapes", "val"))
    result["attribution"]       agreement of each attention map with each attribution; deletion and insertion
    result["randomisation"]     what is left of a map when the weights are re-drawn

It decides no claim: attributions are explanations too, and may be wrong. captum computes them.
"""

from analysis.studies.attribution.study import Attribution, attribution

__all__ = ["Attribution", "attribution"]
