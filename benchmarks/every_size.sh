#!/bin/sh
# How the bundled models sudoku-any-size and maze-any-size were trained, on two CPU cores.
#
#   benchmarks/every_size.sh sudoku FOLDER LISTS.csv   LISTS.csv: hard 9×9 puzzles, columns question,answer
#   benchmarks/every_size.sh maze FOLDER
#
# Everything is written to FOLDER. About an hour and a half each; a run that is cut off continues with
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
  # From the weights for 9×9 puzzles: 34 minutes on two idle cores.
  hrm train --preset sudoku-units --data s9 -o first --checkpoint bundled:sudoku-9x9-units \
    "data.other_sizes=[s16,s12,s6,s4]" train.lr=3e-4 train.max_steps=5000 $common
  # Then mostly large puzzles, and minimal ones of 12×12: 40 minutes on one core.
  $build -o m9 --num-train 20000 --num-validation 200 --seed 24
  $build -o m16 --size 16 --clues 100-150 --num-train 14000 --num-validation 100 --seed 121
  $build -o m12 --size 12 --clues 48-80 --num-train 10000 --num-validation 100 --seed 122 \
    --also '{clues: minimal, num_train: 5000, num_validation: 60, name: minimal}'
  hrm train --preset sudoku-units --data m9 -o second --checkpoint first \
    "data.other_sizes=[m16,m12,s6,s4]" train.lr=2e-4 train.max_steps=2400 $common
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
