"""The dashboard: ``python app`` from the project's folder, with any option of ``streamlit run``."""

from __future__ import annotations

import sys
from pathlib import Path

from dashboard import warm
from streamlit.web import cli

LOCAL = ("--server.address", "127.0.0.1")  # unless a later option says otherwise

if __name__ == "__main__":
    warm.start()
    sys.argv = ["streamlit", "run", str(Path(__file__).with_name("main.py")), *LOCAL, *sys.argv[1:]]
    sys.exit(cli.main())
