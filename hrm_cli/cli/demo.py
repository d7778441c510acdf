"""`hrm demo`: a guided tour from building a dataset to solved puzzles, on a laptop."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hrm_cli.cli.options import JsonOption, QuietOption, SeedOption, run_folder_option

if TYPE_CHECKING:
    from hrm_cli.data.format import Dataset
    from hrm_cli.evaluation.evaluate import Evaluation

SHOWN_PUZZLES = 3


def demo(
    output_dir: Annotated[Path | None, run_folder_option("runs/demo, or the next free")] = None,
    seed: SeedOption = 0,
    quiet: QuietOption = False,
    json: JsonOption = False,
) -> None:
    """A guided tour: build a dataset, train a small model, evaluate it, solve puzzles.

    \b
    Example:
      hrm demo

    Takes about a minute on two CPU cores.
    """
    import time

    from hrm_cli.checkpoints.model_files import load_model
    from hrm_cli.cli import console
    from hrm_cli.cli.options import device_of_command
    from hrm_cli.data.format import Dataset
    from hrm_cli.evaluation.evaluate import evaluate
    from hrm_cli.runs.execution import run_training
    from hrm_cli.runs.preparing import prepare_run
    from hrm_cli.runs.request import TrainRequest

    reporter = console.ConsoleReporter(quiet=quiet)

    def say(text: str) -> None:
        reporter.note(f"\n{text}")

    started = time.perf_counter()
    folder = output_dir or _free_folder()
    say(_BUILDING)
    with prepare_run(TrainRequest("demo", output_dir=folder, seed=seed or 0), reporter) as prepared:
        say(_TRAINING)
        outcome = run_training(prepared, reporter, find_device=device_of_command)
    if outcome.result.signal_number is not None:
        reporter.note(f"\nInterrupted and saved. Continue with: hrm train --resume {folder}")
        raise typer.Exit(128 + outcome.result.signal_number)

    model, card = load_model(folder, device_of_command(prepared.preset.train.device))
    test = Dataset.open(folder / "dataset", "test")
    result = evaluate(model, test, prepared.preset.eval)
    say(_evaluated(result))
    puzzle_file = folder / "puzzles.txt"
    _write_puzzles(test, puzzle_file)
    if json:
        console.print_json(
            {
                "seconds": time.perf_counter() - started,
                "exact_accuracy": result.exact_accuracy,
                "puzzles": result.puzzles,
                "mean_steps": result.mean_steps,
                "checkpoint": str(card.path),
                "run": str(folder),
            }
        )
        return
    say(_SOLVING.format(count=SHOWN_PUZZLES, file=puzzle_file))
    reporter.note("")
    _solve(folder, puzzle_file, quiet=quiet)
    reporter.note(_DONE.format(seconds=time.perf_counter() - started, run=folder, file=puzzle_file))


def _free_folder() -> Path:
    names = (Path("runs") / ("demo" if n == 1 else f"demo-{n}") for n in range(1, 10_000))
    return next(folder for folder in names if not folder.exists())


def _evaluated(result: Evaluation) -> str:
    return (
        f"3. Evaluation. {result.puzzles} puzzles that do not occur in training: "
        f"{result.exact_accuracy:.1%} are solved completely, in {result.mean_steps:.1f} reasoning steps "
        f"on average. The model decides when to halt. It should halt when its answer is right; for "
        f"{result.q_halt_accuracy:.1%} of the puzzles it judges this correctly."
    )


def _write_puzzles(test: Dataset, file: Path) -> None:
    from hrm_cli.puzzles.domain import make_domain

    facts = dict(test.metadata.domain or {})
    domain = make_domain(facts.pop("name"), **facts)
    lines = [domain.text(domain.decode(tokens)) for tokens in test.sets[0].inputs[:SHOWN_PUZZLES]]
    file.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def _solve(checkpoint: Path, puzzle_file: Path, *, quiet: bool) -> None:
    # Do what the command in the text does, so that the user would get the same output.
    from hrm_cli.cli.options import device_of_command
    from hrm_cli.cli.render.solutions import Report
    from hrm_cli.solving.request import SolveRequest
    from hrm_cli.solving.session import solve_request

    report = Report(json=False, trace=True, quiet=quiet)
    request = SolveRequest((str(puzzle_file),), checkpoint, trace=True)
    # Unsolved puzzles are shown as unsolved; they do not make the demo fail.
    with contextlib.suppress(typer.Exit):
        report.finish(solve_request(request, report, find_device=device_of_command))


_BUILDING = (
    "1. Dataset. The built-in generator makes 4×4 Sudoku puzzles, each with exactly one solution: "
    "30,000 for training and 500 for testing, without overlap."
)
_TRAINING = (
    "2. Training. A Hierarchical Reasoning Model with half a million parameters. Two modules take turns: a fast "
    "one (L) works out details, a slow one (H) directs it. After every reasoning step the model gives an answer and is "
    "trained on it; it also learns when to halt. 'train exact' is the fraction of training puzzles with every cell "
    "correct. It stays at zero for a while, then it climbs."
)
_SOLVING = "4. Solving. {count} of the test puzzles, from the file {file}; the grid after every step:"
_DONE = """
Done in {seconds:.0f} s. To run single steps again:
  hrm eval {run}
  hrm solve {file} --checkpoint {run} --trace
To train on bigger puzzles, 9×9, in minutes: hrm train --preset sudoku-9x9-quick"""
