"""Page: what is in a checkpoint's file, whether or not its model can be opened."""

from dashboard import inside
from dashboard.opened import inspected
from dashboard.shown import errors_in_one_line
from dashboard.sidebar import choose_file

with errors_in_one_line():
    inside.show(inspected(choose_file()))
