"""Does attention point where the prediction comes from? Attention maps beside attributions of region scores.

    result = attribution(open_checkpoint("data/demo/shapes-scale"), open_dataset("shapes", "val"))
    result["attribution"]       what was compared, a row each, with its control and interval; start here
    result["agreement"], result["curves"], result["ablation"], result["randomisation"]      object by object

It decides no claim: attributions are explanations too, and may be wrong. captum computes them.
"""

from analysis.studies.attribution.study import Attribution, attribution

__all__ = ["Attribution", "attribution"]
