"""Starts a run from the weights of a checkpoint, optionally freezing some of them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch

from hrm_cli.checkpoints.dataset_facts import DatasetFacts
from hrm_cli.checkpoints.model_files import compare_shapes, load_model, read_model_card
from hrm_cli.config.schema import Preset
from hrm_cli.config.train import TrainConfig
from hrm_cli.errors import ConfigError
from hrm_cli.models.act import ACTModel
from hrm_cli.models.registry import build_model
from hrm_cli.models.size_adapters import size_adapters
from hrm_cli.training.constraints import constraint_of
from hrm_cli.training.distillation import check_teacher
from hrm_cli.training.muon import check_muon
from hrm_cli.training.state import TrainState

_TABLE = "inner.puzzle_emb.weights"
_ADAPTER = ".size_adapter."
_Shapes = Mapping[str, tuple[int, ...]]


def check_start(preset: Preset, facts: DatasetFacts) -> None:
    """Raises the error that would stop a new run on this dataset, as far as it can be detected in advance.

    Allocates no memory for the model, so that it can run before a dataset is built or a folder created.
    """
    config = preset.train
    check_muon(config)
    constraint_of(config, facts, torch.device("cpu"))
    shape = (facts.vocab_size, facts.seq_len, facts.num_puzzle_identifiers)
    own = {
        name: tuple(t.shape)
        for name, t in build_model(preset.arch, *shape, domain=facts.domain, device="meta")
        .state_dict()
        .items()
    }
    if config.init_from is not None:
        card = read_model_card(Path(config.init_from))
        compare_shapes(card.path, *_common(own, card.shapes))
    elif config.freeze != "none":
        raise _nothing_to_freeze(config.freeze)
    if config.freeze == "network" and _TABLE not in own:
        raise _nothing_to_train()
    if config.freeze == "base" and not preset.arch.size_adapter_rank:
        raise _no_adapters()
    if config.distill_from is not None:
        check_teacher(read_model_card(Path(config.distill_from)), facts)


def start_new(state: TrainState, config: TrainConfig, facts: DatasetFacts) -> None:
    """Loads the weights of `train.init_from` into a new run, if set.

    Puzzle embeddings are copied if the dataset has the same puzzle identifiers; otherwise each starts at the mean of
    the checkpoint's embeddings. Size adapters are copied if both have them. Raises CheckpointError if the checkpoint
    does not fit, and ConfigError if `train.freeze` would freeze randomly initialized weights.
    """
    if config.init_from is not None:
        _take_weights(state.model, Path(config.init_from), facts)
        if state.average is not None:
            current = dict(state.model.named_parameters())
            for name, average in state.average.parameters.items():
                average.copy_(current[name].detach())
    elif config.freeze != "none":
        raise _nothing_to_freeze(config.freeze)


def has_size_adapters(checkpoint: Path) -> bool:
    """Whether a checkpoint has size adapters. Raises CheckpointError."""
    return bool(read_model_card(checkpoint).preset.arch.size_adapter_rank)


def freeze(state: TrainState, config: TrainConfig) -> None:
    """Freezes the weights that `train.freeze` names. Averaged weights then permanently replace the current ones.

    Raises ConfigError if nothing would be left to train.
    """
    if config.freeze == "none":
        return
    adapters = size_adapters(state.model) if config.freeze == "base" else {}
    if config.freeze == "base" and not adapters:
        raise _no_adapters()
    if config.freeze == "network" and state.sparse is None:
        raise _nothing_to_train()
    if state.average is not None:
        # The rest is trained with the weights that are used for evaluation and publication.
        averages = state.average.parameters.items()
        frozen = {name: average for name, average in averages if not adapters or _ADAPTER not in name}
        state.model.load_state_dict(frozen, strict=False)
    state.model.requires_grad_(False)
    for adapter in adapters.values():
        adapter.requires_grad_(True)


def _nothing_to_freeze(frozen: str) -> ConfigError:
    return ConfigError(
        f"train.freeze {frozen} would leave a new run's random weights untrained; name a checkpoint to start "
        "from in train.init_from, or freeze a run that is resumed"
    )


def _nothing_to_train() -> ConfigError:
    return ConfigError(
        "train.freeze network trains only puzzle embeddings, and the model has none; use "
        "train.freeze=none, or arch.puzzle_emb_ndim above 0"
    )


def _no_adapters() -> ConfigError:
    return ConfigError(
        "train.freeze base trains only the size adapters, and the model has none; set arch.size_adapter_rank, or use "
        "train.freeze=none"
    )


def _common(own: _Shapes, found: _Shapes) -> tuple[_Shapes, _Shapes]:
    """What must agree of a model and a checkpoint: no puzzle embeddings, and size adapters only if both have them."""
    both = all(any(_ADAPTER in name for name in shapes) for shapes in (own, found))
    return tuple(  # type: ignore[return-value]
        {name: shape for name, shape in shapes.items() if name != _TABLE and (both or _ADAPTER not in name)}
        for shapes in (own, found)
    )


def _take_weights(model: ACTModel, checkpoint: Path, facts: DatasetFacts) -> None:
    other, card = load_model(checkpoint, model.device)
    own, found = model.state_dict(), other.state_dict()
    known = found.pop(_TABLE, None)
    shapes: list[_Shapes] = [{name: tuple(t.shape) for name, t in part.items()} for part in (own, found)]
    wanted, taken = _common(*shapes)
    compare_shapes(card.path, wanted, taken)
    model.load_state_dict({name: found[name] for name in taken}, strict=False)
    if _TABLE not in own or known is None or known.shape[1] != own[_TABLE].shape[1]:
        return
    with torch.no_grad():
        if own[_TABLE].shape == known.shape and card.facts.identifiers == facts.identifiers:
            own[_TABLE].copy_(known)
        else:
            own[_TABLE][1:] = (known[1:] if len(known) > 1 else known).mean(0)
