"""Options of commands that run on several processes, and the launching of these processes."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from hrm_cli.cli.options import PROCESSES
from hrm_cli.errors import ConfigError

if TYPE_CHECKING:
    from hrm_cli.evaluation.request import EvalRequest
    from hrm_cli.runs.request import TrainRequest

ProcessesOption = Annotated[
    int,
    typer.Option(
        "--nproc-per-node",
        min=1,
        metavar="N",
        help="Number of processes on this host, one per GPU.",
        rich_help_panel=PROCESSES,
    ),
]
HostsOption = Annotated[
    int,
    typer.Option(
        "--nnodes",
        min=1,
        metavar="M",
        help="Number of hosts; start the same command on each.",
        rich_help_panel=PROCESSES,
    ),
]
HostOption = Annotated[
    int,
    typer.Option(
        "--node-rank",
        min=0,
        metavar="R",
        help="Rank of this host, counted from 0.",
        rich_help_panel=PROCESSES,
    ),
]
EndpointOption = Annotated[
    str | None,
    typer.Option(
        "--rdzv-endpoint",
        metavar="HOST:PORT",
        help="Address of host 0 and a free port, the same on every host.",
        show_default=False,
        rich_help_panel=PROCESSES,
    ),
]
RestartsOption = Annotated[
    int,
    typer.Option(
        "--max-restarts",
        min=0,
        metavar="K",
        help="How many times to restart from the latest checkpoint when a process fails.",
        rich_help_panel=PROCESSES,
    ),
]
BackendOption = Annotated[
    Literal["nccl", "gloo"] | None,
    typer.Option(
        "--backend",
        help="Communication backend.",
        show_default="nccl on CUDA, gloo on CPU",
        rich_help_panel=PROCESSES,
    ),
]

_WORKER = "hrm_cli.cli.worker"


@dataclass(frozen=True)
class Processes:
    """The number of processes of a command and their hosts."""

    per_host: int = 1
    hosts: int = 1
    host: int = 0
    endpoint: str | None = None
    max_restarts: int = 0
    backend: str | None = None

    @property
    def are_launched(self) -> bool:
        """Whether the launcher starts the processes. A single process without restarts runs in this process."""
        return self.per_host > 1 or self.hosts > 1 or self.max_restarts > 0

    @property
    def world_size(self) -> int:
        """The number of processes on all hosts."""
        return self.per_host * self.hosts

    def keep_torch_quiet(self) -> None:
        """Silences torch's own warnings in this process and the workers; to be called before torch is imported.

        If one host exits first, torch prints stack traces of lost connections on the others. The job prints its own
        error message instead. A TORCH_CPP_LOG_LEVEL set by the user is kept.
        """
        if self.are_launched:
            os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")

    def check(self) -> None:
        """Raises ConfigError if the options conflict."""
        if self.host >= self.hosts:
            raise ConfigError(
                f"--node-rank {self.host}: there are {self.hosts} hosts, numbered from 0 to "
                f"{self.hosts - 1} (--nnodes)"
            )
        if self.hosts > 1 and self.endpoint is None:
            raise ConfigError(
                f"--nnodes {self.hosts}: name host 0 for all of them with --rdzv-endpoint HOST:PORT"
            )
        if self.endpoint is not None:
            name, _, port = self.endpoint.rpartition(":")
            if not name or not port.isdecimal() or not 0 < int(port) < 2**16:
                raise ConfigError(
                    f"--rdzv-endpoint {self.endpoint}: expected HOST:PORT, as in 10.0.0.1:29500"
                )
        if self.backend is not None and not self.are_launched:
            raise ConfigError(f"--backend {self.backend}: only for several processes (--nproc-per-node)")


def train_on_processes(
    processes: Processes, request: TrainRequest, *, json: bool, quiet: bool, report: bool = False
) -> int:
    """Trains on several processes and returns the exit status. Only host 0 prepares the run; the others follow it.

    `report`: host 0 then writes the run's report.
    """
    from hrm_cli.checkpoints.pointers import read_pointer
    from hrm_cli.cli import console
    from hrm_cli.distributed.launcher import Job, launch
    from hrm_cli.distributed.process_group import RankInfo, choose_backend, choose_device
    from hrm_cli.runs.preparing import prepare_run

    rank_info = RankInfo(processes.per_host, processes.hosts, processes.host)
    data = None if request.data is None else str(request.data)

    def launched(run: dict[str, Any] | None) -> int:
        console.disable_heartbeat()  # the first worker prints its own heartbeat
        task = {"what": "train", "run": run, "data": data, "max_restarts": processes.max_restarts}
        return launch(Job(_WORKER, task, rank_info, processes.endpoint, processes.max_restarts))

    if processes.host:
        return launched(None)
    with prepare_run(
        request,
        console.ConsoleReporter(quiet=quiet),
        world_size=processes.world_size,
        processes_here=processes.per_host,
    ) as prepared:
        preset = prepared.preset
        # Print the message here once instead of in every worker.
        choose_backend(processes.backend, choose_device(preset.train.device, rank_info))
        named = prepared.named
        run = {
            "folder": str(prepared.folder),
            "preset": preset.model_dump(mode="json"),
            "data": str(prepared.dataset.directory.resolve()),
            "resumed": prepared.resumed,
            "checkpoint": None if named is None else str(named),
            "latest": None if named is None else str(read_pointer(prepared.folder / "latest")),
            "backend": processes.backend,
            "force": request.force,
            "json": json,
            "quiet": quiet,
        }
        status = launched(run)
    if report and status == 0:
        from hrm_cli.cli.studying.report import report_run

        reporter = console.ConsoleReporter(quiet=quiet)
        page = report_run(prepared.folder, reporter)
        if page is not None:
            reporter.note(f"Report: {page}")
    return status


def evaluate_on_processes(
    processes: Processes, request: EvalRequest, *, json: bool, quiet: bool, fail_under: float | None
) -> int:
    """Evaluates on several processes of this host; returns the exit status."""
    from hrm_cli.cli import console
    from hrm_cli.distributed.launcher import Job, launch
    from hrm_cli.distributed.process_group import RankInfo, choose_backend, choose_device

    console.disable_heartbeat()
    rank_info = RankInfo(processes.per_host)
    choose_backend(processes.backend, choose_device(request.device, rank_info))
    task = {
        "what": "evaluate", "request": asdict(request), "json": json, "quiet": quiet,
        "fail_under": fail_under, "backend": processes.backend,
    }  # fmt: skip
    return launch(Job(_WORKER, task, rank_info))
