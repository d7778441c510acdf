"""Access to the Hugging Face hub, `hf:OWNER/NAME[@REVISION]`: downloads files into the local cache, uploads folders.

The client, the package huggingface_hub, is an optional dependency. Every failure gives one clear error message.
"""

from __future__ import annotations

import functools
import importlib
import os
import re
import socket
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit
from urllib.request import getproxies

from hrm_cli.errors import ConfigError, DatasetError, HRMError

PREFIX = "hf:"

REACHABLE_SECONDS = 5.0
"""Seconds within which the hub must accept a connection."""

_LOCAL_COPY = (
    "check the name and the network, or name a local copy instead "
    "(hrm build-dataset: --source FOLDER; hrm train: data.source=FOLDER)"
)
"""What to do if a dataset cannot be fetched."""

_NAME = re.compile(r"\w[\w.-]*/\w[\w.-]*")
_Result = TypeVar("_Result")


@dataclass(frozen=True)
class HubAddress:
    """A repository on the hub, and optionally a revision."""

    repository: str
    revision: str | None = None
    """A branch, a tag or a commit; None means the main branch."""

    @classmethod
    def parse(cls, text: str, what: str) -> HubAddress:
        """Parses `hf:OWNER/NAME[@REVISION]`. `what` is the option's name for messages. Raises ConfigError."""
        repository, at, revision = text.removeprefix(PREFIX).partition("@")
        if not text.startswith(PREFIX) or not _NAME.fullmatch(repository) or (at and not revision):
            raise ConfigError(
                f"{what} {text!r}: expected hf:OWNER/NAME, or hf:OWNER/NAME@REVISION for a branch, a tag or a commit"
            )
        return cls(repository, revision or None)

    def __str__(self) -> str:
        return f"{PREFIX}{self.repository}" + (f"@{self.revision}" if self.revision else "")


def is_address(text: object) -> bool:
    """Whether a path or text is a hub address."""
    return str(text).startswith(PREFIX)


def fetch(source: str, name: str, *, optional: bool = False) -> Path | None:
    """Downloads the file `name` of the dataset `hf:OWNER/NAME[@REVISION]` and returns its local path.

    Returns None if the file is `optional` and does not exist. Raises ConfigError for a malformed source, and
    DatasetError if the client is not installed or the download fails.
    """
    address = HubAddress.parse(source, "source")
    return download(
        address, name, f"source {source}", DatasetError, repo_type="dataset", optional=optional,
        advice=_LOCAL_COPY,
    )  # fmt: skip


def download(
    address: HubAddress,
    name: str,
    what: str,
    error_type: type[HRMError],
    *,
    advice: str,
    repo_type: str | None = None,
    optional: bool = False,
) -> Path | None:
    """Downloads the file `name` of a repository, unless the local cache is up to date. Returns its local path.

    Returns None if the file is `optional` and does not exist. Raises `error_type` with a message that begins with
    `what`.
    """
    hub = _client(what, error_type)
    options: dict[str, Any] = {"repo_type": repo_type} if repo_type else {}
    if address.revision:
        options["revision"] = address.revision
    if not _is_reachable(hub):
        # Otherwise the client would retry for a minute, with a warning for each attempt.
        options["local_files_only"] = True
    try:
        return Path(hub.hf_hub_download(address.repository, name, **options))
    except Exception as error:
        kinds = _kinds(error)
        if optional and "EntryNotFoundError" in kinds and "LocalEntryNotFoundError" not in kinds:
            return None
        raise error_type(f"{what}: {name} could not be fetched{_reason(error, address, advice)}") from error


def snapshot(address: HubAddress, what: str, error_type: type[HRMError], patterns: Sequence[str]) -> Path:
    """The local folder with the files of a dataset repository that match `patterns`, from the cache if up to date.

    Raises `error_type`, its message beginning with `what`.
    """
    hub = _client(what, error_type)
    options: dict[str, Any] = {"revision": address.revision} if address.revision else {}
    if not _is_reachable(hub):
        options["local_files_only"] = True
    try:
        return Path(
            hub.snapshot_download(
                address.repository, repo_type="dataset", allow_patterns=list(patterns), **options
            )
        )
    except Exception as error:
        raise error_type(f"{what}: could not be fetched{_reason(error, address, _LOCAL_COPY)}") from error


def push_folder(
    address: HubAddress, folder: Path, what: str, error_type: type[HRMError], *, private: bool, message: str
) -> str:
    """Commits every file of `folder`. Creates the repository, and the revision as a branch, if they do not exist.

    Returns the URL of the commit. Raises `error_type` with a message that begins with `what`.
    """
    hub = _client(what, error_type)

    def attempt(doing: str, call: Callable[..., _Result], **arguments: Any) -> _Result:
        try:
            return call(repo_id=address.repository, **arguments)
        except Exception as error:
            reason = _reason(error, address, "check the network, and that the token may write")
            raise error_type(f"{what}: {doing} failed{reason}") from error

    api = hub.HfApi()
    if not hub.get_token():
        raise error_type(
            f"{what}: no Hugging Face token on this machine; log in with `hf auth login`, or set "
            f"HF_TOKEN to a token with write access"
        )
    attempt("making the repository", api.create_repo, private=private, exist_ok=True)
    if address.revision:
        attempt("making the branch", api.create_branch, branch=address.revision, exist_ok=True)
    commit = attempt(
        "the upload", api.upload_folder, folder_path=folder, revision=address.revision, commit_message=message
    )
    return str(getattr(commit, "commit_url", commit))


def _is_reachable(hub: Any) -> bool:
    """Whether the hub's host accepts a connection within 5 s.

    Returns True without a test if there is a proxy, because it hides the host, and in offline mode.
    """
    constants = None
    with suppress(ImportError):
        constants = importlib.import_module(f"{hub.__name__}.constants")
    endpoint = urlsplit(getattr(constants, "ENDPOINT", "") or "")
    is_offline = getattr(constants, "HF_HUB_OFFLINE", False)
    if is_offline or not endpoint.hostname or getproxies():
        return True
    return _accepts_connections(
        endpoint.hostname, endpoint.port or (80 if endpoint.scheme == "http" else 443)
    )


@functools.cache
def _accepts_connections(host: str, port: int) -> bool:
    # Connect in a thread, because DNS lookup has no timeout.
    answers: list[bool] = []

    def connect() -> None:
        with suppress(OSError), socket.create_connection((host, port), REACHABLE_SECONDS):
            answers.append(True)

    thread = threading.Thread(target=connect, daemon=True)
    thread.start()
    thread.join(REACHABLE_SECONDS)
    return bool(answers)


def _client(what: str, error_type: type[HRMError]) -> Any:
    try:
        import huggingface_hub
    except ImportError as error:
        raise error_type(
            f"{what}: the hub needs the package huggingface_hub; `pip install 'hrm-cli[hub]'` installs it"
        ) from error
    return huggingface_hub


# Errors are recognized by name, because versions of the client differ in their error classes and modules.
_REASONS: Mapping[str, str] = {
    "GatedRepoError": "you must accept its terms first: do so on its web page, then log in with `hf auth login`",
    "RepositoryNotFoundError": "no repository {repository}, or a private one that your token may not read; check the "
    "name, or log in with `hf auth login`",
    "RevisionNotFoundError": "{repository} has no revision {revision}",
    "OfflineModeIsEnabled": "HF_HUB_OFFLINE is set, and the file is not in the local cache",
    "LocalEntryNotFoundError": "the hub cannot be reached, and the file is not in the local cache; {advice}",
    "EntryNotFoundError": "{repository} contains no file of that name",
    "HFValidationError": "{repository} is not a valid name on the hub",
}


_TRUE = {"1", "ON", "YES", "TRUE"}
"""Values of an environment variable that the client treats as true."""


def _reason(error: Exception, address: HubAddress, advice: str) -> str:
    """An explanation of a client error if it is a known one; otherwise the client's message and the advice."""
    kinds = _kinds(error)
    if "LocalEntryNotFoundError" in kinds and os.environ.get("HF_HUB_OFFLINE", "0").upper() in _TRUE:
        kinds = {"OfflineModeIsEnabled"}
    for kind, reason in _REASONS.items():
        if kind in kinds:
            return (
                f": {reason.format(repository=address.repository, revision=address.revision, advice=advice)}"
            )
    status = getattr(getattr(error, "response", None), "status_code", None)
    if status in (401, 403):
        return ": your token has no permission; log in with another (`hf auth login`, or HF_TOKEN)"
    lines = str(error).strip().splitlines()
    return f" ({type(error).__name__}: {lines[0] if lines else 'no reason given'}); {advice}"


def _kinds(error: Exception) -> set[str]:
    return {kind.__name__ for kind in type(error).__mro__}
