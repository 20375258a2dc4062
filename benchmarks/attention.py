"""Position attention beside what one uses today: forward, training, rows and sums on demand; one thread, float32.

    python benchmarks/attention.py [--json] [--quick] [--what forward full training rows sums]

forward    64 x 128 and 96 x 96 cells, C = 512, query and key 64: DANet's released code (bmm, softmax, bmm), torch's
           scaled_dot_product_attention as it is and with query and key filled up to the width of the value, and ours
full       the same at 128 x 256 cells (Cityscapes), every call in a new process
peaked     64 x 64 cells whose scores have a standard deviation of 20: many weights are then denormal numbers, with
           which CPUs multiply slowly
training   forward and backward at 96 x 96, in both
rows       a row of 128 x 256 cells from query and key, and 64 of them
sums       what every cell receives at 128 x 256, against the whole matrix; all sums in one pass against that alone

Ours is measured with each product that it can choose from; ``chosen`` marks the one that it takes here, which the goal
is about. A forward should take 0.45 of the released code's time (0.35 at 128 x 256) where oneDNN's product is the
faster one, and nowhere more than 0.85 (0.6); memory is what a call adds to its inputs, its result included. Errors are
those of 48 x 48 cells against float64. With --quick neither memory, nor 128 x 256 but for rows.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
from functools import partial

import numpy as np
import torch
from measuring import Work, forget_peak, in_fresh_process, paired, ratios, resident, timed
from reported import Goal, Row, options, peaks, report, rows_of
from torch import Tensor
from torch.nn.functional import pad, scaled_dot_product_attention

from analysis.measures import attention_received, attention_rows
from analysis.models.kernels import fastest_product, position_attention
from analysis.studies.position_context.sums import attention_sums

Attention = Callable[[Tensor, Tensor, Tensor], Tensor]
RELEASED = "released DANet"
FULL = 128, 256


def main() -> None:
    """Measure what is asked for and print it."""
    asked = options(__doc__, what=list(MEASURES))
    torch.set_num_threads(1)  # CPU time of several threads counts their waiting for each other
    report([row for section in asked.what for row in MEASURES[section](asked)], asked, "torch", "numpy")


def inputs(h: int, w: int, channels: int = 512, deviation: float = 1) -> tuple[Tensor, Tensor, Tensor]:
    """Query and key ``[1, C / 8, N]`` whose scores have that standard deviation, value ``[1, C, N]``."""
    random = torch.Generator().manual_seed(0)
    width = channels // 8
    query, key = (torch.randn(1, width, h * w, generator=random) * deviation**0.5 * width**-0.25 for _ in range(2))
    return query, key, torch.randn(1, channels, h * w, generator=random)


def released(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """As DANet's authors wrote it."""
    attention = torch.softmax(torch.bmm(query.transpose(1, 2), key), dim=-1)
    return torch.bmm(value, attention.transpose(1, 2))


def sdpa(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """What torch offers; falls to the whole matrix, as the value is wider than the key."""
    query, key, value = (x.transpose(1, 2) for x in (query, key, value))
    return scaled_dot_product_attention(query, key, value, scale=1.0).transpose(1, 2)


def sdpa_padded(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """As many channels everywhere, so that its flash kernel takes it."""
    more = (0, 0, 0, value.shape[1] - key.shape[1])
    return sdpa(pad(query, more), pad(key, more), value)


WAYS: dict[str, Attention] = {
    RELEASED: released,
    "SDPA": sdpa,
    "SDPA, padded to 512": sdpa_padded,
    "ours, torch": partial(position_attention, product="torch"),
    "ours, onednn": partial(position_attention, product="onednn"),
    "ours, bf16": partial(position_attention, product="bf16"),
}
EXACT = ("ours, torch", "ours, onednn")
VERSIONS = dict.fromkeys(list(WAYS)[:3], torch.__version__)


def chosen() -> str:
    """Ours with the product that it takes on this machine."""
    return f"ours, {fastest_product(torch.get_num_threads())}"


def most_time(h: int, w: int) -> Goal:
    """The most time of ours, over that of the released code."""
    torch_is_slow = chosen() == "ours, onednn"
    if (h, w) == FULL:
        return Goal("ratio", 0.35 if torch_is_slow else 0.6)
    return Goal("ratio", 0.45 if torch_is_slow else 0.85)


def remarks() -> dict[str, str]:
    """Errors of every way, and which one is chosen."""
    small = inputs(48, 48)
    right = released(*(x.double() for x in small))
    errors = {name: float((way(*small) - right).abs().max()) for name, way in WAYS.items()}
    return {name: f"error {e:.0e}{', chosen' * (name == chosen())}" for name, e in errors.items()}


# --- Forward ----------------------------------------------------------------------------------------------------------


def forward(asked: argparse.Namespace) -> Iterator[Row]:
    """Time in paired rounds, then memory."""
    said = remarks()
    for h, w in ((64, 128), (96, 96)):
        what = f"position attention forward, {h} x {w}"
        calls = {name: partial(attend, name, inputs(h, w)) for name in WAYS}
        table = paired(calls, 3 if asked.quick else 7)
        yield from rows_of(what, table, VERSIONS, {chosen(): most_time(h, w)}, remarks=said)
        yield from memory(f"{what}: memory", peaks(partial(forward_call, h, w), (RELEASED, *EXACT), asked), 12)


@torch.no_grad()
def attend(name: str, given: tuple[Tensor, Tensor, Tensor]) -> Tensor:
    """One forward."""
    return WAYS[name](*given)


def forward_call(h: int, w: int, name: str) -> Work:
    """In a process of its own, warmed up on few cells."""
    attend(name, inputs(8, 8))
    return partial(attend, name, inputs(h, w))


def memory(what: str, mib: dict[str, float], part: int) -> Iterator[Row]:
    """Rows of peak memory: ours should take one ``part`` of the released code's."""
    for name, peak in mib.items():
        row = Row(what, name, VERSIONS.get(name, ""), mib=peak)
        yield row if name == RELEASED else row.judged(Goal("mib", round(mib[RELEASED] / part)))


def peaked(asked: argparse.Namespace) -> Iterator[Row]:
    """Few rounds: the released code takes a hundred times as long as with scores of 1."""
    given = inputs(64, 64, deviation=20)
    right = released(*(x.double() for x in given))
    names = (RELEASED, *EXACT)
    errors = {name: f"error {float((attend(name, given) - right).abs().max()):.0e}" for name in names}
    table = paired({name: partial(attend, name, given) for name in names}, 1 if asked.quick else 3, warm=False)
    what = "position attention forward, 64 x 64, scores of 20 standard deviations"
    yield from rows_of(what, table, VERSIONS, {chosen(): most_time(64, 64)}, remarks=errors)


# --- 128 x 256 cells --------------------------------------------------------------------------------------------------


def full(asked: argparse.Namespace) -> Iterator[Row]:
    """Two rounds of calls, each in a new process; time and memory are those of the same call."""
    if asked.quick:
        return
    names = (RELEASED, *EXACT)
    calls = [[in_fresh_process(measured_call, *FULL, name) for name in order] for order in (names, names[::-1])]
    found = np.array([calls[0], calls[1][::-1]])
    what = "position attention forward, 128 x 256, in new processes"
    yield from rows_of(what, ratios(names, found[:, :, :2]), VERSIONS, {chosen(): most_time(*FULL)}, remarks=remarks())
    yield from memory(f"{what}: memory", dict(zip(names, np.median(found[:, :, 2], axis=0), strict=True)), 40)


def measured_call(h: int, w: int, name: str) -> tuple[float, float, float]:
    """Wall seconds, CPU seconds and MiB of one forward."""
    torch.set_num_threads(1)
    work = forward_call(h, w, name)
    before = forget_peak()
    wall, cpu = timed(work)
    return wall, cpu, resident("VmHWM") - before


# --- Training ---------------------------------------------------------------------------------------------------------


def training(asked: argparse.Namespace) -> Iterator[Row]:
    """Forward and backward; gradients are compared with those in float64 on few cells."""
    names, what = (RELEASED, *EXACT), "position attention, forward and backward, 96 x 96"
    table = paired({name: training_call(96, 96, name) for name in names}, 2 if asked.quick else 5)
    right = gradients(released, [x.double() for x in inputs(24, 24)])
    errors = {name: relative_error(gradients(WAYS[name], inputs(24, 24)), right) for name in names}
    said = {name: f"gradients err by {e:.0e} of the greatest" for name, e in errors.items()}
    yield from rows_of(what, table, VERSIONS, {chosen(): Goal("ratio", 0.6)}, remarks=said)
    yield from memory(f"{what}: memory", peaks(partial(training_call, 96, 96), names, asked), 10)


def training_call(h: int, w: int, name: str) -> Work:
    """Forward and backward of one way, warmed up on few cells."""
    gradients(WAYS[name], inputs(8, 8))
    return partial(gradients, WAYS[name], inputs(h, w))


def gradients(way: Attention, given: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """Of query, key and value, where that of the output is its inputs' value."""
    leaves = [x.detach().requires_grad_() for x in given]
    return torch.autograd.grad(way(*leaves), leaves, given[2])


def relative_error(found: Sequence[Tensor], right: Sequence[Tensor]) -> float:
    """The greatest error over the greatest value, of any of them."""
    return max(float((x - y).abs().max() / y.abs().max()) for x, y in zip(found, right, strict=True))


# --- Rows and sums ----------------------------------------------------------------------------------------------------


def rows(asked: argparse.Namespace) -> Iterator[Row]:
    """Seconds of one row, and of a region of 8 x 8 cells."""
    query, key = maps()
    region = [(60 + i // 8, 120 + i % 8) for i in range(64)]
    for name, some, most in (("1 row", region[:1], 0.001), ("64 rows", region, 0.01)):
        table = paired({name: partial(attention_rows, query, key, some)}, 20 if asked.quick else 100)
        goals = {name: Goal("wall_s", most)}
        yield from rows_of("rows of 128 x 256 cells from query and key", table, goals=goals)


def sums(asked: argparse.Namespace) -> Iterator[Row]:
    """Column sums against the whole matrix, and all sums in one pass against the column sums."""
    if asked.quick:
        return
    what, goals = "what each of 128 x 256 cells receives", {RECEIVED: Goal("ratio", 1 / 6)}
    yield from rows_of(what, paired({name: sums_call(name) for name in (WHOLE, RECEIVED)}, 2, warm=False), goals=goals)
    table, goals = paired({name: sums_call(name) for name in (RECEIVED, ALL)}, 3), {ALL: Goal("ratio", 1.5)}
    yield from rows_of("with entropy, mean distance and class to class", table, goals=goals)
    for name, peak in peaks(sums_call, (WHOLE, RECEIVED, ALL), asked).items():
        row = Row("sums of 128 x 256 cells: memory", name, mib=peak)
        yield row if name == WHOLE else row.judged(Goal("mib", 200))


WHOLE, RECEIVED, ALL = "the whole matrix, summed", "attention_received", "attention_sums"


def maps(size: tuple[int, int] = FULL) -> tuple[Tensor, Tensor]:
    """Query and key of one image, ``[64, h, w]``."""
    query, key, _ = inputs(*size)
    return query[0].view(-1, *size), key[0].view(-1, *size)


def sums_call(name: str, size: tuple[int, int] = FULL) -> Work:
    """One way; classes come in squares of 8 x 8 cells."""
    query, key = maps(size)
    cells = np.kron(np.random.default_rng(0).integers(-1, 19, (size[0] // 8, size[1] // 8)), np.ones((8, 8), int))
    ways: dict[str, Work] = {
        WHOLE: lambda: torch.softmax(query.flatten(1).T @ key.flatten(1), dim=1).sum(0),
        RECEIVED: lambda: attention_received(query, key),
        ALL: lambda: attention_sums(query, key, cells, 19),
    }
    return ways[name]


MEASURES: dict[str, Callable[[argparse.Namespace], Iterator[Row]]] = {
    "forward": forward,
    "full": full,
    "peaked": peaked,
    "training": training,
    "rows": rows,
    "sums": sums,
}

if __name__ == "__main__":
    main()
