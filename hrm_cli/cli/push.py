"""`hrm push`: uploads a trained model to the Hugging Face hub with a model card."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hrm_cli.cli.options import JsonOption, OwnModelArgument


def push(
    checkpoint: OwnModelArgument,
    repository: Annotated[
        str, typer.Argument(metavar="hf:OWNER/NAME", help="Repository to upload to; created if missing.")
    ],
    private: Annotated[bool, typer.Option("--private", help="Create the repository as private.")] = False,
    revision: Annotated[
        str | None,
        typer.Option(
            "--revision",
            metavar="BRANCH",
            help="Branch to upload to; created if missing.",
            show_default="main",
        ),
    ] = None,
    title: Annotated[
        str | None, typer.Option("--title", help="Title of the model card.", show_default="NAME")
    ] = None,
    license: Annotated[
        str | None,
        typer.Option(
            "--license",
            help="License of the weights, as in apache-2.0.",
            show_default="none stated",
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the model card and the files; upload nothing.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """Upload a trained model to the hub: weights, configuration and a generated model card.

    It needs the extra `hub` and a token with write access (`hf auth login`, or HF_TOKEN). Paths of this machine are
    removed from what is published.

    \b
    Examples:
      hrm push runs/mine hf:someone/sudoku --dry-run
      hrm push runs/mine hf:someone/sudoku --private
      hrm solve puzzles.txt --checkpoint hf:someone/sudoku
    """
    import tempfile
    from dataclasses import replace

    from hrm_cli.checkpoints.model_files import read_header
    from hrm_cli.cli import console
    from hrm_cli.cli.render.paragraphs import print_fitting, print_markdown
    from hrm_cli.data.hub import HubAddress, push_folder
    from hrm_cli.errors import CheckpointError, ConfigError
    from hrm_cli.evaluation.publishing import CardOptions, write_publication
    from hrm_cli.printable import cut

    address = HubAddress.parse(repository, "hf:OWNER/NAME")
    if revision is not None:
        if address.revision not in (None, revision):
            raise ConfigError(
                f"{repository} and --revision {revision} name different branches; give only one of them"
            )
        address = replace(address, revision=revision)
    header = read_header(checkpoint)
    page = CardOptions(str(address), title or address.repository.partition("/")[2], license)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        text = write_publication(header, folder, page)
        files = {path.name: path.stat().st_size for path in sorted(folder.iterdir())}
        commit = None
        if not dry_run:
            commit = push_folder(
                address, folder, f"push to {address}", CheckpointError, private=private,
                message=f"step {cut(header.metadata.get('step', 'unknown'), 20)}, by hrm push",
            )  # fmt: skip
    if json:
        console.print_json(
            {
                "checkpoint": str(header.path),
                "repository": str(address),
                "files": files,
                "commit": commit,
                "card": text,
            }
        )
        return
    if dry_run:
        print_markdown(text)
    console.print_table(("file", "bytes"), [(name, f"{size:,}") for name, size in files.items()])
    print_fitting("Nothing was uploaded." if dry_run else f"{header.path} is at {address}: {commit}")
