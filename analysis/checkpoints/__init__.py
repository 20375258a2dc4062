"""Open and save checkpoints: this project's safetensors, and those of the public codes, whoever made them.

checkpoint = open_checkpoint("data/demo/camvid-scale")
checkpoint.model, checkpoint.spec, checkpoint.classes, checkpoint.provenance
"""

from analysis.checkpoints.opening import SUFFIXES, Checkpoint, checkpoint_files, open_checkpoint
from analysis.checkpoints.saving import save_checkpoint

__all__ = ["SUFFIXES", "Checkpoint", "checkpoint_files", "open_checkpoint", "save_checkpoint"]
