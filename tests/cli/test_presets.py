from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from hrm_cli.config.presets import list_presets, load_preset

RunHrm = Callable[..., Any]


def test_list_names_every_preset_with_its_size_and_purpose_smallest_first(run_hrm: RunHrm) -> None:
    done = run_hrm("presets")
    names = [line.split()[0] for line in done.stdout.splitlines()]
    assert done.status == 0
    assert names[0] == "preset"
    assert names.index("tiny") < names.index("small") < names.index("base") < names.index("large")
    assert sorted(names[1:]) == list_presets()
    assert all(load_preset(name).purpose in done.stdout for name in list_presets())


@pytest.mark.parametrize("group", ["presets", "models"])
def test_list_may_be_written_out(run_hrm: RunHrm, group: str) -> None:
    plain = run_hrm(group, "--json")
    assert plain.status == 0
    for words in (["list", "--json"], ["--json", "list"]):
        assert run_hrm(group, *words).stdout == plain.stdout


@pytest.mark.parametrize(
    "env", [{}, {"NO_COLOR": "1"}, {"CI": "true"}, {"FORCE_COLOR": "1"}, {"TERM": "xterm-256color"}]
)
def test_pipes_get_no_control_codes_whatever_the_environment_says(
    run_hrm: RunHrm, env: dict[str, str]
) -> None:
    for arguments in (["presets", "--help"], ["presets", "diff", "tiny", "base"], ["presests"]):
        done = run_hrm(*arguments, env=env)
        assert "\x1b" not in done.stdout + done.stderr
        assert "─" not in done.stdout + done.stderr


def test_the_list_of_presets_as_json_is_one_document(run_hrm: RunHrm) -> None:
    done = run_hrm("presets", "--json")
    presets = {preset["name"]: preset for preset in json.loads(done.stdout)["presets"]}
    assert done.stderr == ""
    assert (presets["base"]["hidden_size"], presets["base"]["num_heads"]) == (512, 8)
    assert presets["base"]["trainable"] == 27_275_266


def test_show_prints_the_resolved_yaml_with_overrides(run_hrm: RunHrm) -> None:
    done = run_hrm("presets", "show", "base", "HIDDEN_SIZE=256", "lr=1e-5")
    shown = yaml.safe_load(done.stdout)
    assert (shown["arch"]["hidden_size"], shown["arch"]["puzzle_emb_ndim"]) == (256, 256)
    assert shown["train"]["lr"] == 1e-5
    assert (
        json.loads(run_hrm("presets", "show", "base", "hidden_size=256", "lr=1e-5", "--json").stdout) == shown
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["tiny", "arch.hiden_size=3"],
            "Error: arch.hiden_size: unknown key; did you mean arch.hidden_size?\n",
        ),
        (["tiny", "core=hmr"], "Error: arch.core: unknown core 'hmr'; did you mean hrm?; known: "),
        (
            ["tiny", "domain=sudoko"],
            "Error: data.domain: unknown domain 'sudoko'; did you mean sudoku?; known: ",
        ),
        (["tinny"], "Error: unknown preset 'tinny'; did you mean tiny?"),
        (["none.yaml"], "Error: none.yaml: no such file"),
    ],
)
def test_show_refuses_what_is_wrong_with_status_2(
    run_hrm: RunHrm, tmp_path: Path, arguments: list[str], message: str
) -> None:
    done = run_hrm("presets", "show", *arguments, cwd=tmp_path)
    assert (done.status, done.stdout) == (2, "")
    assert done.stderr.startswith(message)


def test_copy_writes_a_preset_that_resolves_to_the_same_and_explains_itself(
    run_hrm: RunHrm, tmp_path: Path
) -> None:
    done = run_hrm("presets", "copy", "base", cwd=tmp_path)
    assert (done.status, done.stdout) == (0, "base.yaml written; train with: hrm train --preset base.yaml\n")
    assert load_preset(str(tmp_path / "base.yaml")) == load_preset("base")
    assert "# width H of both modules" in (tmp_path / "base.yaml").read_text(encoding="utf-8")
    assert [path.name for path in tmp_path.iterdir()] == ["base.yaml"]


def test_copy_follows_hidden_size_when_it_is_edited_because_puzzle_embeddings_take_its_width(
    run_hrm: RunHrm, tmp_path
) -> None:
    run_hrm("presets", "copy", "base", "mine.yaml", cwd=tmp_path)
    mine = tmp_path / "mine.yaml"
    mine.write_text(
        mine.read_text(encoding="utf-8").replace("hidden_size: 512", "hidden_size: 256"), encoding="utf-8"
    )
    assert load_preset(str(mine)).arch.puzzle_emb_ndim == 256


def test_copy_keeps_an_existing_file_unless_forced(run_hrm: RunHrm, tmp_path: Path) -> None:
    mine = tmp_path / "mine.yaml"
    mine.write_text("purpose: my work\n", encoding="utf-8")
    done = run_hrm("presets", "copy", "tiny", mine)
    assert (done.status, done.stderr) == (2, f"Error: {mine}: exists; --force overwrites it\n")
    assert mine.read_text(encoding="utf-8") == "purpose: my work\n"
    assert run_hrm("presets", "copy", "tiny", mine, "--force").status == 0
    assert load_preset(str(mine)) == load_preset("tiny")


def test_copy_into_a_folder_takes_the_preset_s_name_and_a_missing_folder_is_named(
    run_hrm: RunHrm, tmp_path: Path
) -> None:
    assert run_hrm("presets", "copy", "tiny", tmp_path).status == 0
    assert (tmp_path / "tiny.yaml").is_file()
    done = run_hrm("presets", "copy", "tiny", tmp_path / "none" / "a.yaml")
    assert (done.status, done.stderr) == (
        2, f"Error: {tmp_path}/none/a.yaml: the folder {tmp_path}/none does not exist\n"
    )  # fmt: skip
    assert "file name ends in .yaml" in run_hrm("presets", "copy", "tiny", tmp_path / "tiny").stderr


def test_diff_shows_only_what_differs(run_hrm: RunHrm) -> None:
    done = run_hrm("presets", "diff", "base", "large", "--json")
    differences = {d["key"]: (d["a"], d["b"]) for d in json.loads(done.stdout)["differences"]}
    assert differences["arch.hidden_size"] == (512, 768)
    assert "arch.H_cycles" not in differences
    assert run_hrm("presets", "diff", "base", "base").stdout == "base and base have the same settings.\n"
    assert "arch.hidden_size" in run_hrm("presets", "diff", "base", "large").stdout


def test_validate_reports_every_problem_of_every_file_with_status_2(run_hrm: RunHrm, tmp_path: Path) -> None:
    (tmp_path / "good.yaml").write_text("extends: tiny\n", encoding="utf-8")
    (tmp_path / "bad.yaml").write_text("arch: {core: hmr}\ntrain: {lr: 0, epocs: 3}\n", encoding="utf-8")
    done = run_hrm("presets", "validate", "good.yaml", "bad.yaml", "gone.yaml", cwd=tmp_path)
    assert (done.status, done.stdout) == (2, "good.yaml: ok\n")
    for problem in (
        "bad.yaml: arch.core: unknown core 'hmr'",
        "bad.yaml: train.lr: found 0; accepted: a number, above 0",
        "bad.yaml: train.epocs: unknown key; did you mean train.epochs?",
        "gone.yaml: no such file",
    ):
        assert problem in done.stderr


def test_validate_as_json_keeps_the_status_and_says_nothing_else(run_hrm: RunHrm, tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text("train: {lr: 0}\n", encoding="utf-8")
    done = run_hrm("presets", "validate", "tiny", "bad.yaml", "--json", cwd=tmp_path)
    assert (done.status, done.stderr) == (2, "")
    assert json.loads(done.stdout) == {
        "valid": False,
        "files": [
            {"file": "tiny", "problems": []},
            {"file": "bad.yaml", "problems": ["bad.yaml: train.lr: found 0; accepted: a number, above 0"]},
        ],
    }


def test_validate_accepts_what_is_right(run_hrm: RunHrm) -> None:
    assert run_hrm("presets", "validate", *list_presets()).status == 0


def test_show_begins_with_the_comment_of_the_preset(run_hrm: Callable[..., Any]) -> None:
    done = run_hrm("presets", "show", "sudoku-extreme")
    assert done.stdout.startswith("# The paper's Sudoku-Extreme run (arXiv 2506.21734)")
    assert yaml.safe_load(done.stdout)["arch"]["hidden_size"] == 512
