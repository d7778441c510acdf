"""`hrm export`: models for other programs: an ONNX file, or an HTML page that solves puzzles by itself."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from hrm_cli.cli import console
from hrm_cli.cli.options import ANY_MODEL, JsonOption, complete_models, option, seed_option
from hrm_cli.cli.render.paragraphs import print_fitting


def export(
    arguments: Annotated[
        list[str],
        typer.Argument(
            metavar="[CHECKPOINT…] FILE",
            autocompletion=complete_models,
            help=f"{ANY_MODEL} The last argument is the file to write.",
        ),
    ],
    format: Annotated[
        Literal["onnx", "html"] | None,
        option(
            "--format",
            "onnx: one reasoning step, for onnxruntime; html: a page that solves puzzles by itself.",
            "from FILE's extension",
        ),
    ] = None,
    int8: Annotated[bool, typer.Option("--int8", help="Store weights as 8-bit integers.")] = False,
    max_loss: Annotated[
        float,
        typer.Option(
            "--max-loss",
            min=0,
            max=1,
            help="Largest acceptable drop in exact accuracy, such as 0.01 for 1 %.",
        ),
    ] = 0.01,
    data: Annotated[
        Path | None,
        option(
            "--data", "Dataset whose test split is used to compare accuracies.", "new puzzles", metavar="DIR"
        ),
    ] = None,
    puzzles: Annotated[
        int, typer.Option("--puzzles", min=0, help="Number of puzzles to compare accuracies on; 0: none.")
    ] = 200,
    size: Annotated[
        int | None,
        option(
            "--size",
            "Size of the puzzles, for mixers that work for every size.",
            "the size in training",
            min=1,
        ),
    ] = None,
    max_steps: Annotated[
        int | None,
        option(
            "--max-steps",
            "Maximum number of steps, stored in the file for programs that run it.",
            "the checkpoint's",
            min=1,
        ),
    ] = None,
    seed: Annotated[int, seed_option(True)] = 0,
    force: Annotated[
        bool, typer.Option("--force", help="Write the file even if a comparison failed.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """Write models for other programs: an ONNX file, or one HTML page that solves puzzles offline.

    An ONNX file holds one reasoning step; the program that uses it runs the loop over steps (docs/exporting.md). It is
    compared with the original before it is written, and needs the extra onnx: pip install 'hrm-cli[onnx]'. The options
    below, except --format and --json, are for ONNX.

    A page holds the weights and runs them in the browser, without a server or a network. Without a CHECKPOINT it gets
    the best bundled models for Sudoku of each size and for mazes.

    \b
    Examples:
      hrm export bundled:sudoku-any-size sudoku.onnx
      hrm export runs/mine mine.onnx --data data/mine
      hrm export runs/mine mine.onnx --int8 --max-loss 0.02
      hrm export --format html playground.html
      hrm export runs/mine bundled:maze-any-size mine.html
    """
    from hrm_cli.errors import ConfigError

    *checkpoints, file = arguments
    output = Path(file)
    chosen = format or {".onnx": "onnx", ".html": "html", ".htm": "html"}.get(output.suffix.lower())
    if chosen is None:
        raise ConfigError(
            f"{file}: end its name in .onnx or .html, or name the format: --format onnx or html"
        )
    if chosen == "html":
        given = {"--int8": int8, "--data": data, "--size": size, "--max-steps": max_steps, "--force": force}
        wrong = next((name for name, value in given.items() if value), None)
        if wrong is not None:
            raise ConfigError(f"{wrong}: only for --format onnx; omit it")
        _write_page(checkpoints, output, json=json)
        return
    if len(checkpoints) != 1:
        raise ConfigError(
            f"--format onnx: found {len(checkpoints)} checkpoints and the file {file}; expected one CHECKPOINT"
        )
    from hrm_cli.exporting.onnx_export import OnnxRequest, export_onnx

    request = OnnxRequest(
        Path(checkpoints[0]), output, int8, max_loss, data, puzzles, size, max_steps, force, seed
    )
    done = export_onnx(request, on_stage=lambda stage: console.print_message(f"{stage} …"))
    if json:
        console.print_json(done.document())
        return
    print_fitting(
        f"{done.path}: one step for {done.domain}, {done.bytes:,} bytes{', int8' if done.int8 else ''}"
    )
    before = ", before quantization" if done.int8 else ""
    print_fitting(f"logits within {done.deviation:.1e} of torch over {done.steps} steps{before}")
    if done.puzzles:
        print_fitting(
            f"exact accuracy on {done.puzzles}: {done.exact_accuracy:.1%} with torch, {done.exported_accuracy:.1%} "
            "with onnxruntime"
        )
    if done.refused:
        console.print_message(f"Warning: {done.refused} (written because of --force)")


def _write_page(checkpoints: list[str], output: Path, *, json: bool) -> None:
    from hrm_cli.exporting.page import export_page

    done = export_page(checkpoints, output)
    if json:
        console.print_json(done.document())
        return
    print_fitting(f"{done.path}: {done.bytes / 1e6:.1f} MB, with {', '.join(done.models)}")
    print_fitting("Open it in a browser; it needs no server and no network.")
