"""The command line: ``attention-analysis COMMAND``, also ``python -m analysis COMMAND``.

Every command is a function; its parameters are its flags. Bad input ends in one line and exit status 2.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Any

import tyro

from analysis.cli.checkpoints import convert, history, inspect, publish
from analysis.cli.data import data_check, data_fetch
from analysis.cli.evaluation import evaluate, look
from analysis.cli.published import checkpoints_fetch, checkpoints_list
from analysis.cli.report import report
from analysis.cli.studies import claims, study
from analysis.errors import AnalysisError, closest

PROGRAM = "attention-analysis"
COMMANDS: dict[str, Callable[..., Any]] = {
    "evaluate": evaluate,
    "look": look,
    "study": study,
    "claims": claims,
    "report": report,
    "data fetch": data_fetch,
    "data check": data_check,
    "inspect": inspect,
    "convert": convert,
    "history": history,
    "publish": publish,
    "checkpoints list": checkpoints_list,
    "checkpoints fetch": checkpoints_fetch,
}
#: First words of commands of two words.
GROUPS = {name.split()[0] for name in COMMANDS if " " in name}


def main(argv: list[str] | None = None) -> int:
    """Run one command; returns the exit status."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        return _dispatch(arguments)
    except AnalysisError as error:
        print(f"{PROGRAM}: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:  # the reader, head say, has had enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt:
        hints = {"train": "; the same command with --resume goes on"}
        hints |= dict.fromkeys(("study", "claims", "report"), "; the same command goes on")
        hint = hints.get(next(iter(arguments), ""), "")
        print(f"\n{PROGRAM}: interrupted{hint}", file=sys.stderr)
        return 130


def _dispatch(arguments: list[str]) -> int:
    if not arguments or arguments[0] in ("-h", "--help"):
        print(_overview())
        return 0 if arguments else 2
    if arguments[0] == "train":
        from analysis.training.command import run

        return run(PROGRAM, arguments[1:])
    group = arguments[0] in GROUPS
    if group and arguments[1:] in ([], ["-h"], ["--help"]):
        print(_overview(arguments[0]))
        return 0 if arguments[1:] else 2
    size = 2 if group else 1
    name = " ".join(arguments[:size])
    if name not in COMMANDS:
        raise AnalysisError(f"no command {name!r}{closest(name, [*COMMANDS, 'train'])}; see {PROGRAM} --help")
    tyro.cli(COMMANDS[name], args=arguments[size:], prog=f"{PROGRAM} {name}")
    return 0


def _overview(group: str = "") -> str:
    summaries = {"train": "Train a recipe; train --help lists them."}
    summaries |= {name: (function.__doc__ or "").splitlines()[0] for name, function in COMMANDS.items()}
    width = max(map(len, COMMANDS)) + 2
    lines = [f"  {name:{width}}{summary}" for name, summary in summaries.items() if name.startswith(group)]
    return "\n".join([f"usage: {PROGRAM} COMMAND ...   (each has --help)", "", "commands:", *lines])
