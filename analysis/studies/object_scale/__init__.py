"""The study ``object_scale``: do the scale weights follow the size of objects? (Chen et al., fig. 1, section 4.1)"""

from analysis.studies.object_scale.whole import large_objects, object_scale, small_objects, weights_matter

__all__ = ["large_objects", "object_scale", "small_objects", "weights_matter"]
