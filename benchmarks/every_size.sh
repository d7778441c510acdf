#!/bin/sh
# How the bundled models sudoku-any-size and maze-any-size were trained, on two CPU cores.
#
#   benchmarks/every_size.sh sudoku FOLDER LISTS.csv   LISTS.csv: hard 9×9 puzzles, columns question,answer
#   benchmarks/every_size.sh maze FOLDER
#
# Everything is written to FOLDER. An hour and a half for mazes, about four hours for Sudoku; a run that is cut off continues with
# `hrm train --resume RUN`.
set -eu
kind=$1
top=$(cd "$(dirname "$0")/.." && pwd)
mkdir -p "$2"
cd "$2"
case $kind in
sudoku)
  build="hrm build-dataset sudoku --num-test 0"
  $build -o s9 --num-train 40000 --num-validation 100 --seed 31 \
    --also "{source: $3, variations: 60000, num_validation: 200, name: hard}"
  $build -o s16 --size 16 --clues 100-150 --num-train 12000 --num-validation 100 --seed 21
  $build -o s12 --size 12 --clues 48-80 --num-train 10000 --num-validation 200 --seed 22
  $build -o s6 --size 6 --num-train 2000 --num-validation 100 --seed 25
  $build -o s4 --size 4 --num-train 1000 --num-validation 50 --seed 26
  common="train.global_batch_size=64 train.max_minutes=null train.epochs=100 train.ema_decay=0.998 eval.max_steps=64"
  # From the weights for 9×9 puzzles, which are those of the bundled model without its size adapters: 34 minutes on two
  # idle cores.
  hrm train --preset sudoku-units --data s9 -o first --checkpoint bundled:sudoku-any-size \
    "data.other_sizes=[s16,s12,s6,s4]" train.lr=3e-4 train.max_steps=5000 $common
  # Then mostly large puzzles, and minimal ones of 12×12: 40 minutes on one core.
  $build -o m9 --num-train 20000 --num-validation 200 --seed 24
  $build -o m16 --size 16 --clues 100-150 --num-train 14000 --num-validation 100 --seed 121
  $build -o m12 --size 12 --clues 48-80 --num-train 10000 --num-validation 100 --seed 122 \
    --also '{clues: minimal, num_train: 5000, num_validation: 60, name: minimal}'
  hrm train --preset sudoku-units --data m9 -o second --checkpoint first \
    "data.other_sizes=[m16,m12,s6,s4]" train.lr=2e-4 train.max_steps=2400 $common
  # What these two runs changed becomes size adapters of the first weights, and only these are trained further. The main
  # dataset is tiny, because the adapters have no effect at 9×9.
  python "$top/benchmarks/size_adapters.py" bundled:sudoku-any-size second start.safetensors --rank 32 --symbols 16
  $build -o a9 --clues minimal --num-train 64 --seed 31
  $build -o a4 --size 4 --num-train 500 --seed 26
  $build -o a6 --size 6 --num-train 1500 --seed 25
  $build -o a10 --size 10 --clues minimal --num-train 1500 --num-validation 40 --seed 20
  $build -o a12 --size 12 --clues 48-80 --num-train 8000 --num-validation 100 --seed 122 \
    --also '{clues: minimal, num_train: 6000, num_validation: 60, name: minimal}'
  $build -o a15 --size 15 --clues 85-130 --num-train 2000 --num-validation 40 --seed 123
  $build -o a16 --size 16 --clues 100-150 --num-train 20000 --num-validation 100 --seed 121
  $build -o a20 --size 20 --clues 180-240 --num-train 1000 --num-validation 20 --seed 124
  $build -o a25 --size 25 --clues 300-390 --num-train 600 --num-validation 20 --seed 125
  adapters="arch.size_adapter_rank=32 train.freeze=base train.global_batch_size=64 train.epochs=100 train.ema_decay=0.998
    train.eval_interval=50 eval.max_steps=64"
  # One core each. The first was stopped after 683 of about 1,690 steps, to continue with small sizes as well.
  hrm train --preset sudoku-units --data a9 -o third --checkpoint start.safetensors \
    "data.other_sizes=[a10,a12,a15,a16,a20,a25]" train.lr=8e-4 train.max_minutes=84 $adapters
  hrm train --preset sudoku-units --data a9 -o fourth --checkpoint third/checkpoints/step-000000683 \
    "data.other_sizes=[a4,a6,a10,a12,a15,a16,a20,a25]" train.lr=7e-4 train.max_minutes=48 $adapters
  # Nine minutes, half of the batches small puzzles, of which the runs before had seen only a few batches.
  $build -o b4 --size 4 --num-train 2000 --seed 426
  $build -o b6 --size 6 --clues 8-24 --num-train 3000 --seed 425 --also '{clues: minimal, num_train: 3000, name: minimal}'
  $build -o b12 --size 12 --clues 48-80 --num-train 800 --seed 422 --also '{clues: minimal, num_train: 700, name: minimal}'
  $build -o b16 --size 16 --clues 100-150 --num-train 1000 --seed 421
  hrm train --preset sudoku-units --data a9 -o fifth --checkpoint fourth "data.other_sizes=[b4,b6,b12,b16]" train.lr=3e-4 \
    train.lr_warmup_steps=20 train.max_minutes=9 $adapters train.ema_decay=0.98
  ;;
maze)
  mazes() { # SIZE NUMBER; least moves of long braided mazes, and of long ones with walls at random
    hrm build-dataset maze -o "m$1" --size "$1" --style braided --min-path 1 --num-train "$2" --num-test 0 \
      --num-validation 40 --seed "7$1" \
      --also "{name: long braided, style: braided, min_path: $3, num_train: $(($2 * 3 / 2))}" \
      --also "{name: walls, style: walls, min_path: 1, num_train: $2, num_validation: 40}" \
      --also "{name: long walls, style: walls, min_path: $4, num_train: $(($2 * 3 / 2))}" \
      --also "{name: perfect, style: perfect, min_path: $3, num_train: $(($2 * 2 / 5)), num_validation: 40}"
  }
  mazes 8 8000 9 9
  mazes 10 9000 13 13
  mazes 14 6000 22 18
  mazes 20 2500 40 30
  few_loops=$top/benchmarks/few_loops.py
  python "$few_loops" 3000 --walls 12 --least 60 --seed 11 > few.csv
  python "$few_loops" 1500 --walls 4 --least 60 --seed 12 | tail -n +2 >> few.csv
  python "$few_loops" 1500 --walls 25 --least 40 --seed 13 | tail -n +2 >> few.csv
  hrm build-dataset maze -o m30 --source few.csv --num-test 0 --num-validation 40 --seed 30
  common="train.global_batch_size=32 train.epochs=100 train.eval_interval=null"
  # Four minutes on one core.
  hrm train --preset edges-maze -o six train.epochs=100 train.max_steps=1000
  # Nine minutes on one core, as far as 2,652 steps.
  hrm train --preset edges-maze -o small --data m10 --checkpoint six "data.other_sizes=[m8,m14]" train.lr=2e-3 \
    train.lr_min_ratio=0.25 train.carry_over=0.7 train.ema_decay=0.995 train.max_minutes=9 $common
  # 33 minutes on two cores.
  hrm train --preset edges-maze -o mixed --data m10 --checkpoint small "data.other_sizes=[m14,m20,m30]" train.lr=1.5e-3 \
    train.carry_over=0.85 train.ema_decay=0.998 train.max_minutes=33 $common
  ;;
*)
  echo "expected sudoku or maze, found $kind" >&2
  exit 2
  ;;
esac
