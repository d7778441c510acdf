"""Settings of `data` that a user gave, and whether they have any effect: one without is an error, not a surprise."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from hrm_cli.config.data import DataConfig
from hrm_cli.config.values import generates
from hrm_cli.errors import ConfigError

_BUILTIN = "builtin"
_OF_GENERATOR = ("size", "num_train", "clues", "style")
_OF_FILES = ("subsample_size", "test_subsample_size", "by_collection")
_OF_DOMAIN = {
    "clues": ("sudoku",),
    "min_difficulty": ("sudoku",),
    "hints": ("sudoku",),
    "min_path": ("maze",),
    "style": ("maze",),
    "allow_ties": ("maze",),
    "symmetries": ("grids",),
    "input_column": ("grids",),
    "output_column": ("grids",),
    **dict.fromkeys(("augment", "num_aug"), ("sudoku", "maze", "arc")),
    "subsets": ("arc",),
    "test_subset": ("arc",),
    **dict.fromkeys(("size", "by_collection", "also"), ("sudoku", "maze")),
    "strict_split": ("sudoku", "maze", "arc"),
    **dict.fromkeys(("num_train", "num_test", "num_validation"), ("sudoku", "maze", "grids")),
}


@dataclass(frozen=True)
class Asked:
    """Fields of `data` that a user named, on the command line or as an entry of `data.also`."""

    names: frozenset[str] = frozenset()
    as_options: bool = False
    """Written as `--num-test`, rather than as `data.num_test`."""
    place: str = "data"

    def __contains__(self, name: str) -> bool:
        return name in self.names

    def spelled(self, *names: str) -> str:
        """Fields as the user writes them."""
        if self.as_options:
            return " and ".join(f"--{name.replace('_', '-')}" for name in names)
        return " and ".join(f"{self.place}.{name}" for name in names)


NOTHING_ASKED = Asked()


def asked_of_each(config: DataConfig, asked: Asked) -> list[Asked]:
    """What was asked of each of `config.sources`: of the main one `asked`, of the others what their entries hold."""
    entries = [
        Asked(frozenset(further.model_dump()), place=f"data.also[{i}]")
        for i, further in enumerate(config.also)
    ]
    return [asked, *entries]


def check_effect(config: DataConfig, asked: Asked) -> None:
    """Raises ConfigError where a setting that was requested has no effect, with the one that does it."""
    if config.path is not None:
        _refuse(
            asked.names - {"path", "seed"},  # --seed sets that of the dataset as well
            asked,
            f"a dataset that is built already ({config.path}) stays as it is; omit it, or build another "
            "dataset with it (hrm build-dataset)",
        )
    for source, of_source in zip(config.sources, asked_of_each(config, asked), strict=True):
        _check_source(source, of_source)
    # ARC's copies have identifiers, which are there whether the copies are stored or not.
    if config.augment == "online" and config.domain != "arc":
        name = asked.spelled("augment") + (" " if asked.as_options else "=") + "online"
        _refuse(asked.names & {"num_aug"}, asked, f"counts stored copies; with {name} none are stored")


def _check_source(config: DataConfig, asked: Asked) -> None:
    domain = config.domain
    foreign = [name for name in asked.names if domain not in _OF_DOMAIN.get(name, (domain,))]
    _refuse(foreign, asked, f"has no meaning for the domain {domain}")
    if domain == "arc":
        return
    if config.source == _BUILTIN or (domain == "grids" and generates(config.source)):
        _refuse(
            asked.names & set(_OF_FILES),
            asked,
            f"only for puzzles from a file, a folder or the hub ({asked.spelled('source')}); use "
            f"{asked.spelled('num_train', 'num_test')} here",
        )
    else:
        _refuse(
            asked.names & set(_OF_GENERATOR),
            asked,
            f"only for puzzles from the built-in generator; use {asked.spelled('subsample_size')} here",
        )


def _refuse(names: Iterable[str], asked: Asked, reason: str) -> None:
    order = [name for name in DataConfig.model_fields if name in set(names)]
    if order:
        raise ConfigError(f"{', '.join(asked.spelled(name) for name in order)}: {reason}")
