"""`hrm build-dataset NAME` for the domains that plugins add."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Annotated, Any

from hrm_cli.cli.building import (
    AlsoOption,
    AugmentOption,
    ByCollectionOption,
    NumTestOption,
    NumTrainOption,
    NumValidationOption,
    OutputDirOption,
    StrictSplitOption,
    SubsampleOption,
    TestSubsampleOption,
    build_and_show,
    further_sources,
)
from hrm_cli.cli.options import ForceOption, JsonOption, QuietOption, SeedOption, option
from hrm_cli.cli.render.help import CommandTable, plain_command
from hrm_cli.plugins import find_plugin, plugins


class KindTable(CommandTable):
    """The commands of the built-in domains, then one for every domain of a plugin."""

    def __getitem__(self, name: str) -> Any:
        if name in self._places:
            return super().__getitem__(name)
        if name not in self._loaded:
            plugin = find_plugin("domain", name, list(self._places))
            if plugin is None:
                raise KeyError(name)
            summary = f"Build a dataset of {name} puzzles (package {plugin.origin})."
            self._loaded[name] = plain_command(name, _command(name), summary)
        return self._loaded[name]

    def __iter__(self) -> Iterator[str]:
        yield from super().__iter__()
        yield from (plugin.name for plugin in plugins("domain", list(self._places)) if not plugin.conflict)

    def __len__(self) -> int:
        return len(list(iter(self)))


def _command(name: str) -> Callable[..., None]:
    """The command that builds datasets of the domain with this name."""

    def build(
        output_dir: OutputDirOption,
        source: Annotated[
            str | None,
            option(
                "--source",
                "Source of the puzzles: the domain's generator, a file (CSV, or one puzzle per line), a folder "
                "with train.csv and test.csv, or a dataset on the hub.",
                "builtin",
                metavar="builtin|FILE|DIR|hf:OWNER/NAME",
            ),
        ] = None,
        size: Annotated[
            int | None, option("--size", "Size of the puzzles.", "the domain's default", metavar="N")
        ] = None,
        num_train: NumTrainOption = None,
        num_test: NumTestOption = None,
        num_validation: NumValidationOption = None,
        subsample_size: SubsampleOption = None,
        test_subsample_size: TestSubsampleOption = None,
        num_aug: Annotated[
            int | None, option("--num-aug", "Augmented (symmetric) copies of each training puzzle.", "0")
        ] = None,
        augment: AugmentOption = None,
        also: AlsoOption = None,
        by_collection: ByCollectionOption = False,
        strict_split: StrictSplitOption = False,
        seed: SeedOption = None,
        force: ForceOption = False,
        quiet: QuietOption = False,
        json: JsonOption = False,
    ) -> None:
        from hrm_cli.data.request import BuildRequest

        given = {
            "source": source,
            "size": size,
            "num_train": num_train,
            "num_test": num_test,
            "num_validation": num_validation,
            "subsample_size": subsample_size,
            "test_subsample_size": test_subsample_size,
            "num_aug": num_aug,
            "augment": augment,
            "also": further_sources(also),
            "by_collection": by_collection or None,
            "strict_split": strict_split or None,
            "seed": seed,
        }
        request = BuildRequest(name, output_dir, given, force=force, as_options=True)
        build_and_show(request, json=json, quiet=quiet)

    return build
