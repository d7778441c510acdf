"""Compiled updates: the same numbers from one graph without gaps, and a way on where there is no compiler."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
import torch

from hrm_cli.config.arch import ArchConfig
from hrm_cli.errors import ConfigError
from hrm_cli.models import layers
from hrm_cli.models.act import ACTModel, PuzzleBatch
from hrm_cli.models.compiling import Compiled, compile_inference, compile_updates, out_of_memory
from hrm_cli.models.losses import act_loss
from hrm_cli.models.registry import build_model

CORES = ["hrm", "trm", "trm mlp_t"]


def small(core: str, dtype: str = "float32", **changes: Any) -> ACTModel:
    name, _, mixing = core.partition(" ")
    settings: dict[str, Any] = {
        "core": name, "hidden_size": 32, "num_heads": 2, "H_layers": 1, "L_layers": 1, "puzzle_emb_ndim": 0,
        "mlp_t": bool(mixing), "pos_encodings": "none" if mixing else "rope", "forward_dtype": dtype,
        "halt_exploration_prob": 0,
    }  # fmt: skip
    arch = ArchConfig(**settings | changes)
    return build_model(arch, 7, 9, 1, generator=torch.Generator().manual_seed(0))


def puzzles(rows: int) -> PuzzleBatch:
    generator = torch.Generator().manual_seed(1)
    inputs = torch.randint(0, 7, (rows, 9), generator=generator, dtype=torch.int32)
    return PuzzleBatch(inputs, inputs, torch.zeros(rows, dtype=torch.int32))


def trained(model: ACTModel, rows: int = 4) -> tuple[torch.Tensor, torch.Tensor]:
    batch = puzzles(rows)
    model.train()
    model.zero_grad()
    carry, out = model.train_step(model.initial_carry(batch), batch)
    loss, _ = (model.compiled_loss or act_loss)(
        out.logits, batch.labels, out.q_halt, out.q_continue, out.target_q_continue, carry.halted, carry.steps,
        "stablemax_cross_entropy",
    )  # fmt: skip
    loss.backward()
    return out.logits.detach(), model.inner.L_level.layers[0].mlp.down_proj.weight.grad.clone()


def assert_alike(found: Any, expected: Any, tolerance: float = 1e-4) -> None:
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=tolerance, atol=tolerance)


def as_on_cuda(model: ACTModel, mode: str = "on", backend: str = "eager") -> ACTModel:
    """Has on a CPU all of it compiled that is compiled on CUDA."""
    core = model.inner
    compile_updates(model, mode, backend=backend)
    if core.compiled_step is None:
        core.compiled_update = Compiled(core.module_update, mode, backend=backend)
    core.compiled_inference = Compiled(core.module_update, mode, backend=backend, any_rows=True)
    model.compiled_loss = Compiled(act_loss, mode, backend=backend)
    return model


@pytest.fixture(autouse=True)
def _fresh_compiler():
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


@pytest.mark.parametrize(
    ("dtype", "mode"), [("float32", "on"), ("bfloat16", "on"), ("bfloat16", "cudagraphs")]
)
@pytest.mark.parametrize("core", CORES)
def test_every_core_is_traced_whole_and_gives_the_same_numbers(core: str, dtype: str, mode: str) -> None:
    plain = small(core, dtype)
    plain.inner.compiled_update = plain.inner.module_update  # the portable blocks
    tolerance = 1e-5 if dtype == "float32" else 2e-2
    assert_alike(trained(as_on_cuda(small(core, dtype), mode)), trained(plain), tolerance)


@pytest.mark.slow
@pytest.mark.usefixtures("blocks_of_an_accelerator")
@pytest.mark.parametrize("mixer", ["units", "neighbors", "edges", "grid"])
@pytest.mark.parametrize("core", ["hrm", "trm"])
def test_a_mixer_with_a_structure_is_traced_whole(core: str, mixer: str) -> None:
    def trained_on_sudoku(compiles: bool) -> list[torch.Tensor]:
        arch = ArchConfig(
            core=core, mixer=mixer, hidden_size=32, num_heads=2, H_layers=1, L_layers=1, puzzle_emb_ndim=0,
            forward_dtype="float32", pos_encodings="none", halt_exploration_prob=0,
        )  # fmt: skip
        model = build_model(arch, 11, 81, 1, generator=torch.Generator().manual_seed(0))
        if compiles:
            model = as_on_cuda(model)
        inputs = torch.randint(1, 11, (4, 81), generator=torch.Generator().manual_seed(1), dtype=torch.int32)
        batch = PuzzleBatch(inputs, inputs, torch.zeros(4, dtype=torch.int32))
        model.train()
        _, out = model.train_step(model.initial_carry(batch), batch)
        out.logits.square().sum().backward()
        return [out.logits.detach(), *(p.grad for p in model.parameters() if p.grad is not None)]

    assert_alike(trained_on_sudoku(True), trained_on_sudoku(False))


@pytest.mark.slow
def test_a_cycle_of_nova_is_traced_whole() -> None:
    arch = ArchConfig(core="nova", hidden_size=32, num_heads=2, H_layers=1, L_layers=1, puzzle_emb_ndim=0,
                      forward_dtype="float32", dropout=0.0)  # fmt: skip
    core = build_model(arch, 7, 9, 1, generator=torch.Generator().manual_seed(0)).inner
    carry = core.initial_carry(puzzles(4).inputs)
    compiled = torch.compile(core.cycle, backend="eager", fullgraph=True)
    (after, halt), (expected, expected_halt) = compiled(carry), core.cycle(carry)
    assert_alike((after.z_H, after.z_L, halt), (expected.z_H, expected.z_L, expected_halt), 1e-5)


def test_flash_attention_is_chosen_before_tracing_and_not_imported_in_it(monkeypatch) -> None:
    calls = []

    def flash(q, k, v, dropout_p, causal):
        calls.append(q.shape)
        out = torch.nn.functional.scaled_dot_product_attention(
            q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)
        )
        return out.transpose(1, 2)

    monkeypatch.setitem(layers._FLASH, ("cpu", None, torch.bfloat16, 16), flash)
    plain, model = small("hrm", "bfloat16"), as_on_cuda(small("hrm", "bfloat16"))
    found = trained(model)
    assert calls, "flash-attn took no part"
    monkeypatch.delitem(layers._FLASH, ("cpu", None, torch.bfloat16, 16))
    assert_alike(found, trained(plain), 5e-2)


def test_flash_attention_that_cannot_run_is_found_out_with_its_reason() -> None:
    def too_wide(*_: Any, **__: Any) -> None:
        raise RuntimeError("FlashAttention forward only supports head dimension at most 256\nStack: …")

    def broken(q, k, v, **_: Any) -> torch.Tensor:
        return q * float("nan")

    where = (torch.device("cpu"), torch.bfloat16, 320)
    assert layers.flash_failure(too_wide, *where) == (
        "FlashAttention forward only supports head dimension at most 256"
    )
    assert layers.flash_failure(broken, *where) == "its results are not finite"
    assert layers.flash_failure(lambda q, k, v, **_: q * 1, *where) is None


def test_many_sizes_of_micro_batches_cannot_end_a_run() -> None:
    model = as_on_cuda(small("hrm", L_layers=2), "auto")
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="torch.compile")
        # Three sizes, with and without gradient, of two modules: twelve graphs, where torch allows eight by default.
        for rows in range(2, 5):
            trained(model, rows)


@pytest.mark.usefixtures("blocks_of_an_accelerator")
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_step_takes_one_graph_with_gradient_and_one_without(dtype: str) -> None:
    model = as_on_cuda(small("hrm", dtype))
    counter = torch._dynamo.testing.CompileCounter()
    model.inner.compiled_update = Compiled(model.inner.module_update, "on", backend=counter)
    for _ in range(2):
        trained(model)
    assert counter.frame_count == 2


def test_an_initial_state_of_stride_0_takes_no_graph_of_its_own() -> None:
    model = as_on_cuda(small("hrm", halting="settle"))
    batch = puzzles(4)
    model.train()
    weights = model.core.cast_weights()
    counter = torch._dynamo.testing.CompileCounter()
    core = model.inner
    core.compiled_update = Compiled(core.module_update, "on", backend=counter)
    with torch.no_grad():
        carry, _ = model.core(model.core.initial_carry(batch.inputs), batch.inputs, None, weights)
        model.core(carry, batch.inputs, None, weights)
    assert counter.frame_count == 1


def test_inference_takes_one_graph_for_all_numbers_of_rows() -> None:
    model = as_on_cuda(small("hrm"))
    counter = torch._dynamo.testing.CompileCounter()
    core = model.inner
    core.compiled_inference = Compiled(core.module_update, "on", backend=counter, any_rows=True)
    for rows in (12, 7, 5, 3):
        batch = puzzles(rows)
        last = list(model.infer(batch.inputs, batch.puzzle_identifiers, 2, adaptive=False))[-1]
        plain = list(small("hrm").infer(batch.inputs, batch.puzzle_identifiers, 2, adaptive=False))[-1]
        torch.testing.assert_close(last.logits, plain.logits, rtol=1e-4, atol=1e-4)
    assert counter.frame_count == 1


@pytest.mark.parametrize(
    ("mode", "device", "puzzles", "compiled"),
    [("auto", "cuda", 20_000, True), ("auto", "cuda", 19_999, False), ("auto", "cpu", 10**6, False),
     ("on", "cpu", 1, True), ("off", "cuda", 10**6, False)],
)  # fmt: skip
def test_inference_is_compiled_where_it_pays(mode, device, puzzles, compiled, monkeypatch) -> None:
    model = small("hrm")
    monkeypatch.setattr(ACTModel, "device", torch.device(device))
    compile_inference(model, mode, puzzles, backend="eager")
    assert (model.inner.compiled_inference is not None) == compiled


@pytest.mark.slow
@pytest.mark.parametrize("core", CORES)
def test_compiled_updates_give_the_same_logits_and_gradients(core: str) -> None:
    model = small(core)
    compile_updates(model, "on")
    assert_alike(trained(model), trained(small(core)))


def no_compiler(*_: object, **__: object) -> None:
    raise RuntimeError("no C++ compiler was found")


def no_backward(graph: Any, inputs: Any) -> Any:
    """A backend whose forward works and whose backward cannot be compiled."""
    from torch._dynamo.backends.common import aot_autograd
    from torch._functorch.aot_autograd import make_boxed_func

    return aot_autograd(fw_compiler=lambda g, _: make_boxed_func(g.forward), bw_compiler=no_compiler)(
        graph, inputs
    )


@pytest.mark.parametrize("backend", [no_compiler, no_backward], ids=["forward", "backward"])
def test_auto_continues_uncompiled_with_a_note_if_nothing_can_be_compiled(backend: Any) -> None:
    model = as_on_cuda(small("hrm"), "auto", backend)
    with pytest.warns(UserWarning, match=r"no C\+\+ compiler was found.*continues without it"):
        found = trained(model)
    assert_alike(found, trained(small("hrm")), 1e-5)
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="torch.compile")
        trained(model)


@pytest.mark.parametrize("backend", [no_compiler, no_backward], ids=["forward", "backward"])
def test_requesting_compilation_where_nothing_compiles_is_an_error_that_names_the_key(backend: Any) -> None:
    with pytest.raises(ConfigError, match=r"train\.compile: torch\.compile failed.*no C\+\+ compiler"):
        trained(as_on_cuda(small("hrm"), "on", backend))


def test_a_compiler_that_fails_at_a_later_size_does_not_end_the_run() -> None:
    def only_four(graph: Any, inputs: Any) -> Any:
        if any(isinstance(t, torch.Tensor) and t.dim() == 3 and t.shape[0] != 4 for t in inputs):
            raise RuntimeError("no such size")
        return graph.forward

    model = as_on_cuda(small("hrm"), "auto", only_four)
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="torch.compile")
        trained(model, 4)
    with pytest.warns(UserWarning, match="no such size"):
        found = trained(model, 6)
    assert_alike(found, trained(small("hrm"), 6), 1e-5)


@pytest.mark.parametrize("mode", ["auto", "on"])
def test_running_out_of_memory_is_not_a_compiler_failure(mode: str) -> None:
    def exhausted(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")

    with pytest.raises(torch.OutOfMemoryError, match=r"20\.00 GiB"):
        trained(as_on_cuda(small("hrm"), mode, exhausted))


def test_running_out_of_memory_is_recognized_inside_wrapping_exceptions() -> None:
    cause = torch.OutOfMemoryError("CUDA out of memory")
    wrapped = RuntimeError("backend failed")
    wrapped.__cause__ = cause
    assert out_of_memory(wrapped) is cause
    assert (
        out_of_memory(RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory")) is not None
    )
    assert out_of_memory(RuntimeError("backend failed")) is None


def test_an_error_of_the_function_itself_is_raised_unchanged() -> None:
    def wrong(x: torch.Tensor) -> torch.Tensor:
        return x.reshape(5, 5)

    for mode in ("auto", "on"):
        with pytest.raises(RuntimeError, match="shape") as raised:
            Compiled(wrong, mode, backend="eager")(torch.zeros(4))
        assert not isinstance(raised.value, ConfigError)


def test_recomputed_activations_go_with_compiled_updates() -> None:
    model = as_on_cuda(small("hrm"))
    model.core.recomputes_activations = True
    assert_alike(trained(model), trained(small("hrm")), 1e-5)


def test_on_a_cpu_auto_compiles_nothing() -> None:
    model = small("hrm")
    compile_updates(model, "auto")
    core = model.inner
    assert (core.compiled_update, core.compiled_inference, core.compiled_step) == (None, None, None)
    assert model.compiled_loss is None
