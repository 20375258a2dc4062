"""Do the gates grow, and does the model come to rely on them (Fu et al., sections 3.2 and 3.3)?

found = gates(checkpoint, dataset)
found["gates"]          mIoU with each gate at 0, and what each path adds; image by image
found["movements"]      one row a gate of the training's history: when it left, and where it settled
gates_of_series(folder, dataset)        the same at every checkpoint of a training
reliance(found["gates"])                mIoU with gates at 0, step by step
gates_grow(found["gates"], found["movements"]), complementary(found["gates"])       the claims

A gate at 0 is an intervention at test time: it shows what the trained model relies on, not what training with that path
brought. That needs trainings without it, of which the rows ``none`` are kept too.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import pandas as pd
from torch import Tensor

from analysis.checkpoints import Checkpoint, checkpoint_files, open_checkpoint
from analysis.datasets.sample import Dataset, Sample
from analysis.errors import AnalysisError
from analysis.measures import relative_contribution
from analysis.models import DualAttention
from analysis.models import gates as gates_of
from analysis.models.dual_attention import GATED_PATHS, attentions, permuted_gates
from analysis.store import Tables, joined, read_table
from analysis.studies.dual_paths import Paths, dual_model, run_paths
from analysis.studies.gates.claims import ZEROED, gates_grow
from analysis.studies.gates.complementary import complementary
from analysis.studies.gates.movements import movements
from analysis.studies.miou import confusion_rows, miou
from analysis.studies.study import Result, Rows, run

__all__ = ["Gates", "complementary", "gates", "gates_grow", "gates_of_series", "movements", "reliance"]


def gates(checkpoint: Checkpoint, dataset: Dataset, out: Path | None = None) -> Result:
    """Tables ``gates`` and, where the run's history lies beside the checkpoint and has gates, ``movements``.

    ``gates``: a row an image and ``zeroed`` (none, alpha, beta, both; alpha_permuted, beta_permuted, both_permuted), as
    far as the model has these gates; of a model without any, as it is comparable with others, ``none``. Columns
    ``step`` (of the checkpoint; missing where it does not say), of each gate its value and ``<gate>_contribution``
    (relative, before anything is at 0), and the intersections and unions of every class with those gates at 0.
    AnalysisError: no DANet; a data set without labels or with other classes.
    """
    history = checkpoint.home / "history.parquet"
    moved = movements(read_table(history)) if gates_of(checkpoint.model) and history.is_file() else None
    result = run(Gates(checkpoint, dataset), checkpoint, dataset, out)
    return result if moved is None else result.plus({"movements": moved})


def gates_of_series(folder: Path, dataset: Dataset, out: Path | None = None, device: str = "cpu") -> Result:
    """:func:`gates` of every checkpoint of a run or demo directory, in one table ``gates``; told apart by ``step``."""
    results = [gates(open_checkpoint(file, device), dataset, out) for file in checkpoint_files(folder)]
    table = joined([result.sources["gates"] for result in results])
    return Result(Tables({**results[-1].sources, "gates": table}))


def reliance(gates: pd.DataFrame) -> pd.DataFrame:
    """mIoU (0..1) by ``step`` and ``zeroed`` over all images of a table ``gates`` of one training.

    AnalysisError: a checkpoint that does not say its step.
    """
    if gates["step"].isna().any():
        raise AnalysisError("a checkpoint of this training does not say its step: give those that training wrote")
    rows = [
        {**mine.iloc[0][["step", "zeroed"]].to_dict(), "miou": float(miou(mine, np.ones((1, len(mine))))[0])}
        for _, mine in gates.groupby(["step", "zeroed"], sort=False)
    ]
    return pd.DataFrame(rows).sort_values("step", kind="stable", ignore_index=True)


@dataclass(frozen=True, eq=False)
class Gates:
    """The study behind :func:`gates`. One forward an image: what lies behind the gates is computed again for each."""

    checkpoint: Checkpoint
    dataset: Dataset
    name: ClassVar[str] = "gates"

    def __post_init__(self) -> None:
        dual_model(self.checkpoint.model)

    def rows(self, sample: Sample) -> Rows:
        """The table of one image."""
        if sample.label is None:
            where = f"{self.dataset.name} {self.dataset.split}: {sample.name}"
            raise AnalysisError(f"{where} has no label; IoU with a gate at 0 needs a labelled split")
        model = dual_model(self.checkpoint.model)
        names = tuple(f"{path}.{tap}" for path in attentions(model) for tap in ("attended", "features"))
        seen = run_paths(model, sample.image, names)
        head = {"image": sample.name, "step": self.checkpoint.origin.get("step"), **_added(model, seen)}
        ends = {name: _end(seen, name) for name in GATED_PATHS if name in head}
        rows = []
        for zeroed, which in ZEROED.items():
            if which <= ends.keys():
                paths = {GATED_PATHS[name]: ends[name] for name in which}
                prediction = seen.predicted(**paths) if which else seen.prediction
                counts = confusion_rows(prediction, sample.label, self.dataset.classes)
                rows.append({**head, "zeroed": zeroed, **counts})
        return {"gates": pd.DataFrame(rows)}


def _added(model: DualAttention, seen: Paths) -> dict[str, object]:
    """Of every gate its value and relative contribution."""
    columns: dict[str, object] = {}
    for name, gate in (gates_of(model) | permuted_gates(model)).items():
        attended, features = (seen.taps[f"{GATED_PATHS[name]}.{tap}"] for tap in ("attended", "features"))
        columns[name] = gate.item()
        columns[f"{name}_contribution"] = relative_contribution(gate.detach(), attended, features).item()
    return columns


def _end(seen: Paths, gate: str) -> Tensor:
    """How the gate's path ends with the gate at 0."""
    path = GATED_PATHS[gate]
    return seen.end(path, seen.taps[f"{path}.attended"], "permuted_gate" if gate.endswith("_permuted") else "gate")
