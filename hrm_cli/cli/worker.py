"""One process of a job: `python -m hrm_cli.cli.worker TASK.json`, started by `hrm_cli.distributed.launcher`.

It is in the top layer because a worker does the same work as its command (data, model, evaluation, output). However it
ends, it writes a report. The launcher turns the reports into one message.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import traceback
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hrm_cli.distributed.reports import Report, exit_status_of_ended_job
from hrm_cli.environment import exit_on_signals
from hrm_cli.errors import EXIT_FAULT, HRMError, fault

if TYPE_CHECKING:
    from hrm_cli.distributed.process_group import RankInfo, Rendezvous

_PR_SET_PDEATHSIG = 1


def main() -> None:
    """Runs the task. If the exit status is not 0, torch's agent ends or restarts the other workers."""
    task = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    folder, local_rank = Path(task["reports"]), int(os.environ["LOCAL_RANK"])
    attempt = int(os.environ["TORCHELASTIC_RESTART_COUNT"])
    rank = task["rank_info"]["host"] * task["rank_info"]["processes"] + local_rank
    (folder / f"process-{local_rank}").write_text(str(os.getpid()), encoding="utf-8")
    _die_with_launcher()
    if exit_status_of_ended_job(folder) is not None:
        return
    exit_on_signals()

    def report(kind: Any, status: int, message: str, trace: str = "") -> None:
        Report(kind, status, message, rank, attempt, traceback=trace).write(folder)

    try:
        status = _work(task, attempt, local_rank)
        if status:
            # All ranks have agreed to stop and saved, so torch's agent must see a normal exit.
            report("interrupted", status, "")
        _exit_now(0)
    except (KeyboardInterrupt, SystemExit) as error:
        # There was nothing to save yet. The launcher knows whether it was interrupted or another worker failed.
        report("lost", 1, f"process {rank} was terminated by a signal")
        _exit_now(128 + (signal.SIGINT if isinstance(error, KeyboardInterrupt) else signal.SIGTERM))
    except HRMError as error:
        report("refused", error.exit_status, str(error))
        _exit_now(error.exit_status)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        report("failed", HRMError.exit_status, f"{where}{error.strerror or error}")
        _exit_now(1)
    except Exception as error:
        # Compare by name, because torch may not have been loaded yet.
        if type(error).__name__ == "PeerLost":
            report("lost", 1, f"process {rank} lost the connection to the other processes: {error}")
        else:
            report("failed", EXIT_FAULT, f"process {rank}: {fault(error)}", traceback.format_exc().rstrip())
        _exit_now(1)


def _exit_now(status: int) -> None:
    # Exit immediately: backend threads may wait for ranks that are gone, and destructors would abort the process.
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError):
            stream.flush()
    os._exit(status)


def _die_with_launcher() -> None:
    # A killed launcher cannot stop its workers, so ask the kernel to do it (Linux).
    with contextlib.suppress(OSError, AttributeError, TypeError):
        import ctypes

        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def _work(task: dict[str, Any], attempt: int, local_rank: int) -> int:
    from hrm_cli.distributed.process_group import RankInfo, Rendezvous

    rank_info = RankInfo(**task["rank_info"], local_rank=local_rank)
    rendezvous = Rendezvous(rank_info)
    try:
        return _train(task, attempt, rendezvous) if task["what"] == "train" else _evaluate(task, rendezvous)
    except HRMError as error:
        rendezvous.end_job(str(error), error.exit_status)
        raise


def _train(task: dict[str, Any], attempt: int, rendezvous: Rendezvous) -> int:
    from hrm_cli.cli import console
    from hrm_cli.cli.options import device_of_command
    from hrm_cli.cli.render.figures import show_outcome
    from hrm_cli.config.schema import Preset
    from hrm_cli.distributed.process_group import choose_backend, choose_device
    from hrm_cli.reporting import Silent
    from hrm_cli.runs.execution import run_training
    from hrm_cli.runs.preparing import check_same_dataset, reopened_run
    from hrm_cli.runs.resources import ResourceCheck

    rank_info = rendezvous.rank_info
    # The configuration of rank 0 is used on every host.
    agreed = rendezvous.agree(task["run"] if rank_info.rank == 0 else None)
    preset = Preset.model_validate(agreed["preset"])
    device = choose_device(preset.train.device, rank_info)
    backend = choose_backend(agreed["backend"], device)
    with rendezvous.world(backend, device) as world, _heartbeat(rank_info, "hrm train"):
        reporter = console.ConsoleReporter(quiet=agreed["quiet"]) if world.is_first else Silent()
        prepared = reopened_run(
            Path(agreed["folder"]),
            preset,
            Path(task["data"] or agreed["data"]),
            resumed=agreed["resumed"] or attempt > 0,
            checks_tokens=_checks_dataset(rank_info, attempt),
            named=_named_checkpoint(agreed, attempt),
            resource_check=ResourceCheck(
                rank_info.world_size, rank_info.processes, agreed["force"], reporter
            ),
        )
        check_same_dataset(prepared, world)
        if world.is_first and attempt:
            console.print_message(
                f"A process failed. Restarted from the latest checkpoint ({attempt} of {task['max_restarts']})."
            )
        outcome = run_training(prepared, reporter, world=world, device=device_of_command(device.type, device))
        if world.is_first:
            show_outcome(outcome, json=agreed["json"])
    return 0 if outcome.result.signal_number is None else 128 + outcome.result.signal_number


def _heartbeat(rank_info: RankInfo, command: str) -> AbstractContextManager[None]:
    from hrm_cli.cli.console import heartbeat

    return contextlib.nullcontext() if rank_info.rank else heartbeat(command)


def _checks_dataset(rank_info: RankInfo, attempt: int) -> bool:
    """Whether this process checks the dataset of its host. On host 0 the launcher has already done so."""
    return rank_info.host > 0 and rank_info.local_rank == 0 and attempt == 0


def _named_checkpoint(agreed: dict[str, Any], attempt: int) -> Path | None:
    """The checkpoint given by `--resume`, unless the run had newer checkpoints when it was restarted."""
    from hrm_cli.checkpoints.pointers import read_pointer

    if agreed["checkpoint"] is None:
        return None
    has_newer = attempt > 0 and str(read_pointer(Path(agreed["folder"]) / "latest")) != agreed["latest"]
    return None if has_newer else Path(agreed["checkpoint"])


def _evaluate(task: dict[str, Any], rendezvous: Rendezvous) -> int:
    from hrm_cli.cli.console import ConsoleReporter
    from hrm_cli.cli.options import device_of_command
    from hrm_cli.cli.render import figures
    from hrm_cli.distributed.process_group import choose_backend, choose_device
    from hrm_cli.evaluation.measuring import measure
    from hrm_cli.evaluation.request import EvalRequest

    request, json = EvalRequest(**task["request"]), task["json"]
    device = choose_device(request.device, rendezvous.rank_info)
    backend = choose_backend(task["backend"], device)
    with rendezvous.world(backend, device) as world, _heartbeat(rendezvous.rank_info, "hrm eval"):
        own = device_of_command(device.type, device)
        measured = measure(request, ConsoleReporter(quiet=task["quiet"]), world=world, device=own)
        if world.is_first:
            figures.show(measured, json=json, fail_under=task["fail_under"])
        return figures.status(measured, task["fail_under"])


if __name__ == "__main__":
    main()
