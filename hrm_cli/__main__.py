"""Entry point of `python -m hrm_cli` and of the `hrm` command."""

import gc
import os
import sys
import threading


def run() -> None:
    """Runs the `hrm` executable. Ctrl-C exits without a traceback, even while modules are still being imported."""
    try:
        from hrm_cli.cli.app import Interrupted, main
    except KeyboardInterrupt:
        print("Interrupted.", file=sys.stderr)
        sys.exit(130)
    try:
        main()
    except Interrupted as end:
        _leave_working_threads(end.code)
        raise
    finally:
        # On its way out, Python would search all of torch's and numba's objects for cycles, for a quarter of a second.
        gc.freeze()


def _leave_working_threads(status: object) -> None:
    """Ends the process at once if threads still work: Python would wait for them, however long they take.

    They compile kernels, make puzzles or compute shards. The result is lost in any case, and no file is open.
    """
    others = (thread for thread in threading.enumerate() if thread is not threading.main_thread())
    if isinstance(status, int) and any(not thread.daemon for thread in others):
        os._exit(status)  # main has flushed the streams


if __name__ == "__main__":
    run()
