"""Checks that every `data` setting a user gave has an effect. A setting without effect is an error."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from hrm_cli.config.data import DataConfig
from hrm_cli.config.values import generates
from hrm_cli.errors import ConfigError

_BUILTIN = "builtin"
_GENERATOR_ONLY = ("size", "columns", "num_train", "clues", "style")
_FILES_ONLY = ("subsample_size", "test_subsample_size", "by_collection")
_BUILT_IN = ("sudoku", "maze", "arc", "grids")
_PLUGIN = "plugin"
"""Stands for every domain that is not built in."""
_DOMAINS_OF_SETTING = {
    "clues": ("sudoku",),
    "min_difficulty": ("sudoku",),
    "hints": ("sudoku",),
    "min_path": ("maze",),
    "columns": ("maze",),
    "style": ("maze",),
    "allow_ties": ("maze",),
    "symmetries": ("grids",),
    "input_column": ("grids",),
    "output_column": ("grids",),
    **dict.fromkeys(("augment", "num_aug", "strict_split"), ("sudoku", "maze", "arc", _PLUGIN)),
    "subsets": ("arc",),
    "test_subset": ("arc",),
    **dict.fromkeys(("size", "by_collection", "also"), ("sudoku", "maze", _PLUGIN)),
    "other_sizes": ("sudoku", "maze"),
    **dict.fromkeys(("num_train", "num_test", "num_validation"), ("sudoku", "maze", "grids", _PLUGIN)),
}


@dataclass(frozen=True)
class UserSettings:
    """The `data` fields that a user gave, on the command line or in an entry of `data.also`."""

    names: frozenset[str] = frozenset()
    as_options: bool = False
    """Whether the user wrote `--num-test` rather than `data.num_test`."""
    prefix: str = "data"
    """The part of a key before the field: `data`, or `data.also[0]`."""

    def __contains__(self, name: str) -> bool:
        return name in self.names

    def spelled(self, *names: str) -> str:
        """The fields as the user writes them, for messages."""
        if self.as_options:
            return " and ".join(f"--{name.replace('_', '-')}" for name in names)
        return " and ".join(f"{self.prefix}.{name}" for name in names)


NO_USER_SETTINGS = UserSettings()


def settings_of_each_source(config: DataConfig, user_settings: UserSettings) -> list[UserSettings]:
    """The given settings of each of `config.sources`: `user_settings` for the main one, then those of `also`."""
    entries = [
        UserSettings(frozenset(further.model_dump()), prefix=f"data.also[{i}]")
        for i, further in enumerate(config.also)
    ]
    return [user_settings, *entries]


def check_settings_apply(config: DataConfig, user_settings: UserSettings) -> None:
    """Raises ConfigError if a given setting has no effect. The message names the setting to use instead."""
    if config.path is not None:
        _refuse(
            user_settings.names - {"path", "seed", "other_sizes"},  # --seed sets the run's seed as well
            user_settings,
            f"has no effect on an existing dataset ({config.path}); omit it, or build a new dataset with it "
            "(hrm build-dataset)",
        )
    for source, of_source in zip(config.sources, settings_of_each_source(config, user_settings), strict=True):
        _check_source(source, of_source)
    # For ARC, num_aug also determines the puzzle identifiers, whether the copies are stored or not.
    if config.augment == "online" and config.domain != "arc":
        name = user_settings.spelled("augment") + (" " if user_settings.as_options else "=") + "online"
        _refuse(
            user_settings.names & {"num_aug"},
            user_settings,
            f"counts stored copies; with {name} none are stored",
        )


def _check_source(config: DataConfig, user_settings: UserSettings) -> None:
    domain = config.domain
    kind = domain if domain in _BUILT_IN else _PLUGIN
    inapplicable = [
        name for name in user_settings.names if kind not in _DOMAINS_OF_SETTING.get(name, (kind,))
    ]
    _refuse(inapplicable, user_settings, f"has no effect for the domain {domain}")
    if domain == "arc":
        return
    if config.source == _BUILTIN or (domain == "grids" and generates(config.source)):
        _refuse(
            user_settings.names & set(_FILES_ONLY),
            user_settings,
            f"only for puzzles from a file, a folder or the hub ({user_settings.spelled('source')}); use "
            f"{user_settings.spelled('num_train', 'num_test')} here",
        )
    else:
        _refuse(
            # A file does not say the size of a plugin's puzzles.
            user_settings.names & set(_GENERATOR_ONLY) - ({"size"} if kind == _PLUGIN else set()),
            user_settings,
            f"only for puzzles from the built-in generator; use {user_settings.spelled('subsample_size')} here",
        )


def _refuse(names: Iterable[str], user_settings: UserSettings, reason: str) -> None:
    order = [name for name in DataConfig.model_fields if name in set(names)]
    if order:
        raise ConfigError(f"{', '.join(user_settings.spelled(name) for name in order)}: {reason}")
