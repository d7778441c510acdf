"""Kernels get addresses: an argument that does not fit is refused before anything is read or written."""

from __future__ import annotations

import importlib
import inspect
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import FunctionType
from typing import Any

import pytest
import torch
from torch import Tensor

import hrm_cli.models.cpu.kernels
from hrm_cli.models.cpu.kernels.launch import NUMBERS_PER_ROW, SIGNATURES, Kernel

NUMBERS: dict[str, tuple[int, tuple[int, ...], tuple[float, ...]]] = {
    "blocks.add_and_norm": (6, (16,), (1e-5,)),
    "blocks.norm_backward": (6, (16,), ()),
    "blocks.silu_mul": (6, (16,), ()),
    "blocks.silu_mul_backward": (6, (16,), ()),
    "attention.split_heads": (6, (5, 8, 3, 4), (0.5,)),
    "attention.join_heads": (10, (5, 8, 3, 4), (0.5,)),
    "attention.softmax": (6, (16, 11), ()),
    "int8.quantize": (6, (16,), ()),
    "int8.silu_mul": (6, (16,), ()),
    "int8.rescale": (6, (16,), ()),
    "int8.add_and_norm": (6, (16,), (1e-5,)),
    "edges.gather": (24, (3, 4, 6), ()),
    "edges.arrivals_backward": (24, (3, 4, 6), ()),
    "edges.gather_backward": (24, (3, 4, 6), ()),
    "units.average": (3, (5, 4, 6, 8, 2, 7), (0.5,)),
    "units.average_backward": (10, (5, 4, 6, 8, 2, 7), (0.5,)),
    "units.add_messages_and_norm": (10, (5, 4, 6, 8, 1), (1e-5,)),
    "units.add_messages_backward": (3, (5, 4, 6, 8), ()),
    "optimizer.adam_atan2": (2, (NUMBERS_PER_ROW + 3,), (1.0, 0.1, 0.95, 0.05, 1.0, 1e-3)),
    "optimizer.add_gradient": (2, (NUMBERS_PER_ROW + 3,), ()),
}
"""Rows, integers and floats with which each kernel can be called."""

WRONG: dict[str, Callable[[Tensor], Any]] = {
    "another dtype": lambda t: t.double(),
    "one element less": lambda t: t.flatten()[1:],
    "one element more": lambda t: torch.cat((t.flatten(), t.flatten()[:1])),
    "not contiguous": lambda t: torch.stack((t, t), dim=-1)[..., 0],
    "not on the CPU": lambda t: t.to("meta"),
    "sparse": lambda t: t.to_sparse(),
    "no tensor": lambda t: t.data_ptr(),
}


def arguments(name: str, dtype: torch.dtype) -> tuple[int, list[Any], list[Tensor]]:
    rows, integers, floats = NUMBERS[name]
    signature = SIGNATURES[name]
    elements = signature.elements(rows, *integers)
    assert elements is not None
    tensors = [
        torch.ones(count, dtype=signature.dtype_of(tensor, dtype))
        for tensor, count in zip(signature.tensors, elements, strict=True)
    ]
    return rows, [*integers, *floats], tensors


def test_every_kernel_of_every_file_has_a_signature() -> None:
    found = set()
    for path in Path(hrm_cli.models.cpu.kernels.__file__).parent.glob("*.py"):
        module = importlib.import_module(f"hrm_cli.models.cpu.kernels.{path.stem}")
        found |= {
            f"{path.stem}.{name}"
            for name, value in vars(module).items()
            if getattr(value, "__module__", "") == module.__name__
            and isinstance(value, FunctionType)
            and list(inspect.signature(value).parameters) == ["data"]
            and not name.startswith("_")
        }
    assert found == set(SIGNATURES) == set(NUMBERS)


@pytest.mark.parametrize("name", SIGNATURES)
def test_arguments_that_fit_are_taken(name: str) -> None:
    rows, numbers, tensors = arguments(name, torch.float32)
    Kernel(name)(rows, 1 << 20, torch.float32, *numbers, *tensors)


@pytest.mark.parametrize("wrong", WRONG.values(), ids=WRONG)
@pytest.mark.parametrize("name", SIGNATURES)
def test_a_tensor_that_does_not_fit_is_named_and_nothing_is_written(
    name: str, wrong: Callable[[Tensor], Any]
) -> None:
    rows, numbers, tensors = arguments(name, torch.float32)
    for i in range(len(tensors)):
        given = [wrong(one) if j == i else one for j, one in enumerate(tensors)]
        with pytest.raises(
            ValueError, match=f"kernel {name}: {SIGNATURES[name].tensors[i]}: expected a contiguous"
        ):
            Kernel(name)(rows, 1 << 20, torch.float32, *numbers, *given)
    assert all((tensor == 1).all() for tensor in tensors)


@pytest.mark.parametrize("name", SIGNATURES)
def test_rows_and_sizes_that_do_not_fit_the_tensors_are_refused(name: str) -> None:
    rows, numbers, tensors = arguments(name, torch.float32)
    for wrong in (rows + 1, -rows):
        with pytest.raises(ValueError, match=f"kernel {name}: "):
            Kernel(name)(wrong, 1 << 20, torch.float32, *numbers, *tensors)
    for i in range(len(SIGNATURES[name].integers)):
        # A softmax over more numbers than a row has, too.
        for wrong in (-numbers[i], 100 * numbers[i]):
            given = [wrong if j == i else number for j, number in enumerate(numbers)]
            with pytest.raises(ValueError, match=f"kernel {name}: "):
                Kernel(name)(rows, 1 << 20, torch.float32, *given, *tensors)


def test_a_missing_argument_and_a_fraction_of_a_size_are_refused() -> None:
    rows, numbers, tensors = arguments("blocks.silu_mul", torch.float32)
    with pytest.raises(TypeError, match="expected 3 arguments"):
        Kernel("blocks.silu_mul")(rows, 1 << 20, torch.float32, *numbers, *tensors[:-1])
    with pytest.raises(TypeError):
        Kernel("blocks.silu_mul")(rows, 1 << 20, torch.float32, 16.0, *tensors)


def test_a_format_without_kernels_is_refused() -> None:
    rows, numbers, tensors = arguments("blocks.silu_mul", torch.float64)
    with pytest.raises(ValueError, match="bfloat16 and float32"):
        Kernel("blocks.silu_mul")(rows, 1 << 20, torch.float64, *numbers, *tensors)


def test_an_integer_for_a_float_means_that_number() -> None:
    rows, numbers, tensors = arguments("blocks.add_and_norm", torch.float32)
    found = []
    for eps in (3, 3.0):
        Kernel("blocks.add_and_norm")(rows, 1 << 20, torch.float32, numbers[0], eps, *tensors)
        found.append(tensors[2].clone())
    torch.testing.assert_close(found[0], torch.full_like(found[0], 2 / 7**0.5))
    assert torch.equal(*found)


def test_the_checks_also_hold_with_python_asserts_disabled() -> None:
    program = (
        "import torch\n"
        "from hrm_cli.models.cpu.kernels.launch import Kernel\n"
        "assert False, 'asserts are on'\n"
        "x = torch.ones(6, 64)[:, ::2]\n"
        "try: Kernel('blocks.silu_mul')(6, 100, x.dtype, 16, x, torch.ones(6, 16))\n"
        "except ValueError as error: print(error)\n"
    )
    done = subprocess.run([sys.executable, "-O", "-c", program], check=True, capture_output=True, text=True)
    assert "got non-contiguous float32 [6, 32] on cpu" in done.stdout
