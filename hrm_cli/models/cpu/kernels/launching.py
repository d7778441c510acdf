"""Runs kernels on torch's own OpenMP threads, so that two thread pools do not compete for the cores.

If torch's threads are not accessible (not Linux, or another OpenMP), kernels run on a Python thread pool.
"""

from __future__ import annotations

import ctypes
import functools
import importlib
import struct
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from hrm_cli.models.cpu.kernels.signatures import SIGNATURES
from hrm_cli.numba_cache import with_cache

_LEAST_BYTES, _LEAST_BYTES_OF_A_POOL = 1 << 15, 1 << 19
"""Minimum bytes read and written to use several threads, for torch's threads and for a Python pool. A smaller kernel
finishes before the threads wake up."""

FORMATS = (torch.bfloat16, torch.float32)
"""The dtypes for which kernels exist."""

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
            function = self._functions[dtype] = _compiled(self.name, dtype)
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
        raise RuntimeError(f"kernel {name}: numba compiled it to nothing")
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
