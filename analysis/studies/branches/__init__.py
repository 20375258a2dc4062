"""What each branch of Attention to Scale is worth, and how alike the branches are (Chen et al., sections 3.2, 3.3).

result = branches(open_checkpoint("runs/scale"), open_dataset("camvid", "blocks-odd"))
result["fusions"]           mIoU of each branch alone, of the trained fusion, of average and of max
result["similarity"]        debiased CKA between branches, trained and untrained
"""

from analysis.studies.branches.claims import (
    attention_fusion,
    discriminative_branches,
    distinct_scales,
    extra_supervision,
    scale_told,
)
from analysis.studies.branches.study import Branches, branches

__all__ = [
    "Branches",
    "attention_fusion",
    "branches",
    "discriminative_branches",
    "distinct_scales",
    "extra_supervision",
    "scale_told",
]
