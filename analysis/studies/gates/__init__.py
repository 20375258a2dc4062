"""Do the gates grow, and does the model come to rely on them (Fu et al., sections 3.2 and 3.3)?

movements(history)                      one row a training and gate: when it left its first band, where it settled
zeroed = gates(checkpoint, dataset)     mIoU with alpha, beta or both at 0, and what each path adds; image by image
series = gates_of_series(folder, dataset)                           the same at every checkpoint of a training
gates_grow(zeroed["gates"]), complementary(zeroed["gates"])         the claims

A gate at 0 is an intervention at test time: it shows what the trained model relies on, not what training with that path
brought. That needs trainings without it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import pandas as pd

from analysis.checkpoints import Checkpoint, checkpoint_files, open_checkpoint
from analysis.datasets.sample import Dataset, Sample
from analysis.errors import AnalysisError
from analysis.measures import relative_contribution
from analysis.models import gates as gates_of
from analysis.models.dual_attention import GATED_PATHS
from analysis.studies.dual_paths import dual_model, run_paths
from analysis.studies.gates.claims import ZEROED, complementary, gates_grow
from analysis.studies.gates.movements import movements
from analysis.studies.miou import confusion_rows
from analysis.studies.study import Result, Rows, run

__all__ = ["Gates", "complementary", "gates", "gates_grow", "gates_of_series", "movements"]


def gates(checkpoint: Checkpoint, dataset: Dataset, out: Path | None = None) -> Result:
    """Table ``gates``: a row an image and ``zeroed`` (none, alpha, beta, both), as far as the model has the gates.

    Columns ``step`` (of the checkpoint; missing where it does not say), ``alpha``, ``beta`` and
    ``alpha_contribution``, ``beta_contribution`` (relative, of the row ``none``), and the intersections and unions of
    every class with those gates at 0. AnalysisError: no gate; a data set without labels or with other classes.
    """
    return run(Gates(checkpoint, dataset), checkpoint, dataset, out)


def gates_of_series(folder: Path, dataset: Dataset, out: Path | None = None) -> Result:
    """:func:`gates` of every checkpoint of a run or demo directory, in one table; parts in a folder for each."""
    tables = []
    for file in checkpoint_files(folder):
        tables.append(gates(open_checkpoint(file), dataset, out and out / file.stem)["gates"])
    return Result({"gates": pd.concat(tables, ignore_index=True)})


@dataclass(frozen=True, eq=False)
class Gates:
    """The study behind :func:`gates`. One forward an image: what lies behind the gates is computed again for each."""

    checkpoint: Checkpoint
    dataset: Dataset
    name: ClassVar[str] = "gates"

    def __post_init__(self) -> None:
        model, n = dual_model(self.checkpoint.model), len(self.dataset.classes)
        if not gates_of(model):
            raise AnalysisError(
                "this model has neither alpha nor beta: open a DANet with position or channel attention"
            )
        if model.spec.classes != n:
            raise AnalysisError(
                f"the model has {model.spec.classes} classes and data set {self.dataset.name} {n}; give its own"
            )

    def rows(self, sample: Sample) -> Rows:
        """The table of one image."""
        if sample.label is None:
            where = f"{self.dataset.name} {self.dataset.split}: {sample.name}"
            raise AnalysisError(f"{where} has no label; IoU with a gate at 0 needs a labelled split")
        model = dual_model(self.checkpoint.model)
        paths = {GATED_PATHS[name]: (name, gate) for name, gate in gates_of(model).items()}
        names = tuple(f"{path}.{tap}" for path in paths for tap in ("attended", "features"))
        seen = run_paths(model, sample.image, names)
        head: dict[str, object] = {"image": sample.name, "step": self.checkpoint.origin.get("step")}
        for path, (name, gate) in paths.items():
            added = relative_contribution(gate.detach(), seen.taps[f"{path}.attended"], seen.taps[f"{path}.features"])
            head |= {name: gate.item(), f"{name}_contribution": added.item()}
        rows = []
        for zeroed, which in ZEROED.items():
            if which <= {name for name, _ in paths.values()}:
                ends = {path: seen.taps[f"{path}.features"] for path, (name, _) in paths.items() if name in which}
                prediction = seen.predicted(**ends) if ends else seen.prediction
                rows.append(
                    {**head, "zeroed": zeroed, **confusion_rows(prediction, sample.label, self.dataset.classes)}
                )
        return {"gates": pd.DataFrame(rows)}
