"""Turns a fine-tuned model into size adapters of the model it was tuned from, by singular value decomposition.

    python benchmarks/size_adapters.py BASE TUNED OUT.safetensors --rank 32 --symbols 16

OUT has the weights of BASE, so it solves puzzles of `arch.size_adapter_base` symbols and fewer exactly as BASE does.
For puzzles of `--symbols` symbols, its weight matrices are those of TUNED as far as the rank allows. Training on with
`train.freeze=base` repairs what the lower rank has lost.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from torch import Tensor

from hrm_cli.checkpoints.model_files import load_model, read_model_card, write_model_file
from hrm_cli.config.schema import Preset
from hrm_cli.models.registry import build_model
from hrm_cli.models.size_adapters import share_of, size_adapters


def factors(change: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    """`up` `[out, rank]` and `down` `[rank, in]` whose product is nearest to `change`, of equal norms."""
    left, values, right = torch.linalg.svd(change, full_matrices=False)
    roots = values[:rank].sqrt()
    up, down = left[:, :rank] * roots, roots.unsqueeze(1) * right[:rank]
    missing = rank - len(roots)
    return torch.nn.functional.pad(up, (0, missing)), torch.nn.functional.pad(down, (0, 0, 0, missing))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("base", help="checkpoint of the model to keep")
    parser.add_argument("tuned", help="checkpoint of the model that was trained from it")
    parser.add_argument("out", type=Path, help="model file to write")
    parser.add_argument("--rank", type=int, default=32)
    parser.add_argument(
        "--symbols", type=int, default=16, help="number of symbols at which TUNED is imitated"
    )
    options = parser.parse_args()

    base, tuned = Path(options.base), Path(options.tuned)
    card = read_model_card(base)
    settings = card.preset.model_dump()
    settings["arch"]["size_adapter_rank"] = options.rank
    preset = Preset.model_validate(settings)
    old, new = load_model(base)[0].state_dict(), load_model(tuned)[0].state_dict()
    facts = card.facts
    model = build_model(
        preset.arch, facts.vocab_size, facts.seq_len, facts.num_puzzle_identifiers, domain=facts.domain
    )
    tensors = model.state_dict()
    tensors.update(old)
    share = share_of(preset.arch.size_adapter_base, options.symbols)
    for name in size_adapters(model):
        weight = name.removesuffix("size_adapter") + "weight"
        up, down = factors((new[weight] - old[weight]) / share, options.rank)
        tensors[f"{name}.up"], tensors[f"{name}.down"] = up, down
    write_model_file(options.out, tensors, preset, card.step, facts)


if __name__ == "__main__":
    main()
