"""Page: how much each branch of Attention to Scale counts, where, and what follows from it."""

from analysis.models import ScaleSpec
from dashboard import forced, frame, objects, pictures, weights
from dashboard.pictures import Look


def show(look: Look) -> None:
    """Pictures, weights, what other weights would do, objects."""
    spec = look.checkpoint.spec
    assert isinstance(spec, ScaleSpec)
    pictures.show(look)
    weights.show(look)
    if spec.fusion == "attention":
        forced.show(look)
        objects.show(look)


frame.of_photograph("Scale weights", show, frame.needs_scales)
