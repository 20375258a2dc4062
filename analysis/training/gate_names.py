"""Which scalar of someone else's training is which column of a ``history``: by the words of its name alone.

Public DANets call both gates ``gamma`` (junfu1115, mmsegmentation) or ``alpha`` (pytorchcv), so a word for the path
decides first: ``head.sa.gamma``, ``decode_head.cam.gamma.scale``, ``branch_ca.att.scale.alpha``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from analysis.errors import AnalysisError

_PATHS = {
    "alpha": {"sa", "pam", "pa", "position", "positional", "spatial"},
    "beta": {"sc", "cam", "ca", "channel"},
}
_GATES = {"alpha", "beta", "gamma", "gate"}
_KINDS = {"grad": "_grad", "gradient": "_grad", "contribution": "_contribution"}
_DROPPED = {"scale", "value", "data", "weight"}  # after the gate's own name: pam.gamma.scale
_OTHERS = {
    "optimizer",
    "optim",
    "adam",
    "adamw",
    "loss",
    "mixup",
    "focal",
    "lr",
    "hparams",
}  # have alphas and betas too
_LOGGED = {
    "loss": {"loss", "total_loss", "loss_total", "train_loss", "loss_train"},
    "learning_rate": {"lr", "learning_rate", "base_lr", "train_lr"},
    "epoch": {"epoch"},
}
_EVALUATION = {"val", "valid", "validation", "test", "eval", "evaluation"}


def gate_column(name: str) -> str | None:
    """The column of a scalar: alpha, beta, alpha_grad, beta_contribution, ...; None where it is no gate's.

    >>> gate_column("decode_head.cam.gamma.scale"), gate_column("gates/alpha_grad"), gate_column("gamma")
    ('beta', 'alpha_grad', None)
    """
    parts = [_words(part) for part in re.split(r"[./]", name) if part]
    while parts and parts[-1] <= _DROPPED:
        parts.pop()
    every: set[str] = set().union(*parts)
    last = parts[-1] if parts else set()
    paths = [column for column, words in _PATHS.items() if every & words]
    strange = last - _GATES - _KINDS.keys() - _PATHS["alpha"] - _PATHS["beta"]
    if strange or every & _OTHERS or not last & _GATES:
        return None
    columns = paths or [column for column in _PATHS if column in last]
    kind = next((_KINDS[word] for word in last if word in _KINDS), "")
    return columns[0] + kind if len(columns) == 1 else None


def gate_names(names: Iterable[str], where: object) -> dict[str, str]:
    """Column to name for the gates among ``names``. A name that says its path beats a bare alpha or beta.

    AnalysisError where two are equally good.
    """
    found: dict[str, list[str]] = {}
    for name in names:
        if column := gate_column(name):
            found.setdefault(column, []).append(name)
    for column, candidates in found.items():
        path = _PATHS[column.split("_")[0]]
        found[column] = sure = [name for name in candidates if _words(name) & path] or candidates
        if len(sure) > 1:
            raise AnalysisError(f"{where}: {' and '.join(sure[:4])} could each be {column}; keep the one that is")
    return {column: names[0] for column, names in found.items()}


def logged_tags(tags: Iterable[str]) -> dict[str, list[str]]:
    """The tags that could be loss, learning_rate or epoch of the training, not of an evaluation; those under train/
    where there are such.
    """
    found: dict[str, list[str]] = {}
    for tag in tags:
        name = tag.lower().rpartition("/")[2]
        column = next((column for column, names in _LOGGED.items() if name in names), None)
        if column and not _words(tag) & _EVALUATION:
            found.setdefault(column, []).append(tag)
    return {column: [tag for tag in tags if tag.lower().startswith("train")] or tags for column, tags in found.items()}


def _words(name: str) -> set[str]:
    return set(re.split(r"[./_\- ]+", name.lower()))
