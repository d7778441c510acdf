"""A user's request to build a dataset (domain, folder and settings), and its execution."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hrm_cli.config.data import DataConfig
from hrm_cli.config.user_settings import UserSettings, check_settings_apply
from hrm_cli.errors import ConfigError, HRMError
from hrm_cli.reporting import Reporter, stages

if TYPE_CHECKING:
    from hrm_cli.data.summary import BuildSummary


@dataclass(frozen=True)
class BuildRequest:
    """A dataset to build. `settings` are fields of the `data` section; None means not given."""

    domain: str
    output_dir: Path
    settings: Mapping[str, Any] = field(default_factory=dict)
    force: bool = False
    """Replace an existing dataset."""
    as_options: bool = False
    """Whether messages write settings as command-line options."""

    @property
    def given(self) -> dict[str, Any]:
        """The settings that were given."""
        return {name: value for name, value in self.settings.items() if value is not None}

    @property
    def user_settings(self) -> UserSettings:
        """The names of the given settings, for checks of settings without effect."""
        return UserSettings(frozenset(self.given), as_options=self.as_options)

    def configuration(self) -> DataConfig:
        """The data section. Raises ConfigError for unknown settings, bad values, and settings without effect."""
        from pydantic import ValidationError

        from hrm_cli.config.schema import InvalidConfigError, Preset, explain

        with self.errors_with_option_names():
            for name, value in self.given.items():
                if value == "":
                    raise ConfigError(
                        f"{self.user_settings.spelled(name)}: is empty; expected a value, or omit it"
                    )
            try:
                config = Preset.model_validate({"data": {**self.given, "domain": self.domain}}).data
            except ValidationError as error:
                raise InvalidConfigError(explain(error, {})) from error
            check_settings_apply(config, self.user_settings)
            return config

    @contextmanager
    def errors_with_option_names(self) -> Iterator[None]:
        """Writes settings in errors as the user wrote them: `--test-subset`, not `data.test_subset`."""
        try:
            yield
        except HRMError as error:
            if self.as_options:
                error.args = (_SETTING.sub(_option, str(error)),)
            raise


_SETTING = re.compile(r"\bdata\.(also\.\d+\.|also\[\d+\]\.)?([a-z_]+)(?:\.\d+|\[\d+\])?(?: \(--[a-z-]+\))?")


def _option(setting: re.Match[str]) -> str:
    """`--num-train` for `data.num_train`; `--also 2: clues` for a key of the second `--also`."""
    if setting[1] is None:
        return f"--{setting[2].replace('_', '-')}"
    return f"--also {int(setting[1].strip('also.[]')) + 1}: {setting[2]}"


def build_request(request: BuildRequest, reporter: Reporter | None = None) -> BuildSummary:
    """Builds the requested dataset. Raises ConfigError, PuzzleError or DatasetError, and then leaves no files."""
    config = request.configuration()
    from hrm_cli.data.build import build_dataset

    with request.errors_with_option_names(), stages(reporter or Reporter()) as report:
        return build_dataset(
            config,
            request.output_dir,
            force=request.force,
            report=report,
            user_settings=request.user_settings,
        )
