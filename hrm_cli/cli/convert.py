"""`hrm convert`: converts checkpoints from the reference implementations to hrm, and back."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hrm_cli.cli.options import ForceOption, JsonOption, Overrides

if TYPE_CHECKING:
    from hrm_cli.checkpoints.convert.conversion import Conversion


def convert(
    source: Annotated[
        str,
        typer.Argument(
            metavar="SRC",
            help="A torch file or checkpoint folder of the reference, or an hrm run or checkpoint.",
        ),
    ],
    destination: Annotated[
        Path,
        typer.Argument(
            metavar="DST",
            help="The .safetensors file, checkpoint folder or torch file to write.",
        ),
    ],
    overrides: Overrides = None,
    preset: Annotated[
        str | None,
        typer.Option(
            "--preset",
            metavar="NAME",
            help="Preset that supplies what the tensors do not show: cycles, steps, kind of puzzles.",
            show_default=False,
        ),
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(
            "--config",
            metavar="FILE",
            help="The reference's configuration.",
            show_default="all_config.yaml next to SRC",
        ),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(
            "--data",
            metavar="DIR",
            help="The dataset that the model was trained on; it gives the puzzle length and the identifiers.",
        ),
    ] = None,
    num_heads: Annotated[
        int | None,
        typer.Option(
            "--num-heads",
            min=1,
            help="Number of attention heads; the tensors do not show it.",
            show_default="from the configuration, else hidden_size ÷ 64",
        ),
    ] = None,
    seq_len: Annotated[
        int | None, typer.Option("--seq-len", min=1, help="Cells per puzzle, if nothing else gives it.")
    ] = None,
    resize_puzzle_embedding: Annotated[
        int | None,
        typer.Option(
            "--resize-puzzle-embedding",
            metavar="N",
            min=1,
            help="Resize the puzzle table to N rows, each the mean of the old rows.",
        ),
    ] = None,
    force: ForceOption = False,
    quiet: Annotated[
        bool,
        typer.Option(
            "--quiet",
            "-q",
            help="Print only the files written, not the settings and changes.",
        ),
    ] = False,
    json: JsonOption = False,
) -> None:
    """Convert a checkpoint between the formats of the reference implementation (HRM or TRM) and of hrm.

    The direction follows from SRC. Tensors are kept bit for bit. Files of the reference are pickles: hrm reads only
    their tensors and refuses a file that would run code.

    \b
    Examples:
      hrm convert checkpoints/step_52080 models/sudoku.safetensors
      hrm convert step_52080 models/arc --data data/arc-1 --num-heads 8
      hrm convert runs/mine reference/step_937
    """
    from hrm_cli.cli import console
    from hrm_cli.config.overrides import parse_overrides
    from hrm_cli.data.hub import is_address
    from hrm_cli.errors import CheckpointError, ConfigError

    if is_address(source):
        raise CheckpointError(
            f"{source}: hrm does not read pickled files from the hub; download the file, then convert it. "
            "A model in hrm's own format needs no conversion: pass hf:OWNER/NAME to --checkpoint"
        )
    settings = parse_overrides(overrides or ())
    reference = _reference_file(Path(source))
    if reference is None:
        for option, value in {
            "--preset": preset,
            "--config": config,
            "--data": data,
            "--num-heads": num_heads,
            "--seq-len": seq_len,
            "KEY=VALUE": overrides,
        }.items():
            if value:
                raise ConfigError(f"{option}: {source} contains its configuration; omit the option")
        done = _to_reference(Path(source), destination, resize_puzzle_embedding, force=force)
    else:
        from hrm_cli.checkpoints.convert.infer_dataset import ConversionOptions
        from hrm_cli.runs.configuration import load_configuration

        options = ConversionOptions(
            settings,
            None if preset is None else load_configuration(preset),
            preset or "",
            num_heads,
            seq_len,
            None,
            data,
            resize_puzzle_embedding,
        )
        done = _to_model_file(reference, destination, options, config, force=force)
    if json:
        console.print_json(_document(source, done, to_model_file=reference is not None))
    else:
        _render(done, quiet=quiet)


def _reference_file(source: Path) -> Path | None:
    """The reference's file at `source`, or None if `source` is a checkpoint of hrm. Raises CheckpointError."""
    from hrm_cli.checkpoints.bundled import SCHEME
    from hrm_cli.checkpoints.convert.reference_files import find_reference_file
    from hrm_cli.checkpoints.model_files import find_model_file
    from hrm_cli.errors import CheckpointError

    if str(source).startswith(SCHEME):
        return None
    if not source.exists():
        raise CheckpointError(f"{source}: no such file or folder")
    reference = find_reference_file(source)
    if reference is None:
        try:
            find_model_file(source)
        except CheckpointError:
            raise CheckpointError(
                f"{source}: neither a reference checkpoint (a file written by torch.save, or a folder with step_N) "
                "nor an hrm checkpoint (a run folder, a checkpoint folder or a .safetensors file)"
            ) from None
    return reference


def _to_model_file(
    reference: Path, destination: Path, options: object, config: Path | None, *, force: bool
) -> Conversion:
    from dataclasses import replace

    from hrm_cli.checkpoints.convert.conversion import to_model_file
    from hrm_cli.checkpoints.convert.infer_dataset import ConversionOptions
    from hrm_cli.checkpoints.convert.reference_files import read_reference
    from hrm_cli.checkpoints.model_files import MODEL_FILE
    from hrm_cli.data.format import Dataset
    from hrm_cli.runs.preparing import dataset_facts

    assert isinstance(options, ConversionOptions)
    if options.data is not None:
        facts = dataset_facts(Dataset.open(options.data, check_tokens=False))
        options = replace(options, facts=facts)
    file = destination if destination.suffix == ".safetensors" else destination / MODEL_FILE
    _refuse_existing(file, force=force)
    checkpoint = read_reference(reference, config)
    _make_parent(file)
    return to_model_file(checkpoint, file, options)


def _to_reference(source: Path, destination: Path, rows: int | None, *, force: bool) -> Conversion:
    from hrm_cli.checkpoints.convert.conversion import to_reference
    from hrm_cli.errors import ConfigError

    if destination.suffix == ".safetensors" or destination.is_dir():
        raise ConfigError(
            f"{destination}: {source} is an hrm checkpoint, so the destination is the torch file to write, such as "
            f"{destination.with_suffix('') / 'step_1000'}"
        )
    _refuse_existing(destination, force=force)
    _make_parent(destination)
    return to_reference(source, destination, rows=rows, force=force)


def _refuse_existing(path: Path, *, force: bool) -> None:
    from hrm_cli.errors import ConfigError
    from hrm_cli.files import refuse_unwritable

    if path.exists() and not force:
        raise ConfigError(f"{path}: already exists; --force replaces it")
    if path.parent.is_dir():
        refuse_unwritable(path)


def _make_parent(path: Path) -> None:
    from hrm_cli.errors import ConfigError

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"{path.parent}: cannot be created ({error.strerror})") from error


def _document(source: str, done: Conversion, *, to_model_file: bool) -> dict[str, object]:
    return {
        "source": source,
        "destination": str(done.destination),
        "direction": "to_hrm" if to_model_file else "to_reference",
        "core": done.preset.arch.core,
        "step": done.step,
        "tensors": len(done.tensors),
        "numbers": sum(tensor.numel() for tensor in done.tensors.values()),
        "settings": {
            name: {"value": value, "from": origin} for name, (value, origin) in done.sources.items()
        },
        "domain": dict(done.facts.domain) or None,
        "written": [str(path) for path in done.written],
        "notes": list(done.notes),
    }


def _render(done: Conversion, *, quiet: bool) -> None:
    from hrm_cli.cli import console
    from hrm_cli.cli.render.paragraphs import print_fitting

    if done.sources and not quiet:
        rows = [(name, value, origin) for name, (value, origin) in done.sources.items()]
        console.print_table(("setting", "value", "from"), rows)
        if not done.facts.domain:
            print_fitting(
                "Not a known kind of puzzle: the model can be evaluated, but `hrm solve` cannot use it."
            )
    for note in () if quiet else done.notes:
        print_fitting(note)
    numbers = sum(tensor.numel() for tensor in done.tensors.values())
    kept = ", the others unchanged bit for bit" if done.notes else ", unchanged bit for bit"
    files = ", ".join(str(path) for path in done.written)
    print_fitting(f"{len(done.tensors)} tensors, {numbers:,} numbers{kept}: {files}")
