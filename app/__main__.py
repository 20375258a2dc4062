"""The dashboard: ``python app`` from the project's folder, with any option of ``streamlit run``."""

from __future__ import annotations

import sys
from pathlib import Path

from dashboard import warm
from streamlit.web import cli

#: Unless a later option says otherwise: for this machine only; watching the modules of torch costs more than a restart;
#: and a collection of all garbage after every run of a page, each some tenths of a second, keeps all sessions waiting.
OPTIONS = (
    *("--server.address", "127.0.0.1", "--server.fileWatcherType", "none"),
    *("--runner.postScriptGC", "false"),
)

if __name__ == "__main__":
    warm.start()
    sys.argv = ["streamlit", "run", str(Path(__file__).with_name("main.py")), *OPTIONS, *sys.argv[1:]]
    sys.exit(cli.main())
