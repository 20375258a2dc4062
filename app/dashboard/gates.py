"""Page: the gates of one training."""

from dashboard import curves
from dashboard.shown import errors_in_one_line, footer
from dashboard.sidebar import choose_checkpoint

with errors_in_one_line():
    checkpoint = choose_checkpoint()
    with errors_in_one_line():
        curves.show(checkpoint)
    footer(checkpoint)
