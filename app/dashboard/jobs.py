"""Testing the claims takes minutes to hours: it runs as a process of its own, which all sessions see and can cancel.

What it has measured stays on disk in parts, so that a cancelled job goes on from there when it is started again.
"""

from __future__ import annotations

import re
import subprocess
import sys
import threading
from dataclasses import dataclass
from pathlib import Path

import streamlit as st

from analysis.errors import AnalysisError

RESULTS = Path("runs/claims")
_LOG = "log.txt"
_STARTING = threading.Lock()


@dataclass(frozen=True, eq=False)
class Job:
    """A process that writes into ``out``."""

    process: subprocess.Popen[bytes]
    out: Path

    @property
    def running(self) -> bool:
        """Whether it is still at work."""
        return self.process.poll() is None

    @property
    def log(self) -> str:
        """The end of what it has printed."""
        file = self.out / _LOG
        if not file.exists():
            return ""
        with file.open("rb") as stream:
            stream.seek(max(0, file.stat().st_size - 4000))
            return stream.read().decode("utf-8", "replace")

    @property
    def progress(self) -> tuple[float, str]:
        """The share of the bar that moved last, and what it says."""
        bars = re.findall(r"([^\r\n]*?)(\d{1,3})%\|[^|]*\|([^\r\n]*)", self.log)
        if not bars:
            return 0.0, "starting"
        name, share, rest = bars[-1]
        return min(100, int(share)) / 100, f"{name.strip(': ')} {rest.strip()}"

    @property
    def failure(self) -> str:
        """Why it ended without a result; empty where it runs, ended well, or was cancelled."""
        if self.running or self.process.returncode <= 0:
            return ""
        lines = [line for line in re.split(r"[\r\n]+", self.log) if line.strip()]
        return lines[-1] if lines else f"it ended with status {self.process.returncode}"

    def cancel(self) -> None:
        """End it; its parts stay."""
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


@st.cache_resource
def _jobs() -> dict[Path, Job]:
    return {}


def job_of(out: Path) -> Job | None:
    """The last one of this server that writes there."""
    return _jobs().get(out)


def start(checkpoint: Path, data: str, split: str, out: Path) -> Job:
    """Test the claims on a checkpoint. AnalysisError: another job is at work."""
    with _STARTING:
        busy = next((job for job in _jobs().values() if job.running), None)
        if busy is not None:
            raise AnalysisError(f"claims are being tested into {busy.out}; wait for that, or cancel it")
        out.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "analysis", "claims", str(checkpoint)]
        options = ["--data", data, "--split", split, "--out", str(out)]
        with (out / _LOG).open("wb") as log:
            process = subprocess.Popen([*command, *options], stdout=log, stderr=subprocess.STDOUT)
        job = _jobs()[out] = Job(process, out)
        return job
