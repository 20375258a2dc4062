"""The dashboard: ``python app`` from the project's folder, with any option of ``streamlit run``.

The packages that take seconds to import are imported while the server starts and the browser loads the page, and not
when the first page is asked for.
"""

from __future__ import annotations

import sys
import threading
from importlib import import_module
from pathlib import Path

from streamlit.web import cli

SLOW = ("torch", "timm", "analysis.checkpoints", "analysis.views", "matplotlib.figure", "analysis.figures.attention")

LOCAL = ("--server.address", "127.0.0.1")  # unless a later option says otherwise


def _import() -> None:
    for name in SLOW:
        import_module(name)


if __name__ == "__main__":
    threading.Thread(target=_import, daemon=True).start()
    sys.argv = ["streamlit", "run", str(Path(__file__).with_name("main.py")), *LOCAL, *sys.argv[1:]]
    sys.exit(cli.main())
