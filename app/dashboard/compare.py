"""Page: two checkpoints, or two forms of one, on the same photograph."""

from dashboard import frame, two

frame.of_photograph("Compare", two.show)
