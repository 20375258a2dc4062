"""Page: where pixels look, and who looks at them (DANet's position attention)."""

from dashboard import frame, rows

frame.of_photograph("Position attention", rows.show, frame.needs_position)
