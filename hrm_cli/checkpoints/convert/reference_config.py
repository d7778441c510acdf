"""Reads and writes `all_config.yaml`, which the reference implementations write next to their checkpoints.

The architecture and training settings have the same names in the reference and in this project. This module maps the
structure around them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hrm_cli.config.documents import Document, parse_yaml, read_text
from hrm_cli.config.schema import Preset
from hrm_cli.errors import ConfigError

CONFIG_FILE = "all_config.yaml"

_CLASSES = {
    "hrm": "hrm.hrm_act_v1@HierarchicalReasoningModel_ACTV1",
    "trm": "recursive_reasoning.trm@TinyRecursiveReasoningModel_ACTV1",
}
_ARCH = (
    "hidden_size", "num_heads", "H_layers", "L_layers", "H_cycles", "L_cycles", "expansion", "puzzle_emb_ndim",
    "pos_encodings", "halt_max_steps", "halt_exploration_prob", "rms_norm_eps", "rope_theta", "forward_dtype",
)  # fmt: skip
_TRM_ARCH = ("mlp_t", "puzzle_emb_len")
_TRAIN = (
    "global_batch_size", "epochs", "lr", "lr_min_ratio", "lr_warmup_steps", "weight_decay", "beta1", "beta2",
    "puzzle_emb_lr", "puzzle_emb_weight_decay", "eval_interval", "seed",
)  # fmt: skip
# Defaults of the reference's classes for settings that the file omits.
_TRM_DEFAULTS = {"puzzle_emb_len": 16}


def read_reference_config(text: str, where: str) -> Document:
    """Parses an `all_config.yaml` without converting it. Raises ConfigError if it is not a configuration."""
    document = parse_yaml(text, where)
    if not isinstance(document, dict) or not isinstance(document.get("arch"), dict):
        raise ConfigError(
            f"{where}: not a configuration of the reference; expected a mapping with the key arch"
        )
    if not isinstance(document["arch"].get("name"), str):
        raise ConfigError(f"{where}: arch.name is missing; expected the name of the model's class")
    return document


def find_config_file(checkpoint: Path) -> Path | None:
    """Path of the `all_config.yaml` in a checkpoint's folder; None if there is none."""
    path = checkpoint.parent / CONFIG_FILE
    return path if path.is_file() else None


def read_config_file(path: Path) -> tuple[str, Document]:
    """Reads an `all_config.yaml` and returns its text and its content. Raises ConfigError."""
    text = read_text(path)
    return text, read_reference_config(text, str(path))


def to_our_settings(document: Document, where: str) -> Document:
    """Converts the reference's configuration to the sections `arch` and `train`.

    Raises ConfigError for an unknown model.
    """
    arch = document["arch"]
    core = _core(arch["name"], where)
    names = _ARCH + (_TRM_ARCH if core == "trm" else ())
    stated = (_TRM_DEFAULTS if core == "trm" else {}) | arch
    ours = {"core": core} | {name: stated[name] for name in names if name in stated}
    # Without this key the reference builds no puzzle embedding. Our default would be hidden_size.
    ours.setdefault("puzzle_emb_ndim", 0)
    if core == "trm":
        # TRM ignores H_layers, and files often contain 0, which our schema refuses.
        ours.pop("H_layers", None)
    train = {name: document[name] for name in _TRAIN if name in document}
    loss = arch.get("loss")
    if isinstance(loss, dict) and "loss_type" in loss:
        train["loss"] = loss["loss_type"]
    if document.get("ema"):
        train["ema_decay"] = document.get("ema_rate", 0.999)
    return {"arch": ours, "train": train}


def to_reference_config(preset: Preset, data_path: str, name: str) -> Document:
    """Converts a preset to the reference's configuration. `name` becomes the run's name."""
    arch, train = preset.arch, preset.train
    is_trm = arch.core == "trm"
    # The reference has no `auto`. It runs only on hardware that supports bfloat16.
    dtype = "bfloat16" if arch.forward_dtype == "auto" else arch.forward_dtype
    architecture = {field: getattr(arch, field) for field in _ARCH + (_TRM_ARCH if is_trm else ())}
    architecture |= {
        "name": _CLASSES[arch.core],
        "loss": {"name": "losses@ACTLossHead", "loss_type": train.loss},
        "puzzle_emb_ndim": arch.puzzle_emb_size,
        "forward_dtype": dtype,
    }
    document: Document = {"arch": architecture, **{field: getattr(train, field) for field in _TRAIN}}
    document |= {"run_name": name, "project_name": "hrm", "checkpoint_path": None, "eval_save_outputs": []}
    document |= {"checkpoint_every_eval": True}
    if is_trm:
        architecture["no_ACT_continue"] = True
        evaluators = [{"name": "arc@ARC"}] if preset.data.domain == "arc" else []
        document |= {"data_paths": [data_path], "data_paths_test": [], "evaluators": evaluators}
        document |= {
            "ema": train.ema_decay > 0,
            "ema_rate": train.ema_decay or 0.999,
            "freeze_weights": False,
        }
    else:
        document["data_path"] = data_path
    return document


def data_path_of(document: Document) -> str | None:
    """The dataset folder in the reference's configuration. If there are several, the first."""
    paths: Any = document.get("data_paths") or document.get("data_path")
    path = paths[0] if isinstance(paths, list) and paths else paths
    return path if isinstance(path, str) else None


def _core(name: str, where: str) -> str:
    kind = name.lower()
    if "hierarchicalreasoningmodel" in kind:
        return "hrm"
    if "tinyrecursivereasoningmodel" in kind:
        return "trm"
    raise ConfigError(
        f"{where}: arch.name: found {name}; accepted: HierarchicalReasoningModel_ACTV1 (HRM) or "
        "TinyRecursiveReasoningModel_ACTV1 (TRM)"
    )
