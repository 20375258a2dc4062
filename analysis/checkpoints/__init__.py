"""Open and save checkpoints: safetensors whose metadata rebuild the model.

checkpoint = open_checkpoint("data/demo/camvid-scale")
checkpoint.model, checkpoint.spec, checkpoint.classes, checkpoint.provenance
"""

from analysis.checkpoints.own import Checkpoint, checkpoint_files, open_checkpoint, save_checkpoint

__all__ = ["Checkpoint", "checkpoint_files", "open_checkpoint", "save_checkpoint"]
