"""Position attention by blocks against the whole matrix in float64: values, gradients, memory, and where it runs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import get_args

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from analysis.errors import AnalysisError
from analysis.models import kernels
from analysis.models.dual_attention import PositionAttention
from analysis.models.kernels import position_attention

RULES = [None, "forbid equal", "forbid other"]


def whole(query: Tensor, key: Tensor, value: Tensor, labels: Tensor | None = None, rule: str | None = None) -> Tensor:
    """With the N x N matrix, in float64."""
    query, key, value = (x.double() for x in (query, key, value))
    scores = query.transpose(1, 2) @ key
    if labels is not None:
        same = labels[:, :, None] == labels[:, None, :]
        forbidden = same if rule == "forbid equal" else ~same
        weights = torch.softmax(scores.masked_fill(forbidden, -torch.inf), dim=2)
        return value @ weights.masked_fill(forbidden, 0).transpose(1, 2)
    return value @ torch.softmax(scores, dim=2).transpose(1, 2)


def assert_near(found: Tensor, right: Tensor) -> None:
    """To 1e-5, of the greatest value where that is more than 1."""
    torch.testing.assert_close(found.double(), right.double(), rtol=1e-5, atol=1e-5 * max(1, float(right.abs().max())))


def example(b: int, n: int, d: int = 5, c: int = 7, scale: float = 1.0, seed: int = 0) -> list[Tensor]:
    random = torch.Generator().manual_seed(seed)
    query, key = (torch.randn(b, d, n, generator=random) * scale for _ in range(2))
    return [query, key, torch.randn(b, c, n, generator=random)]


def gradients(attention: Callable[..., Tensor], inputs: list[Tensor], *given: object) -> list[Tensor]:
    leaves = [x.clone().requires_grad_() for x in inputs]
    out = attention(*leaves, *given)
    weight = torch.randn(out.shape, generator=torch.Generator().manual_seed(9))
    return list(torch.autograd.grad((out * weight).sum(), leaves))


@pytest.fixture(autouse=True)
def small_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tiles that even a few cells fill."""
    monkeypatch.setattr(kernels, "TILE", (10, 6))


# --- Values and gradients ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("product", ["torch", "onednn"])
@settings(deadline=None, max_examples=40)
@given(
    b=st.integers(1, 3),
    n=st.integers(1, 40),
    d=st.integers(1, 9),
    c=st.integers(1, 9),
    classes=st.integers(1, 5),
    rule=st.sampled_from(RULES),
    scale=st.sampled_from([0.1, 1.0, 3.0]),
    seed=st.integers(0, 99),
)
def test_blocks_give_what_the_whole_matrix_gives(
    product: str, b: int, n: int, d: int, c: int, classes: int, rule: str | None, scale: float, seed: int
) -> None:
    inputs = example(b, n, d, c, scale, seed)
    labels = None if rule is None else torch.randint(0, classes, (b, n), generator=torch.Generator().manual_seed(seed))
    found = position_attention(*inputs, labels, rule, product)
    assert_near(found, whole(*inputs, labels, rule))
    ours = gradients(position_attention, inputs, labels, rule, product)
    for one, right in zip(ours, gradients(whole, inputs, labels, rule), strict=True):
        assert_near(one, right)


@pytest.mark.parametrize("product", ["torch", "onednn"])
@pytest.mark.parametrize("some", [[3], list(range(0, 40, 3))])
def test_some_queries_get_what_all_of_them_get(product: str, some: list[int]) -> None:
    query, key, value = example(2, 40)

    def of_some(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        return position_attention(query[:, :, some], key, value, product=product)

    def of_all(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        return whole(query, key, value)[:, :, some]

    assert_near(of_some(query, key, value), of_all(query, key, value))
    for one, right in zip(*(gradients(f, [query, key, value]) for f in (of_some, of_all)), strict=True):
        assert_near(one, right)


@pytest.mark.parametrize("rule", RULES)
def test_gradients_in_float64_agree_with_finite_differences(rule: str | None) -> None:
    inputs = [x.double().requires_grad_() for x in example(2, 13, 3, 4)]
    labels = None if rule is None else torch.arange(26).view(2, 13) % 4
    assert torch.autograd.gradcheck(lambda *x: position_attention(*x, labels, rule), inputs)


@pytest.mark.parametrize("product", ["torch", "onednn"])
def test_scores_that_overflow_exp_are_no_matter(product: str) -> None:
    query, key, value = example(1, 30, scale=40.0)
    scores = (query.transpose(1, 2) @ key).abs().max()
    assert scores > 1000  # exp overflows float32 from 89 on
    found = position_attention(query, key, value, product=product)
    # a score of thousands has an ulp of 1e-4 in float32, which no softmax of it can undo
    torch.testing.assert_close(found.double(), whole(query, key, value), rtol=1e-3, atol=1e-3)
    assert all(torch.isfinite(g).all() for g in gradients(position_attention, [query, key, value], None, None, product))


def test_peaked_attention_makes_no_denormal_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Products with them take 80 times as long: seen with scores of 20 to 80 standard deviations."""
    seen = []
    right = kernels._Image._right
    monkeypatch.setattr(kernels._Image, "_right", lambda self, x: seen.append(x.abs()) or right(self, x))
    query, key, value = example(1, 60, scale=6.0)
    scores = (query.transpose(1, 2) @ key)[0]
    assert (torch.softmax(scores, 1) < 1e-38).any()
    assert_near(position_attention(query, key, value), whole(query, key, value))
    assert seen
    assert not any(((x > 0) & (x < 1e-37)).any() for x in seen)


def test_a_row_without_keys_gives_zero_and_no_gradient() -> None:
    inputs, labels = example(1, 20), torch.zeros(1, 20, dtype=torch.long)
    assert torch.equal(position_attention(*inputs, labels, "forbid equal"), torch.zeros(1, 7, 20))
    assert not any(g.any() for g in gradients(position_attention, inputs, labels, "forbid equal"))


def test_a_rule_without_labels_is_refused() -> None:
    with pytest.raises(AnalysisError, match="labels come with a rule"):
        position_attention(*example(1, 4), rule="forbid equal")
    with pytest.raises(AnalysisError, match="forbid"):
        position_attention(*example(1, 4), torch.zeros(1, 4), "forbid all")  # ty: ignore[invalid-argument-type]


def test_layouts_of_the_inputs_do_not_matter() -> None:
    inputs = example(2, 24)
    turned = [x.transpose(1, 2).contiguous().transpose(1, 2) for x in inputs]
    for product in ("torch", "onednn"):
        torch.testing.assert_close(
            position_attention(*turned, product=product), position_attention(*inputs, product=product)
        )


def test_a_second_derivative_is_refused_in_one_line() -> None:
    query, key, value = (x.requires_grad_() for x in example(1, 12))
    (first,) = torch.autograd.grad(position_attention(query, key, value).square().sum(), query, create_graph=True)
    with pytest.raises(AnalysisError, match="no second derivative") as refused:
        first.sum().backward()
    assert "\n" not in str(refused.value)


# --- Where it runs ----------------------------------------------------------------------------------------------------


def test_halves_under_autocast_are_multiplied_as_float32() -> None:
    query, key, value = (x.bfloat16() for x in example(1, 40, scale=3.0))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = position_attention(query, key, value)
        ours = gradients(position_attention, [query, key, value])  # a backward inside of autocast as well
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found, whole(query, key, value).bfloat16(), rtol=0.01, atol=0.01)
    for one, right in zip(ours, gradients(whole, [query, key, value]), strict=True):
        torch.testing.assert_close(one, right, rtol=0.02, atol=0.02 * float(right.abs().max()))


def test_the_module_trains_under_autocast() -> None:
    torch.manual_seed(0)
    pam = PositionAttention(32)
    nn.init.ones_(pam.gate)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = pam(torch.randn(2, 32, 5, 7)).float().square().mean()
    loss.backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in pam.parameters())


def test_torch_compile_leaves_it_out_and_agrees() -> None:
    torch.manual_seed(0)
    pam = PositionAttention(32)
    nn.init.ones_(pam.gate)
    features = torch.randn(1, 32, 4, 5)
    compiled = torch.compile(pam, backend="eager")
    torch.testing.assert_close(compiled(features), pam(features))
    compiled(features).sum().backward()
    assert pam.query.weight.grad is not None


@pytest.mark.slow
def test_two_processes_have_the_gradients_of_one(tmp_path: Path) -> None:
    workers = [in_new_process(f"train_part({rank}, {str(tmp_path)!r})") for rank in range(2)]
    for worker in workers:
        worker.communicate(timeout=600)
        assert worker.returncode == 0
    pam, features = seeded_module()
    pam(features).square().mean().backward()
    for rank in range(2):
        for name, found in torch.load(tmp_path / f"{rank}.pt").items():
            torch.testing.assert_close(found, dict(pam.named_parameters())[name].grad)


def seeded_module() -> tuple[PositionAttention, Tensor]:
    torch.manual_seed(0)
    pam = PositionAttention(32)
    nn.init.ones_(pam.gate)
    return pam, torch.randn(2, 32, 5, 7)


def in_new_process(call: str) -> subprocess.Popen[str]:
    """A call of this module, printed; multiprocessing would run again what AppTest has left as the main module."""
    code = f"import test_kernels; print(test_kernels.{call})"
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parent)}
    return subprocess.Popen([sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE, text=True)


def train_part(rank: int, out: str) -> None:
    """One image of two in each process."""
    store = torch.distributed.FileStore(f"{out}/store", 2)
    torch.distributed.init_process_group("gloo", store=store, rank=rank, world_size=2)
    pam, features = seeded_module()
    parallel = nn.parallel.DistributedDataParallel(pam)
    parallel(features[rank : rank + 1]).square().mean().backward()
    torch.save({name: p.grad for name, p in pam.named_parameters()}, f"{out}/{rank}.pt")
    torch.distributed.destroy_process_group()


# --- The product ------------------------------------------------------------------------------------------------------


def test_bf16_errs_by_what_is_said() -> None:
    inputs = example(1, 400, 16, 32, scale=0.5)
    right = whole(*inputs)
    error = (position_attention(*inputs, product="bf16") - right).abs().max() / right.abs().max()
    assert 1e-5 < error < 0.01
    ours, theirs = gradients(lambda *x: position_attention(*x, product="bf16"), inputs), gradients(whole, inputs)
    assert all((one - other).abs().max() < 0.01 * other.abs().max() for one, other in zip(ours, theirs, strict=True))


def test_small_calls_and_other_types_take_torch_without_a_timing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ATTENTION_PRODUCT", raising=False)
    monkeypatch.setattr(kernels, "fastest_product", lambda threads: pytest.fail("timed"))
    for query, key, value in (example(1, 400), [x.double() for x in example(1, 40)]):
        assert_near(position_attention(query, key, value), whole(query, key, value))


def test_a_large_call_takes_the_fastest_product(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ATTENTION_PRODUCT", raising=False)
    monkeypatch.setattr(kernels, "LARGE", 1)
    asked = []
    monkeypatch.setattr(kernels, "fastest_product", lambda threads: asked.append(threads) or "onednn")
    inputs = example(1, 20)
    assert_near(position_attention(*inputs), whole(*inputs))
    assert asked == [torch.get_num_threads()]


def test_the_fastest_product_is_one_of_the_exact_ones() -> None:
    assert kernels.fastest_product(torch.get_num_threads()) in ("torch", "onednn")


def test_the_environment_overrides_and_an_unknown_product_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    inputs = example(1, 60)
    rounded = position_attention(*inputs, product="bf16")
    monkeypatch.setenv("ATTENTION_PRODUCT", "bf16")
    assert torch.equal(position_attention(*inputs), rounded)
    assert not torch.equal(position_attention(*inputs, product="torch"), rounded)
    monkeypatch.setenv("ATTENTION_PRODUCT", "mkl")
    with pytest.raises(AnalysisError, match=f"no product 'mkl'.*{', '.join(get_args(kernels.Product))}"):
        position_attention(*inputs)


# --- Memory -----------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(not os.access("/proc/self/clear_refs", os.W_OK), reason="Linux tells the peak of a process")
def test_the_matrix_is_never_whole() -> None:
    n, c = 4096, 64
    found = {}
    for product in ("torch", "onednn"):
        printed, _ = in_new_process(f"extra_memory({n}, {c}, {product!r})").communicate(timeout=600)
        found[product] = json.loads(printed)
    matrix = n * n * 4 / 2**20
    assert all(forward < matrix / 3 and training < matrix / 2 for forward, training in found.values()), found


def extra_memory(n: int, c: int, product: str) -> list[float]:
    """MiB that a forward, and a forward with its backward, take at the most."""
    torch.set_num_threads(1)
    inputs = example(1, n, 16, c)
    gradients(position_attention, [x[..., :64] for x in inputs], None, None, product)
    forward = peak(lambda: position_attention(*inputs, product=product))
    return [forward, peak(lambda: gradients(position_attention, inputs, None, None, product))]


def peak(work: Callable[[], object]) -> float:
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    before = resident("VmRSS")
    kept = work()
    del kept
    return resident("VmHWM") - before


def resident(field: str) -> float:
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.partition(f"{field}:")[2].split()[0]) / 1024


def test_choosing_a_product_draws_no_random_number_of_a_training() -> None:
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    kernels.fastest_product.__wrapped__(torch.get_num_threads())
    assert torch.equal(torch.rand(3), expected)
