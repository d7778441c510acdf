"""Starts the processes of a job with torch's elastic launcher, forwards signals, and reports one error for a failed
job.

The launcher does not use tensors. Its main thread handles signals. Workers may take as long as they need to save a
checkpoint, and their reports determine the exit status.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import signal
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from hrm_cli.distributed.process_group import RankInfo, own_address
from hrm_cli.distributed.reports import Report, first_cause, read_reports
from hrm_cli.environment import stop_signals
from hrm_cli.errors import ConfigError, HRMError, reason_of
from hrm_cli.files import is_alive
from hrm_cli.machine import granted_cores

_EXIT_GRACE_SECONDS = 5.0
"""Seconds that the launcher waits for torch's agent after a signal, once all workers have exited."""
_RENDEZVOUS_SECONDS = 900
"""Seconds that the hosts of a job wait for each other."""


@dataclass(frozen=True)
class Job:
    """The processes to start: the same number on each host, with one launcher per host."""

    module: str
    """Run as `python -m MODULE TASK`."""
    task: dict[str, Any]
    """The task that the module runs, as a JSON object."""
    rank_info: RankInfo
    """The host of this launcher, and the size of the job."""
    endpoint: str | None = None
    """`HOST:PORT` of host 0, for a job on several hosts."""
    max_restarts: int = 0


class WorkerTraceback(Exception):  # noqa: N818 - only shown, never caught
    """The traceback of a worker process. `--debug` shows it as the cause of the error."""


class JobFailed(HRMError):  # noqa: N818 - the name describes the event
    """A process of the job failed."""

    def __init__(self, message: str, exit_status: int) -> None:
        super().__init__(message)
        self.exit_status = exit_status


def launch(job: Job) -> int:
    """Runs the job's processes on this host until they end. Returns the exit status: 0, or that of a signal.

    Raises JobFailed with the message of the process that failed first, and ConfigError if the rendezvous fails.
    Raises KeyboardInterrupt or SystemExit if a signal arrives before training has started.
    """
    rank_info = job.rank_info
    # Workers inherit this. Without it, torch's launcher would set one thread per process.
    os.environ.setdefault("OMP_NUM_THREADS", str(threads_for_each(rank_info.processes)))
    with tempfile.TemporaryDirectory(prefix="hrm-job-") as name:
        folder = Path(name)
        task = {
            **job.task,
            "reports": name,
            "rank_info": {"processes": rank_info.processes, "hosts": rank_info.hosts, "host": rank_info.host},
        }
        (folder / "task.json").write_text(json.dumps(task), encoding="utf-8")
        outcome: list[BaseException | None] = []
        agent = threading.Thread(target=_run_agent, args=(job, folder, outcome), daemon=True)
        with _SignalForwarding(folder) as signals:
            agent.start()
            while agent.is_alive() and not signals.is_time_to_exit():
                agent.join(0.1)
        return _conclude(job, folder, outcome[0] if outcome else None, signals.number)


def threads_for_each(processes: int) -> int:
    """Number of threads per process if all cores of this host are divided evenly."""
    return max(1, granted_cores() // processes)


def _run_agent(job: Job, folder: Path, outcome: list[BaseException | None]) -> None:
    from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs, Std
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    rank_info = job.rank_info
    # Only rank 0 prints. The output of the others is stored and shown if one of them exits without a report.
    silent = {i: Std.ALL for i in range(rank_info.processes) if rank_info.host or i}
    config = LaunchConfig(
        min_nodes=rank_info.hosts,
        max_nodes=rank_info.hosts,
        nproc_per_node=rank_info.processes,
        run_id="hrm",
        rdzv_backend="c10d",
        rdzv_endpoint=job.endpoint or "localhost:0",
        rdzv_configs={"timeout": _RENDEZVOUS_SECONDS, "is_host": rank_info.host == 0},
        max_restarts=job.max_restarts,
        monitor_interval=0.1,
        local_addr=own_address(job.endpoint.rpartition(":")[0]) if job.endpoint else "127.0.0.1",
        logs_specs=DefaultLogsSpecs(log_dir=str(folder / "logs"), redirects=silent),
    )
    _silence_torch_logging()
    try:
        elastic_launch(config, sys.executable)("-m", job.module, str(folder / "task.json"))
        outcome.append(None)
    except BaseException as error:  # the main thread handles it
        outcome.append(error)


def _silence_torch_logging() -> None:
    # torch warns about closed workers and child threads. The launcher reports one error instead.
    for name in logging.root.manager.loggerDict:
        if name.startswith("torch.distributed.elastic"):
            logging.getLogger(name).setLevel(logging.CRITICAL)


def _conclude(job: Job, folder: Path, error: BaseException | None, signal_number: int | None) -> int:
    reports = read_reports(folder)
    cause = first_cause(reports)
    if cause is not None and cause.is_interruption:
        return cause.status
    if signal_number == signal.SIGINT:
        raise KeyboardInterrupt
    if signal_number is not None:
        raise SystemExit(128 + signal_number)
    if cause is not None and not cause.is_consequence:
        trace = WorkerTraceback(f"process {cause.rank}\n{cause.traceback}") if cause.traceback else None
        raise JobFailed(cause.message, cause.status) from trace
    if error is None:
        if cause is not None:
            raise JobFailed(cause.message, cause.status)
        return 0
    raise _failure(job, folder, error, cause) from error


def _failure(job: Job, folder: Path, error: BaseException, cause: Report | None) -> HRMError:
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.elastic.rendezvous import RendezvousError

    if isinstance(error, ChildFailedError):
        # Workers without a report: killed, or crashed in compiled code.
        silent = [
            (local_rank, failure)
            for local_rank, failure in error.failures.items()
            if not _has_reported(folder, job.rank_info, local_rank)
        ]
        # Workers that torch's agent terminated because another one had failed are sorted last.
        local_rank, failure = min(
            silent,
            key=lambda pair: (pair[1].exitcode == -signal.SIGTERM, pair[1].timestamp),
            default=(0, None),
        )
        if failure is not None and (cause is None or failure.exitcode != -signal.SIGTERM):
            rank = RankInfo(job.rank_info.processes, job.rank_info.hosts, job.rank_info.host, local_rank).rank
            return JobFailed(
                f"process {rank} of {job.rank_info.world_size} {_describe_exit(failure.exitcode)}"
                f"{_log_tail(folder, local_rank)}",
                1,
            )
    if cause is not None:
        return JobFailed(cause.message, cause.status)
    if isinstance(error, RendezvousError | RuntimeError | ValueError | OSError):
        where = job.endpoint or "this host"
        return ConfigError(
            f"rendezvous of {job.rank_info.hosts} hosts at {where} failed ({reason_of(error)}); "
            "start one on each, with the same --nnodes and --rdzv-endpoint and its own --node-rank"
        )
    return JobFailed(f"the launcher failed: {reason_of(error)}", 1)


def _has_reported(folder: Path, rank_info: RankInfo, local_rank: int) -> bool:
    rank = RankInfo(rank_info.processes, rank_info.hosts, rank_info.host, local_rank).rank
    return any(report.rank == rank for report in read_reports(folder))


def _describe_exit(exit_code: int) -> str:
    if exit_code >= 0:
        return f"exited with code {exit_code} and no traceback"
    try:
        name = signal.Signals(-exit_code).name
    except ValueError:
        name = f"signal {-exit_code}"
    hint = "; the system does this when memory runs out" if name == "SIGKILL" else ""
    return f"was killed by {name}{hint}"


def _log_tail(folder: Path, local_rank: int) -> str:
    logs = sorted(folder.glob(f"logs/*/attempt_*/{local_rank}/stderr.log"), key=lambda f: f.stat().st_mtime)
    lines = logs[-1].read_text(encoding="utf-8", errors="replace").splitlines()[-5:] if logs else []
    return "".join(f"\n  {line}" for line in lines)


class _SignalForwarding:
    """A context manager that forwards the signals to stop to the workers, and prevents restarts after a signal."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.number: int | None = None
        self._previous: dict[int, Any] = {}
        self._idle_since: float | None = None

    def __enter__(self) -> _SignalForwarding:
        for number in stop_signals():
            # Setting a handler fails outside the main thread. Tests then handle signals themselves.
            with contextlib.suppress(ValueError):
                self._previous[number] = signal.signal(number, self._forward)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _forward(self, number: int, frame: FrameType | None) -> None:
        self.number = self.number or number
        (self._folder / "stop").write_text(str(self.number), encoding="utf-8")
        for process in self._workers():
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, number)

    def _workers(self) -> list[int]:
        """Process ids of the workers that are still running."""
        alive = []
        for file in self._folder.glob("process-*"):
            with contextlib.suppress(ValueError, OSError):
                process = int(file.read_text(encoding="utf-8"))
                if is_alive(process):
                    alive.append(process)
        return alive

    def is_time_to_exit(self) -> bool:
        """Whether a signal was received and no worker has been running for `_EXIT_GRACE_SECONDS`.

        torch's agent may wait much longer for other hosts.
        """
        if self.number is None or self._workers():
            self._idle_since = None
            return False
        self._idle_since = self._idle_since or time.monotonic()
        return time.monotonic() - self._idle_since > _EXIT_GRACE_SECONDS
