"""The simplest study, on tiny made images, for tests of the frame; as a program it runs in a process of its own:

python tests/brightness_study.py OUT IMAGES PAUSE    prints the most memory it took, in MiB
"""

import dataclasses
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd

from analysis.checkpoints import Checkpoint, open_checkpoint
from analysis.datasets.sample import Dataset, Item, Sample
from analysis.errors import AnalysisError
from analysis.studies.study import Result, Rows, run

DEMO = Path(__file__).parents[1] / "data" / "demo" / "shapes-scale"
ROWS = 2000


@dataclasses.dataclass(frozen=True)
class Brightness:
    """Many rows an image in one table; in the other a row for every third image only, with a type that varies."""

    threshold: float = 0.5
    pause: float = 0.0
    broken: str = ""

    @property
    def name(self) -> str:
        return "brightness"

    def rows(self, sample: Sample) -> Rows:
        if sample.name == self.broken:
            raise AnalysisError(f"{sample.name} is broken")
        time.sleep(self.pause)
        number = int(sample.name)
        grey = np.resize(sample.image.mean(-1).ravel(), ROWS)
        pixels = pd.DataFrame({"image": sample.name, "pixel": np.arange(ROWS), "grey": grey, "above": grey > 128})
        few = pd.DataFrame({"image": [sample.name], "value": [number if number % 2 else number + self.threshold]})
        return {"pixels": pixels, "few": few.head(int(number % 3 == 0))}


def _read(dataset: Dataset, item: Item) -> Sample:
    number = int(item.name)
    image = np.random.default_rng(number).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    return Sample(item.name, image, np.zeros((32, 32), np.uint8), "", f"block {number // 10}", None, dataset.things)


def tiny_dataset(n: int, split: str = "val") -> Dataset:
    items = tuple(Item(f"{i:05d}") for i in range(n))
    return Dataset("tiny", split, tuple("abcde"), frozenset(), np.zeros((5, 3), np.uint8), items, _read)


def demo() -> Checkpoint:
    return open_checkpoint(DEMO)


def measure(out: Path | None, n: int, threshold: float = 0.5, pause: float = 0.0, broken: str = "") -> Result:
    return run(Brightness(threshold, pause, broken), demo(), tiny_dataset(n), out)


if __name__ == "__main__":
    folder, images, seconds = Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
    measure(folder, images, pause=seconds).summary("select sum(grey) from pixels")
    # Not getrusage: it counts the process that this one was forked from as well.
    print(int(Path("/proc/self/status").read_text(encoding="ascii").partition("VmHWM:")[2].split()[0]) / 1024)
