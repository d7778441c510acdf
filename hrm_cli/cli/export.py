"""`hrm export`: a model as an ONNX file, for other programs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from hrm_cli.cli import console
from hrm_cli.cli.options import ANY_MODEL, JsonOption, complete_models, option


def export(
    arguments: Annotated[
        list[str],
        typer.Argument(
            metavar="CHECKPOINT FILE",
            autocompletion=complete_models,
            help=f"{ANY_MODEL} Then the file to write.",
        ),
    ],
    format: Annotated[
        Literal["onnx"], typer.Option("--format", "-f", help="onnx: one reasoning step, for onnxruntime.")
    ] = "onnx",
    int8: Annotated[bool, typer.Option("--int8", help="Weights of 8 bits.")] = False,
    max_loss: Annotated[
        float,
        typer.Option("--max-loss", min=0, max=1, help="Largest loss of exact accuracy, as in 0.01 for 1 %."),
    ] = 0.01,
    data: Annotated[
        Path | None,
        option(
            "--data", "Dataset on whose test split the accuracies are compared.", "new puzzles", metavar="DIR"
        ),
    ] = None,
    puzzles: Annotated[
        int, typer.Option("--puzzles", min=0, help="How many puzzles to compare accuracies on; 0: none.")
    ] = 200,
    size: Annotated[
        int | None,
        option("--size", "Size of the puzzles, for mixers that serve every size.", "that of training", min=1),
    ] = None,
    max_steps: Annotated[
        int | None,
        option("--max-steps", "Largest number of steps to state in the file.", "the checkpoint's", min=1),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Seed of the compared puzzles.")] = 0,
    force: Annotated[
        bool, typer.Option("--force", help="Write the file although a comparison failed.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """Write a model for other programs, compared with the original before it is written.

    An ONNX file holds one reasoning step; the program that uses it runs the loop over steps (docs/exporting.md). It
    needs the extra onnx: pip install 'hrm-cli[onnx]'.

    \b
    Examples:
      hrm export bundled:sudoku-9x9-units sudoku.onnx
      hrm export runs/mine mine.onnx --data data/mine
      hrm export runs/mine mine.onnx --int8 --max-loss 0.02
    """
    from hrm_cli.errors import ConfigError

    if len(arguments) != 2:
        raise ConfigError(f"found {len(arguments)} arguments; expected a CHECKPOINT and the FILE to write")
    from hrm_cli.exporting.onnx_export import OnnxRequest, export_onnx

    checkpoint, output = Path(arguments[0]), Path(arguments[1])
    request = OnnxRequest(checkpoint, output, int8, max_loss, data, puzzles, size, max_steps, force, seed)
    done = export_onnx(request, on_stage=lambda stage: console.print_message(f"{stage} …"))
    if json:
        console.print_json(done.document())
        return
    console.print_line(
        f"{done.path}: one step for {done.domain}, {done.bytes:,} bytes{', int8' if done.int8 else ''}"
    )
    before = ", before quantization" if done.int8 else ""
    console.print_line(f"logits within {done.deviation:.1e} of torch over {done.steps} steps{before}")
    if done.puzzles:
        console.print_line(
            f"exact accuracy on {done.puzzles}: {done.exact_accuracy:.1%} with torch, {done.exported_accuracy:.1%} "
            "with onnxruntime"
        )
    if done.refused:
        console.print_message(f"Warning: {done.refused} (written because of --force)")
