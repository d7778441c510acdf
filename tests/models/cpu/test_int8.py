"""Int8 matmuls: rows rounded to int8 by their own scale, exact sums, and what a model does with them."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from hrm_cli.config.arch import ArchConfig
from hrm_cli.models.act import PuzzleBatch
from hrm_cli.models.choices import choices
from hrm_cli.models.cpu import int8
from hrm_cli.models.cpu.int8 import Int8Weight, add_swiglu_and_norm, quantized, swiglu
from hrm_cli.models.cpu.kernels.availability import int8_instructions_missing
from hrm_cli.models.cpu.kernels.launch import FORMATS
from hrm_cli.models.cpu.pieces import Prepacked, prepacked, swiglu_weights
from hrm_cli.models.cpu.pieces import add_swiglu_and_norm as add_swiglu_and_norm_of_pieces
from hrm_cli.models.inference import FixedModel
from hrm_cli.models.layers import SwiGLUWeights, rms_norm
from hrm_cli.models.registry import build_model
from hrm_cli.puzzles.sudoku.domain import SudokuDomain


@pytest.fixture(autouse=True)
def exact_products(monkeypatch: pytest.MonkeyPatch) -> None:
    """oneDNN's int8 products are wrong on CPUs without the instructions; there, torch's int32 products replace them."""
    int8._products_fail.cache_clear()
    if int8_instructions_missing():
        monkeypatch.setattr(torch, "_int_mm", lambda a, b: a.int() @ b.int())


def drawn(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32, scale: float = 1.0) -> Tensor:
    return (torch.randn(shape, generator=torch.Generator().manual_seed(seed)) * scale).to(dtype)


def rounded(x: Tensor) -> Tensor:
    """What remains of rows in int8, as float64."""
    scales = x.double().abs().amax(-1, keepdim=True) / 127
    return torch.where(scales > 0, (x / scales).round() * scales, 0.0)


@pytest.mark.parametrize("dtype", FORMATS)
@pytest.mark.parametrize(("rows", "size"), [(1, 1), (7, 33), (1000, 48), (331, 129)])
def test_a_row_is_stored_to_half_a_step_of_its_own_scale(rows: int, size: int, dtype: torch.dtype) -> None:
    x = drawn(rows, size, dtype=dtype) * drawn(rows, 1, seed=1).exp().to(dtype)
    values, scales = quantized(x)
    assert values.abs().amax(1).eq(127).all()
    error = (values * scales.unsqueeze(1) - x.float()).abs()
    assert (error <= 0.501 * scales.unsqueeze(1)).all()


def test_a_row_of_zeros_stays_zero_and_nan_is_not_lost() -> None:
    x = torch.zeros(3, 16)
    x[1, 4], x[2, 5] = torch.nan, torch.inf
    found = Int8Weight(torch.ones(2, 16)).matmul(x)
    assert found[0].eq(0).all()
    assert not found[1:].isfinite().any()


@settings(max_examples=60, deadline=None)
@given(
    rows=st.integers(0, 70), inner=st.integers(int8.LEAST_INPUTS, 99), width=st.integers(1, 70),
    seed=st.integers(0, 99), scale=st.sampled_from([1e-6, 1.0, 1e6]),
)  # fmt: skip
def test_products_are_those_of_the_rounded_rows(
    rows: int, inner: int, width: int, seed: int, scale: float
) -> None:
    x, weight = drawn(rows, inner, seed=seed, scale=scale), drawn(width, inner, seed=seed + 1)
    found, expected = Int8Weight(weight).matmul(x), rounded(x) @ rounded(weight).T
    assert found.shape == (rows, width)
    assert found.dtype == x.dtype
    # A number halfway between two int8 values may be rounded either way: one step of its row's scale.
    x, weight = rounded(x).abs(), rounded(weight).abs()
    steps = x.amax(1, keepdim=True) * weight.sum(1) + x.sum(1, keepdim=True) * weight.amax(1)
    assert ((found - expected).abs() <= 1.1 / 127 * steps).all()
    assert ((found - expected).abs() <= 1e-5 * steps).float().mean() > 0.9 if rows else True


def test_a_weight_of_zeros_gives_zeros() -> None:
    assert Int8Weight(torch.zeros(3, 8)).matmul(drawn(5, 8)).eq(0).all()


@pytest.mark.parametrize("dtype", FORMATS)
@pytest.mark.parametrize("scale", [1.0, 1e4])
def test_a_swiglu_differs_by_the_rounding_only(dtype: torch.dtype, scale: float) -> None:
    x, up, down = drawn(2, 300, 48, dtype=dtype), drawn(160, 48, seed=1) * scale, drawn(24, 80, seed=2)
    gate, value = (rounded(x.flatten(0, 1)) @ rounded(up).T).chunk(2, dim=-1)
    expected = (rounded(F.silu(gate) * value) @ rounded(down).T).view(2, 300, 24)
    found = swiglu(x, Int8Weight(up), Int8Weight(down))
    assert found.dtype == dtype
    assert (found.double() - expected).norm() <= 0.004 * expected.norm()


@pytest.mark.parametrize("dtype", FORMATS)
def test_the_norm_of_the_sum_is_that_of_two_kernels(dtype: torch.dtype) -> None:
    x, up, down = drawn(3, 50, 32, dtype=dtype), Int8Weight(drawn(96, 32)), Int8Weight(drawn(32, 48))
    expected = rms_norm(x.float() + swiglu(x.float(), up, down), 1e-5)
    found = add_swiglu_and_norm(x, up, down, 1e-5).float()
    torch.testing.assert_close(found, expected, rtol=2e-2 if dtype == torch.bfloat16 else 1e-4, atol=1e-4)


@pytest.mark.parametrize("threads", [1, 3])
def test_parts_of_the_rows_and_threads_change_no_bit(threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    x, up, down = drawn(1001, 32), Int8Weight(drawn(96, 32)), Int8Weight(drawn(32, 48))
    whole = add_swiglu_and_norm(x, up, down, 1e-5), swiglu(x, up, down), up.matmul(x)
    assert torch.equal(swiglu(x[500:501], up, down), whole[1][500:501])
    monkeypatch.setattr(int8, "_BYTES_OF_SUMS", 4 * 96 * 7)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        parts = add_swiglu_and_norm(x, up, down, 1e-5), swiglu(x, up, down), up.matmul(x)
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(one, other) for one, other in zip(whole, parts, strict=True))


@pytest.mark.parametrize(("inputs", "kind"), [(1, Prepacked), (15, Prepacked), (16, Int8Weight)])
def test_narrow_weights_are_not_stored_as_int8(inputs: int, kind: type) -> None:
    weight, x = drawn(8, inputs), drawn(3, inputs)
    packed = prepacked(weight, int8=True).fixed
    assert isinstance(packed, kind)
    torch.testing.assert_close(packed.matmul(x), x @ weight.T, rtol=0.05, atol=0.05)


@pytest.fixture
def any_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Int8 matmuls also on a CPU that has no instructions for them."""
    monkeypatch.setattr(int8, "int8_instructions_missing", lambda: False)
    monkeypatch.delenv("HRM_CPU_INT8", raising=False)


def model_of(mixer: str, **more: object) -> object:
    arch = ArchConfig(
        hidden_size=32, num_heads=4, H_layers=1, L_layers=1, L_cycles=2, H_cycles=1, halt_max_steps=3,
        mixer=mixer, pos_encodings="none", puzzle_emb_ndim=0,
        **{"forward_dtype": "float32", "inference_dtype": "int8", **more},
    )  # fmt: skip
    domain = SudokuDomain(4)
    return build_model(
        arch, domain.vocab_size, domain.seq_len, 1, domain={"name": "sudoku", "size": 4},
        generator=torch.Generator().manual_seed(0),
    )  # fmt: skip


def last_logits(model: object) -> Tensor:
    tokens = torch.randint(1, 6, (5, 16), generator=torch.Generator().manual_seed(1), dtype=torch.int32)
    steps = [*FixedModel(model).infer(tokens, torch.zeros(5, dtype=torch.int32), 3, adaptive=False)]
    return steps[-1].logits.float()


@pytest.mark.usefixtures("any_cpu")
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("mixer", ["attention", "mlp", "units"])
def test_a_model_infers_in_int8_and_the_switch_overrides_it(
    mixer: str, dtype: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = model_of(mixer, forward_dtype=dtype)
    assert choices(model)["matmuls at inference"] == "int8"
    found = last_logits(model)
    monkeypatch.setenv("HRM_CPU_INT8", "off")
    assert choices(model)["matmuls at inference"] == f"{dtype} (not int8: HRM_CPU_INT8=off)"
    exact = last_logits(model)
    assert not torch.equal(found, exact)
    known = exact > -20  # the structured mixer never answers with the other tokens
    assert (found - exact)[known].norm() <= 0.1 * exact[known].norm()
    monkeypatch.setenv("HRM_CPU_INT8", "on")
    plain = model_of(mixer, forward_dtype=dtype, inference_dtype="forward")
    assert torch.equal(last_logits(plain), found)
    monkeypatch.delenv("HRM_CPU_INT8")
    assert torch.equal(last_logits(plain), exact)
    assert "matmuls at inference" not in choices(plain)


@pytest.mark.usefixtures("any_cpu")
@pytest.mark.parametrize("compiled", [False, True])
def test_training_stays_in_the_forward_dtype(compiled: bool) -> None:
    """Also the target of Q-continue, which is computed without gradient, and by CPU blocks in compiled training."""
    results = []
    for kind in ("int8", "forward"):
        model = model_of("attention", inference_dtype=kind, halt_exploration_prob=0).train()
        if compiled:
            model.core.compiled_update = model.core.module_update
        tokens = torch.ones(2, 16, dtype=torch.int32)
        batch = PuzzleBatch(tokens, tokens, torch.zeros(2, dtype=torch.int32))
        _, out = model.train_step(model.initial_carry(batch), batch)
        (out.logits.square().mean() + out.q_halt.mean()).backward()
        gradients = [one.grad for one in model.parameters() if one.grad is not None]
        results.append([out.logits, out.target_q_continue, *gradients])
    assert len(results[0]) > 5
    assert all(torch.equal(one, other) for one, other in zip(*results, strict=True))


@pytest.mark.usefixtures("any_cpu")
def test_gradients_pass_weights_that_were_stored_as_int8() -> None:
    up, down, x = drawn(96, 32), drawn(32, 48), drawn(5, 32).requires_grad_()
    weights = swiglu_weights(SwiGLUWeights(up, down), int8=True)
    add_swiglu_and_norm_of_pieces(x, weights, 1e-5).square().sum().backward()
    assert x.grad is not None
    assert x.grad.abs().sum() > 0


@pytest.mark.usefixtures("any_cpu")
@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"forward_dtype": "float16"}, "float16 (not int8: blocks portable (none for float16))"),
        (
            {"forward_dtype": "bfloat16", "state_dtype": "float32"},
            "bfloat16 (not int8: blocks portable (arch.state_dtype float32))",
        ),
    ],
)
def test_portable_blocks_have_no_int8_and_say_so(settings: dict[str, str], reason: str) -> None:
    assert choices(model_of("units", **settings))["matmuls at inference"] == reason


def test_a_cpu_without_the_instructions_computes_in_the_forward_dtype(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("HRM_CPU_INT8", raising=False)
    monkeypatch.setattr(int8, "int8_instructions_missing", lambda: True)
    model = model_of("units")
    assert choices(model)["matmuls at inference"].startswith(
        "float32 (not int8: this CPU has no instructions"
    )
    assert torch.equal(last_logits(model), last_logits(model_of("units", inference_dtype="forward")))


@pytest.mark.usefixtures("any_cpu")
@pytest.mark.parametrize("failure", ["raises", "wrong numbers"])
def test_products_that_fail_or_are_wrong_are_not_used(failure: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def product(*_: object) -> Tensor:
        if failure == "raises":
            raise RuntimeError("no int8 here\nsecond line")
        return torch.zeros(3, 32, dtype=torch.int32)

    monkeypatch.setattr(torch, "_int_mm", product)
    try:
        expected = {"raises": "no int8 here"}.get(failure, failure)
        assert int8.int8_unavailable(torch.float32) == expected
        assert last_logits(model_of("units")).isfinite().all()
    finally:
        int8._products_fail.cache_clear()


def test_nova_has_no_int8() -> None:
    with pytest.raises(ValueError, match="inference_dtype int8 works only with the cores hrm and trm"):
        ArchConfig(core="nova", inference_dtype="int8")
