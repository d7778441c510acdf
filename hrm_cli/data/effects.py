"""Settings that have an effect or none by what a source turned out to hold: a test set of its own, collections."""

from __future__ import annotations

from collections.abc import Sequence

from hrm_cli.config.asked import Asked, asked_of_each
from hrm_cli.config.schema import DataConfig
from hrm_cli.data.sources import Source
from hrm_cli.errors import ConfigError


def check_sources(sources: Sequence[Source], config: DataConfig, asked: Asked) -> list[str]:
    """Raises ConfigError where a setting that was asked for has no effect; notes on those that a preset has."""
    notes: list[str] = []
    for source, own, of_source in zip(sources, config.sources, asked_of_each(config, asked), strict=True):
        unused = ""
        if source.test is None and own.test_subsample_size is not None:
            unused, reason = "test_subsample_size", (
                f"{own.source} has no test set of its own to draw from; "
                f"{of_source.spelled('num_test')} says how many of its puzzles are held out as test puzzles"
            )  # fmt: skip
        elif source.test is not None and "num_test" in of_source:
            unused, reason = "num_test", (
                f"{own.source} has a test set of its own; {of_source.spelled('test_subsample_size')} draws from it"
            )  # fmt: skip
        if unused:
            message = f"{of_source.spelled(unused)}: without effect, for source {reason}"
            if unused in of_source:
                raise ConfigError(message)
            notes.append(message)
    if config.by_collection and not any(_names_collections(source) for source in sources):
        message = (
            f"{asked.spelled('by_collection')}: without effect, for no source names collections: each line of a CSV "
            "file must have one in its column `source`, 1,000 different ones at most"
        )
        if "by_collection" in asked:
            raise ConfigError(message)
        notes.append(message)
    return notes


def _names_collections(source: Source) -> bool:
    return any(pool is not None and pool.names_collections for pool in (source.train, source.test))
