"""CamVid in both layouts, and its blocks, on the real files."""

import itertools
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from analysis.datasets import open_dataset, splits
from analysis.datasets.camvid import BLOCK_SECONDS, RATE, SEAM_SECONDS, parse_frame
from analysis.errors import AnalysisError

from .shared import public_layout, shared


def camvid(split: str):  # noqa: ANN201
    return open_dataset(f"camvid:{shared('camvid')}", split)


@pytest.mark.slow
def test_every_real_image_loads() -> None:
    counts = np.zeros(256, np.int64)
    for split, n in (("train", 367), ("val", 101)):
        dataset = camvid(split)
        assert len(dataset) == n
        for i in range(n):
            sample = dataset[i]
            assert sample.image.shape == (360, 480, 3)
            assert sample.label is not None
            counts += np.bincount(sample.label.ravel(), minlength=256) * (split == "train")
            assert set(sample.objects.classes.tolist()) <= set(dataset.things)
    # What public code reports of the public train labels, class by class, void last.
    assert counts[:11].tolist() == [
        10682767, 14750079, 623349, 20076880, 2845085, 6166762, 743859, 714595, 3719877, 405385, 184967,
    ]  # fmt: skip
    assert counts[11:255].sum() == 0 and counts[255] == 2503995


def test_a_real_sample() -> None:
    dataset = camvid("val")
    sample = dataset[0]
    assert sample.name == "0016E5_07959" and sample.sequence == "0016E5"
    assert [dataset.classes[k] for k in sorted(dataset.things)] == [
        "Pole",
        "SignSymbol",
        "Car",
        "Pedestrian",
        "Bicyclist",
    ]
    assert sample.label is not None and 11 not in sample.label and 255 in sample.label
    assert dataset.palette.shape == (11, 3)


def test_blocks_hold_a_frame_a_second_far_from_the_next_block() -> None:
    whole = camvid("blocks")
    times: dict[str, list[tuple[float, str]]] = {}
    for item in whole.items:
        sequence, frame = parse_frame(item.name)
        times.setdefault(sequence, []).append((frame / RATE, item.block))
    for frames in times.values():
        assert frames == sorted(frames)
        for (t, block), (later, next_block) in itertools.pairwise(frames):
            assert later - t > 0.9
            assert block == next_block or later - t > SEAM_SECONDS + 0.9
        for name in {block for _, block in frames}:
            span = [t for t, block in frames if block == name]
            assert max(span) - min(span) < BLOCK_SECONDS


def test_blocks_of_the_real_data() -> None:
    """Counts a block on train and val; val's clip, at 15 a second, gives the frames nearest its whole seconds."""
    whole = camvid("blocks")
    counts = Counter(item.block for item in whole.items)
    assert counts == {
        **{f"0001TP/{k:02d}": n for k, n in enumerate((17, 17, 17, 2))},
        **{f"0006R0/{k:02d}": n for k, n in enumerate((17, 17, 17, 17, 17, 1))},
        **{f"0016E5/{k:02d}": n for k, n in enumerate((17, 17, 17, 8, 5, 17, 17, 17, 17, 17, 16, 16))},
    }
    names = {item.name for item in whole.items}
    assert sorted(names & {item.name for item in camvid("val").items}) == [
        f"0016E5_{frame:05d}" for frame in (7979, 8009, 8039, 8069)
    ]


def test_a_label_that_misses_its_second_by_a_frame_stands_for_it(tmp_path: Path) -> None:
    """As 0016E5_00901 does; one that misses by more, or a second label of the same second, is left out."""
    frames = ["0001TP_000030", "0001TP_000059", "0001TP_000061", "0001TP_000090", "0001TP_000105", "0001TP_000121"]
    root = public_layout(tmp_path, {"train": [*frames, "0001TP_000150"]})
    kept = [item.name[-3:] for item in open_dataset(f"camvid:{root}", "blocks").items]
    assert kept == ["030", "059", "090", "121", "150"]


def test_folds_share_no_block_and_make_the_whole() -> None:
    even, odd, whole = (camvid(split) for split in ("blocks-even", "blocks-odd", "blocks"))
    assert {item.name for item in even.items} | {item.name for item in odd.items} == {item.name for item in whole.items}
    assert not {item.block for item in even.items} & {item.block for item in odd.items}
    for fold in (even, odd):
        assert {item.sequence for item in fold.items} == {"0001TP", "0006R0", "0016E5"}
        assert len(fold) > 0.4 * len(whole)


def test_a_sample_has_the_same_block_in_every_split() -> None:
    blocks = {item.name: item.block for item in camvid("blocks").items}
    for split in ("train", "val"):
        for item in camvid(split).items:
            assert blocks.get(item.name, item.block) == item.block


def test_the_public_layout_is_the_same_data_set(tmp_path: Path) -> None:
    frames = {
        "train": [f"0001TP_{k:06d}" for k in range(6690, 8521, 30)],
        "val": [f"0016E5_{k:05d}" for k in range(7959, 7965, 2)],
        "test": [f"0001TP_{k:06d}" for k in range(8550, 10381, 30)] + [f"Seq05VD_f{k:05d}" for k in range(0, 5101, 30)],
    }
    root = public_layout(tmp_path, frames)
    assert splits(f"camvid:{root}") == ("train", "val", "test", "blocks", "blocks-even", "blocks-odd")
    for split, names in frames.items():
        dataset = open_dataset(f"camvid:{root}", split)
        assert [item.name for item in dataset.items] == names
        assert dataset[0].image.shape == (6, 8, 3)
    # The blocks that the train frames have alone stay theirs when test comes after them in the same sequence.
    both = {item.name: item.block for item in open_dataset(f"camvid:{root}", "train").items}
    alone = {item.name: item.block for item in camvid("train").items if item.name in both}
    assert alone == both


def test_faults_are_one_line(tmp_path: Path) -> None:
    with pytest.raises(AnalysisError, match="no split 'test'; splits here: train, val, blocks, blocks-even"):
        camvid("test")
    root = public_layout(tmp_path, {"train": ["0001TP_006690", "0001TP_006720"]})
    (root / "trainannot" / "0001TP_006720.png").unlink()
    with pytest.raises(AnalysisError, match=r"0001TP_006720\.png: label missing"):
        open_dataset(f"camvid:{root}", "train")
    (root / "train" / "0001TP_006720.png").rename(root / "train" / "holiday.png")
    (root / "trainannot" / "holiday.png").touch()
    with pytest.raises(AnalysisError, match="holiday: not a CamVid frame name"):
        open_dataset(f"camvid:{root}", "train")
