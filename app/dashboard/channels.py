"""Page: which channels DANet's channel attention relates, and what depends on them."""

from dashboard import affinity, frame

frame.of_photograph("Channel attention", affinity.show, frame.needs_channel)
