"""Runs kernels on torch's own OpenMP threads, so that two thread pools do not compete for the cores.

If torch's threads are not accessible (not Linux, or another OpenMP), kernels run on a Python thread pool.

Kernels receive raw addresses, so arguments are checked before the call: a signature lists a kernel's numbers and
tensors, in order, and computes how many elements each tensor must have.
"""

from __future__ import annotations

import ctypes
import functools
import importlib
import operator
import struct
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from hrm_cli.numba_cache import with_cache

NUMBERS_PER_ROW = 4096
"""Chunk size of CPU kernels for tensors without rows: this many float32 from a few tensors fit in the L1 cache."""

_LEAST_BYTES, _LEAST_BYTES_OF_A_POOL = 1 << 15, 1 << 19
"""Minimum bytes read and written to use several threads, for torch's threads and for a Python pool. A smaller kernel
finishes before the threads wake up."""

FORMATS = (torch.bfloat16, torch.float32)
"""The dtypes for which kernels exist."""


Argument = Tensor | int | float


@dataclass(frozen=True)
class Signature:
    """The arguments of one kernel."""

    integers: tuple[str, ...]
    floats: tuple[str, ...]
    tensors: tuple[str, ...]
    elements: Callable[..., tuple[int, ...] | None]
    """Computes the number of elements of each tensor from the rows and the integers; None for inconsistent sizes."""
    always_float32: tuple[str, ...] = ()
    """Tensors that are float32 regardless of the kernel's dtype."""
    always_int8: tuple[str, ...] = ()
    always_int32: tuple[str, ...] = ()

    def checked(
        self, kernel: str, rows: int, dtype: torch.dtype, given: tuple[Argument, ...]
    ) -> tuple[Argument, ...]:
        """Checks and converts the arguments (to int, float, Tensor). Raises TypeError or ValueError for a wrong one."""
        names = (*self.integers, *self.floats, *self.tensors)
        if len(given) != len(names):
            raise TypeError(
                f"kernel {kernel}: expected {len(names)} arguments ({', '.join(names)}), got {len(given)}"
            )
        first_float = len(self.integers)
        first_tensor = first_float + len(self.floats)
        integers = tuple(operator.index(number) for number in given[:first_float])  # type: ignore[arg-type]
        tensors = given[first_tensor:]
        elements = None if rows < 0 or min(integers) < 0 else self.elements(rows, *integers)
        if elements is None:
            sizes = dict(zip(self.integers, integers, strict=True))
            raise ValueError(f"kernel {kernel}: sizes do not fit together: rows={rows}, {sizes}")
        for name, tensor, count in zip(self.tensors, tensors, elements, strict=True):
            wanted = self.dtype_of(name, dtype)
            if not (
                isinstance(tensor, Tensor)
                and tensor.is_cpu
                and tensor.dtype == wanted
                and tensor.layout == torch.strided
                and tensor.is_contiguous()
                and tensor.numel() == count
            ):
                raise ValueError(
                    f"kernel {kernel}: {name}: expected a contiguous CPU tensor of {count} {_name(wanted)} elements, "
                    f"got {_described(tensor)}"
                )
        return (*integers, *map(float, given[first_float:first_tensor]), *tensors)

    def dtype_of(self, tensor: str, dtype: torch.dtype) -> torch.dtype:
        """The dtype that a tensor must have for the kernel's dtype."""
        if tensor in self.always_float32:
            return torch.float32
        if tensor in self.always_int8:
            return torch.int8
        return torch.int32 if tensor in self.always_int32 else dtype


def _described(given: object) -> str:
    if not isinstance(given, Tensor):
        return f"{type(given).__name__} {given!r}"
    contiguous = given.layout == torch.strided and given.is_contiguous()
    kind = "" if contiguous else "non-contiguous "
    return f"{kind}{_name(given.dtype)} {list(given.shape)} on {given.device}"


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _rows_of_heads(rows: int, positions: int, padded: int, heads: int, size: int) -> tuple[int, ...] | None:
    if heads == 0 or rows % heads or padded < positions:
        return None
    table, each = positions * (size // 2), rows * size
    return table, table, 3 * each * positions, each * positions, each * padded, each * padded


def _rows_of_positions(
    rows: int, positions: int, padded: int, heads: int, size: int
) -> tuple[int, ...] | None:
    if positions == 0 or rows % positions:
        return None
    return _rows_of_heads(rows // positions * heads, positions, padded, heads, size)


def _rows_of_numbers(rows: int, count: int) -> tuple[int, ...] | None:
    return (count,) * 4 if rows == -(-count // NUMBERS_PER_ROW) else None


def _rows_of_puzzles(
    rows: int, cells: int, symbols: int, units: int, width: int, heads: int, padded: int
) -> tuple[int, ...] | None:
    if cells == 0 or padded < cells or (heads and width % heads):
        return None
    each, attended = rows * symbols * width, rows * symbols * (width if heads else 0)
    projection = (5 if heads else 2) * cells * each
    heads_of = attended * cells, attended * padded, attended * padded
    return units * cells, projection, units * each, rows * cells * width, *heads_of, projection


def _message_elements(rows: int, cells: int, symbols: int, units: int, size: int) -> tuple[int, ...] | None:
    """Elements of the shares, a state, the messages from units and from cells, and the factors. A row is a puzzle."""
    if cells == 0:
        return None
    each = rows * symbols * size
    return units * cells, cells * each, units * each, rows * cells * size, rows * cells * symbols


def _rows_of_cells(kind: Callable[..., tuple[int, ...] | None], rows: int, cells: int, *others: int) -> Any:
    return None if cells == 0 or rows % cells else kind(rows // cells, cells, *others)


def _add_messages_elements(rows: int, cells: int, symbols: int, units: int, size: int, attends: int) -> Any:
    found = _rows_of_cells(_message_elements, rows, cells, symbols, units, size)
    if found is None:
        return None
    shares, state, from_units, from_cells, factors = found
    return shares, state, from_units, from_cells, attends * state, state, factors


def _add_messages_backward_elements(rows: int, cells: int, symbols: int, units: int, size: int) -> Any:
    found = _message_elements(rows, cells, symbols, units, size)
    if found is None:
        return None
    shares, state, from_units, from_cells, factors = found
    return shares, state, state, factors, state, from_units, from_cells


def _gather_elements(rows: int, lines: int, columns: int, width: int) -> tuple[int, ...] | None:
    """Elements of the projection, of what arrives across edges, and of what a cell receives. A row is a cell."""
    cells = lines * columns
    return None if cells == 0 or rows % cells else (12 * rows * width, 4 * rows * width, 4 * rows * width)


def _arrivals_backward_elements(rows: int, lines: int, columns: int, width: int) -> tuple[int, ...] | None:
    found = _gather_elements(rows, lines, columns, width)
    return None if found is None else (*found, found[1])


def _gather_backward_elements(rows: int, lines: int, columns: int, width: int) -> tuple[int, ...] | None:
    found = _gather_elements(rows, lines, columns, width)
    return None if found is None else (*found, found[0])


def _all_but_last(elements: tuple[int, ...] | None) -> tuple[int, ...] | None:
    return None if elements is None else elements[:-1]


_HEADS = ("positions", "padded", "heads", "size")
_AVERAGE_SIZES = ("cells", "symbols", "units", "width", "heads", "padded")
_AVERAGE_TENSORS = ("shares", "projection", "of_units", "of_cells", "q", "k", "v")
_HEAD_TENSORS = ("cos", "sin", "projection", "q", "k", "v")

SIGNATURES = {
    "blocks.add_and_norm": Signature(
        ("size",), ("eps",), ("x", "y", "normed", "factor"),
        lambda rows, size: (rows * size,) * 3 + (rows,), always_float32=("factor",),
    ),
    "blocks.norm_backward": Signature(
        ("size",), (), ("gradient", "normed", "factor", "out"),
        lambda rows, size: (rows * size, rows * size, rows, rows * size), always_float32=("factor",),
    ),
    "blocks.silu_mul": Signature(
        ("size",), (), ("both", "gated"), lambda rows, size: (2 * rows * size, rows * size),
    ),
    "blocks.silu_mul_backward": Signature(
        ("size",), (), ("both", "gradient", "for_both"),
        lambda rows, size: (2 * rows * size, rows * size, 2 * rows * size),
    ),
    "int8.quantize": Signature(
        ("size",), (), ("x", "out", "scales"), lambda rows, size: (rows * size, rows * size, rows),
        always_float32=("scales",), always_int8=("out",),
    ),
    "int8.silu_mul": Signature(
        ("size",), (), ("both", "scales", "columns", "gated", "out_scales"),
        lambda rows, size: (2 * rows * size, rows, 2 * size, rows * size, rows),
        always_float32=("scales", "columns", "out_scales"), always_int8=("gated",), always_int32=("both",),
    ),
    "int8.rescale": Signature(
        ("size",), (), ("sums", "scales", "columns", "out"),
        lambda rows, size: (rows * size, rows, size, rows * size),
        always_float32=("scales", "columns"), always_int32=("sums",),
    ),
    "int8.add_and_norm": Signature(
        ("size",), ("eps",), ("x", "sums", "scales", "columns", "normed"),
        lambda rows, size: (rows * size, rows * size, rows, size, rows * size),
        always_float32=("scales", "columns"), always_int32=("sums",),
    ),
    "attention.split_heads": Signature(
        _HEADS, ("scale",), _HEAD_TENSORS, _rows_of_heads, always_float32=("cos", "sin"),
    ),
    "attention.join_heads": Signature(
        _HEADS, ("scale",), _HEAD_TENSORS, _rows_of_positions, always_float32=("cos", "sin"),
    ),
    "attention.softmax": Signature(
        ("size", "count"), (), ("scores",),
        lambda rows, size, count: (rows * size,) if 0 < count <= size else None,
    ),
    "units.average": Signature(
        _AVERAGE_SIZES, ("scale",), _AVERAGE_TENSORS,
        lambda rows, *sizes: _all_but_last(_rows_of_puzzles(rows, *sizes)), always_float32=("shares",),
    ),
    "units.average_backward": Signature(
        _AVERAGE_SIZES, ("scale",), (*_AVERAGE_TENSORS, "out"),
        lambda rows, *sizes: _rows_of_cells(_rows_of_puzzles, rows, *sizes), always_float32=("shares",),
    ),
    "units.add_messages_and_norm": Signature(
        ("cells", "symbols", "units", "size", "attends"), ("eps",),
        ("shares", "x", "of_units", "of_cells", "of_others", "normed", "factor"),
        _add_messages_elements, always_float32=("shares", "factor"),
    ),
    "units.add_messages_backward": Signature(
        ("cells", "symbols", "units", "size"), (),
        ("shares", "gradient", "normed", "factor", "out", "for_units", "for_cells"),
        _add_messages_backward_elements, always_float32=("shares", "factor"),
    ),
    "edges.gather": Signature(
        ("lines", "columns", "width"), (), ("projection", "arrived", "of_cell"), _gather_elements,
    ),
    "edges.arrivals_backward": Signature(
        ("lines", "columns", "width"), (), ("projection", "for_arrived", "for_cell", "complete"),
        _arrivals_backward_elements,
    ),
    "edges.gather_backward": Signature(
        ("lines", "columns", "width"), (), ("projection", "for_arrived", "for_cell", "out"),
        _gather_backward_elements,
    ),
    "optimizer.adam_atan2": Signature(
        ("count",), ("keep", "new_first", "beta2", "new_second", "correction", "rate"),
        ("parameter", "gradient", "exp_avg", "exp_avg_sq"), _rows_of_numbers,
    ),
    "optimizer.add_gradient": Signature(
        ("count",), (), ("gradient", "total"),
        lambda rows, count: (count,) * 2 if _rows_of_numbers(rows, count) else None,
        always_float32=("total",),
    ),
}  # fmt: skip


_COMPILING = threading.Lock()
_FUNCTION = ctypes.CFUNCTYPE(None, ctypes.c_void_p)


class Kernel:
    """A kernel, looked up by name. It is compiled on its first call for each dtype.

    `Kernel("blocks.silu_mul")(rows, bytes_per_row, dtype, …)` is `silu_mul` of `hrm_cli.models.cpu.kernels.blocks`.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._signature = SIGNATURES[name]
        self._functions: dict[torch.dtype, Callable[..., None]] = {}

    def __call__(self, rows: int, row_bytes: int, dtype: torch.dtype, *given: Tensor | int | float) -> None:
        """Runs the kernel on `rows` rows of about `row_bytes` each, split over the threads.

        `given` are the kernel's own arguments. Raises TypeError or ValueError before running if an argument does not
        match the kernel's signature.
        """
        given = self._signature.checked(self.name, rows, dtype, given)
        function = self._functions.get(dtype)
        if function is None:
            with _COMPILING:
                function = self._functions.get(dtype) or _compiled(self.name, dtype)
                self._functions[dtype] = function
        least = _LEAST_BYTES if _gnu_parallel() else _LEAST_BYTES_OF_A_POOL
        threads = torch.get_num_threads() if rows * row_bytes >= least else 1
        # Use all threads or one, as torch does: OpenMP would create a new team for another number. Each thread takes
        # consecutive rows, roughly those that torch's matmuls left in that thread's cache.
        per_task = max(-(-rows // threads), 1)
        arguments = (ctypes.c_int64 * (4 + len(given)))(
            0, -(-rows // per_task), rows, per_task, *map(_bits, given)
        )
        if threads == 1:
            function(arguments)
        else:
            _run(function, arguments, threads)


def _bits(argument: Tensor | int | float) -> int:
    if isinstance(argument, Tensor):
        return argument.data_ptr()
    if isinstance(argument, float):
        return struct.unpack("q", struct.pack("d", argument))[0]
    return argument


_kept: list[Any] = []
"""References to compiled kernels. Their machine code would be freed with them."""


def _compiled(name: str, dtype: torch.dtype) -> Callable[..., None]:
    from numba import cfunc, types

    from hrm_cli.models.cpu.kernels.numbers import FASTMATH

    module, function = name.split(".")
    body = getattr(importlib.import_module(f"hrm_cli.models.cpu.kernels.{module}"), function)
    # bfloat16 is represented by its bits as uint16. The pointer type of the kernel's only parameter states the dtype.
    numbers = {torch.bfloat16: types.uint16, torch.float32: types.float32}
    if dtype not in numbers:
        raise ValueError(f"kernel {name}: exists in bfloat16 and float32, not in {dtype}")
    number = numbers[dtype]
    signature = types.void(types.CPointer(number))
    made = with_cache(
        lambda cache: cfunc(signature, fastmath=FASTMATH, error_model="numpy", cache=cache)(body)
    )
    _kept.append(made)
    if made.address is None:
        raise RuntimeError(f"kernel {name}: numba did not compile it")
    return _FUNCTION(made.address)


def _run(function: Callable[..., None], arguments: Any, threads: int) -> None:
    parallel = _gnu_parallel()
    if parallel is not None:
        parallel(function, arguments, threads, 0)
        return
    pool = _pool(threads)
    wait([pool.submit(function, arguments) for _ in range(threads)])


@functools.cache
def _gnu_parallel() -> Callable[..., None] | None:
    """The function GOMP_parallel of the GNU OpenMP bundled with torch; None if torch bundles no GNU OpenMP."""
    here = Path(torch.__file__).parent
    for path in [*here.glob("lib/libgomp*.so*"), *here.parent.glob("torch.libs/libgomp*.so*")]:
        try:
            parallel = ctypes.CDLL(str(path)).GOMP_parallel
        except (
            OSError,
            AttributeError,
        ):  # the file cannot be loaded alone, or is another library of that name
            continue
        parallel.argtypes = (_FUNCTION, ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint)
        parallel.restype = None
        return parallel
    return None


@functools.cache
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, thread_name_prefix="hrm-kernel")
