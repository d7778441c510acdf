"""Datasets of the Hugging Face hub: their `train.csv` and `test.csv`, from the local cache where possible."""

from __future__ import annotations

from pathlib import Path

from hrm_cli.errors import ConfigError, DatasetError

PREFIX = "hf:"


def fetch(source: str, name: str, *, optional: bool = False) -> Path | None:
    """The local copy of the file `name` of `hf:OWNER/NAME`; None when an `optional` one is not there.

    Raises ConfigError for a malformed source, DatasetError when the hub's client is missing or refuses.
    """
    repository = source.removeprefix(PREFIX)
    if repository.count("/") != 1 or not all(repository.split("/")):
        raise ConfigError(f"source {source!r}: write hf:OWNER/NAME, as in hf:sapientinc/sudoku-extreme")
    try:
        import huggingface_hub
        from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError
    except ImportError as error:
        raise DatasetError(
            f"source {source}: reading from the hub needs the package huggingface_hub; "
            "`pip install hrm-cli[hub]` installs it"
        ) from error
    try:
        return Path(huggingface_hub.hf_hub_download(repository, name, repo_type="dataset"))
    except Exception as error:
        # Not one family of exceptions: the client passes on those of its HTTP library, which has changed.
        absent = isinstance(error, EntryNotFoundError) and not isinstance(error, LocalEntryNotFoundError)
        if optional and absent:
            return None
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise DatasetError(
            f"source {source}: {name} could not be fetched ({type(error).__name__}: {reason}); check the "
            "name and the network, or download the file and give its path"
        ) from error
