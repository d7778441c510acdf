"""Presets and overrides."""

from __future__ import annotations

import json
import random
from pathlib import Path

import yaml
from kinds import Read, kind
from values import CANARY, LITERALS, bad_value, dumps, encoded, mutate_bytes, mutate_document

PRESETS = [
    (Path(__file__).resolve().parents[2] / "presets" / f"{name}.yaml").read_text()
    for name in ("tiny", "sudoku-4x4", "maze-small", "sudoku-9x9")
]
_REFERENCES = [",".join([f"*a{level}"] * 9) for level in range(9)]
LISTS = "a0: &a0 [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"a{i}: &a{i} [{_REFERENCES[i - 1]}]\n" for i in range(1, 9)
)
MERGES = "a0: &a0 {k0: 1, k1: 2}\n" + "".join(
    f"a{i}: &a{i} {{<<: [{_REFERENCES[i - 1]}]}}\n" for i in range(1, 9)
)
BOMB = "[&a0 [x,x,x,x,x,x,x,x,x], " + ", ".join(f"&a{i} [{_REFERENCES[i - 1]}]" for i in range(1, 9)) + "]"
HEX = "0x" + "f" * 5000
LONG = "9" * 5000
ODD = (
    LISTS,
    MERGES,
    LISTS + "extends: *a8\n",
    f"extends: {BOMB}",
    f"train: {{epochs: {BOMB}}}",
    f"arch: {BOMB}",
    f"data: {{also: {BOMB}}}",
    f"purpose: {BOMB}",
    f"train: {{loggers: {BOMB}}}",
    f"? {BOMB}\n: 1\n",
    f"arch: {{? {BOMB} : 1}}",
    f"arch: {{core: {BOMB}}}",
    f"data: {{domain: {BOMB}}}",
    "a: &a [*a]\nextends: *a",
    "arch: &a {x: *a}",
    "arch: &a {core: *a}",
    "train: &a {loggers: *a}",
    "purpose: &a {x: *a}",
    "data: &a {also: [*a]}",
    "extends: &a [*a]",
    "extends: /dev/null",
    "extends: /dev/zero",
    "extends: ./p.yaml",
    "extends: p.yaml",
    f"extends: {HEX}",
    f"train: {{epochs: {HEX}}}",
    f"arch: {HEX}",
    HEX,
    f"purpose: {HEX}",
    f"train: {{lr: 0x{'f' * 400}}}",
    f"train: {{seed: {'1:' * 3000}1}}",
    f"train: {{lr: {'1:' * 3000}1.0}}",
    f"{HEX}: 1",
    f"arch: {{core: {HEX}}}",
    f"train: {{loggers: {HEX}}}",
    f"data: {{clues: {HEX}}}",
    f"data: {{clues: '{LONG}'}}",
    f"data: {{size: '{LONG}'}}",
    f"train: {{depth_schedule: '{LONG}x2@0'}}",
    f"train: {{depth_schedule: '{'2x2@0 ' * 5000}'}}",
    f"train: {{epochs: '{LONG}'}}",
    f"train: {{epochs: '{'٣' * 50}'}}",
    "[" * 20_000,
    "{a: " * 20_000,
    "- " * 50_000,
    "a:\n" + "".join(" " * i + "a:\n" for i in range(1, 1500)),
    "purpose: " + "x" * 2_000_000,
    "purpose: !!binary " + "A" * 100_000,
    "!!set {arch}",
    "!!omap [arch: 1]",
    "arch: !!set {a, b}",
    "arch: !!pairs [a: 1]",
    "purpose: !!timestamp 2020-13-45",
    "purpose: 2020-01-01",
    "train: {epochs: 2020-01-01}",
    "train: {epochs: !!binary MTI=}",
    "train: {loggers: !!set {wandb}}",
    "arch: !!python/name:os.system",
    f"!!python/object/apply:os.system ['touch {CANARY}']",
    "--- 1\n--- 2",
    "%TAG ! tag:x,2000:\n---\n!a b",
    "arch: {hidden_size: 128, hidden_size: 64}",
    'purpose: "\\e[31mred\\e[0m"',
    '"\\e[31mx": 1',
    'arch: {"\\e[31mx": 1}',
    'extends: "\\e[31mred"',
    'extends: "a\\0b.yaml"',
    f"extends: {'a/' * 3000}x.yaml",
    "extends: ~nosuchuser/x.yaml",
    "extends: /proc/self/mem.yaml",
    "? {a: 1}\n: 1",
    "? !!binary aGk=\n: 1",
    "1: 2",
    "null: 1",
    "true: 1",
    "train: {epochs: .inf}",
    "train: {lr: .nan}",
    "train: {lr: -.inf}",
    "train: {epochs: 1e400}",
    f"train: {{epochs: {'9' * 26}}}",
    "train: {max_minutes: 1e308}",
    "data: {also: [{clues: [1]}]}",
    "data: {also: [1, [2], {x: 1}]}",
    "data: {also: {a: 1}}",
    "data: {subsets: [1]}",
    "arch: {L_cycles: 1024, H_cycles: 1024}",
    "- a\n" * 50_000,
)


def with_literals(text: str) -> str:
    """YAML text with its literals as they are."""
    for name, literal in LITERALS.items():
        text = text.replace(f"'{name}'", literal)
    return text


def preset_text(r: random.Random) -> bytes:
    """A damaged preset."""
    chance = r.random()
    if chance < 0.18:
        return encoded(r.choice(ODD))
    if chance < 0.5:
        return mutate_bytes(r, r.choice(PRESETS).encode())
    document = mutate_document(r, yaml.safe_load(r.choice(PRESETS)))
    as_json = r.random() < 0.5
    text = dumps(document) if as_json else yaml.safe_dump(document, allow_unicode=r.random() < 0.5)
    content = encoded(with_literals(text))
    return mutate_bytes(r, content, 1) if r.random() < 0.1 else content


@kind(1.6)
def presets(r: random.Random, folder: Path) -> Read:
    """Preset files."""
    from hrm_cli.config.redact import redacted
    from hrm_cli.config.resolved import commented_yaml, resolved_yaml
    from hrm_cli.data.recipes import recipe_of
    from hrm_cli.runs.configuration import domain_of, load_configuration

    file = folder / "p.yaml"
    file.write_bytes(preset_text(r))

    def read() -> None:
        found = load_configuration(str(file))
        resolved_yaml(found)
        commented_yaml(found)
        redacted(found)
        domain_of(found.data)
        if found.data.domain != "arc":
            recipe_of(found.data)

    return read


@kind(0.35)
def overrides(r: random.Random, folder: Path) -> Read:
    """`KEY=VALUE` on the command line."""
    from hrm_cli.config.resolved import resolved_yaml
    from hrm_cli.config.schema import dotted_keys
    from hrm_cli.runs.configuration import load_configuration

    odd_keys = (
        "x",
        "",
        "epochs",
        "=",
        "train",
        "arch.",
        ".",
        "train.epochs.x",
        "\x1b[31m",
        "[red]",
        "a" * 5000,
        "EPOCHS",
    )
    words = []
    for _ in range(r.choice((1, 1, 2, 5))):
        value = bad_value(r)
        text = LITERALS.get(value, value) if isinstance(value, str) else json.dumps(value)
        if r.random() < 0.2:
            text = r.choice(ODD)
        if r.random() < 0.2:
            text = mutate_bytes(r, encoded(text), 2).decode("utf-8", "surrogateescape")
        key = r.choice((*dotted_keys(), *dotted_keys(), *odd_keys))
        words.append(f"{key}={text}" if r.random() < 0.97 else text)
    return lambda: resolved_yaml(load_configuration("tiny", words))
