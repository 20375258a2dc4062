"""The packages that take seconds to import, imported while the server starts and the browser loads the page.

Frozen, their half a million objects are left out when garbage is collected, which takes up to a second otherwise, in
which no session runs; what pages make is not.
"""

from __future__ import annotations

import gc
import threading
from importlib import import_module

SLOW = ("torch", "timm", "analysis.checkpoints", "analysis.views", "matplotlib.figure", "analysis.figures.attention")
#: Set once they are there.
READY = threading.Event()
_begun = threading.Lock()


def start() -> None:
    """Import them in a thread of their own; only the first call does."""
    if _begun.acquire(blocking=False):
        threading.Thread(target=_import, daemon=True).start()


def _import() -> None:
    for name in SLOW:
        import_module(name)
    gc.freeze()
    READY.set()
