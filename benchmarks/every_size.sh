#!/bin/sh
# How the bundled models sudoku-any-size and maze-any-size were trained, on two CPU cores.
#
#   benchmarks/every_size.sh sudoku FOLDER LISTS.csv   LISTS.csv: hard 9×9 puzzles, columns question,answer
#   benchmarks/every_size.sh maze FOLDER
#
# Everything is written to FOLDER. Two and a half hours for mazes, about six and a half for Sudoku; a run that is cut off continues with
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
  # Two and a half hours of one core, mostly on hard 16×16 puzzles, with gradient through two cycles.
  $build -o c4 --size 4 --num-train 200 --seed 526
  $build -o c6 --size 6 --clues 8-24 --num-train 600 --seed 525 --also '{clues: minimal, num_train: 900, name: minimal}'
  $build -o c10 --size 10 --clues minimal --num-train 1000 --num-validation 40 --seed 520
  $build -o c12 --size 12 --clues 48-80 --num-train 4000 --num-validation 100 --seed 522 \
    --also '{clues: minimal, num_train: 6000, num_validation: 60, name: minimal}'
  $build -o c15 --size 15 --clues 85-130 --num-train 1000 --num-validation 40 --seed 523
  $build -o c20 --size 20 --clues 180-240 --num-train 600 --num-validation 20 --seed 524
  $build -o c25 --size 25 --clues 300-390 --num-train 300 --num-validation 20 --seed 525
  $build -o c16 --size 16 --clues 100-125 --num-train 25000 --num-validation 100 --seed 521
  $build -o e16 --size 16 --clues 100-125 --num-train 5000 --seed 631
  whole="arch.H_cycles=2 train.gradient=all_cycles arch.halt_max_steps=12 $adapters train.global_batch_size=32"
  hrm train --preset sudoku-units --data a9 -o sixth --checkpoint fifth "data.other_sizes=[c4,c6,c10,c12,c16,c20,c25]" \
    train.lr=5e-4 train.lr_min_ratio=0.05 train.lr_warmup_steps=30 train.max_minutes=80 $whole train.ema_decay=0.99
  hrm train --preset sudoku-units --data a9 -o seventh --checkpoint sixth "data.other_sizes=[b4,b6,c10,c12,c16,c25]" \
    train.lr=4e-4 train.lr_min_ratio=0.02 train.lr_warmup_steps=30 train.max_minutes=60 $whole train.ema_decay=0.99
  hrm train --preset sudoku-units --data a9 -o eighth --checkpoint seventh "data.other_sizes=[b4,c6,b12,e16]" \
    train.lr=2.5e-4 train.lr_min_ratio=0.02 train.lr_warmup_steps=20 train.max_minutes=15 $whole train.ema_decay=0.985
  ;;
maze)
  mazes() { # FOLDER SIZE NUMBER SEED; least moves of long braided mazes, and of long ones with walls at random
    hrm build-dataset maze -o "$1" --size "$2" --style braided --min-path 1 --num-train "$3" --num-test 0 \
      --num-validation 40 --seed "$4" \
      --also "{name: long braided, style: braided, min_path: $5, num_train: $(($3 * 3 / 2))}" \
      --also "{name: walls, style: walls, min_path: 1, num_train: $3, num_validation: 40}" \
      --also "{name: long walls, style: walls, min_path: $6, num_train: $(($3 * 3 / 2))}" \
      --also "{name: perfect, style: perfect, min_path: $5, num_train: $(($3 * 2 / 5)), num_validation: 40}"
  }
  few_loops() { # FOLDER SEED; three numbers of 30×30 mazes, then their least moves: with 12, 4 and 25 walls removed
    few=$top/benchmarks/few_loops.py
    python "$few" "$3" --walls 12 --least "$6" --seed "${2}1" > "$1.csv"
    python "$few" "$4" --walls 4 --least "$6" --seed "${2}2" | tail -n +2 >> "$1.csv"
    python "$few" "$5" --walls 25 --least "$7" --seed "${2}3" | tail -n +2 >> "$1.csv"
    hrm build-dataset maze -o "$1" --source "$1.csv" --num-test 0 --num-validation 40 --seed 30
  }
  mazes m8 8 8000 78 9 9
  mazes m10 10 9000 710 13 13
  mazes m14 14 6000 714 22 18
  mazes m20 20 2500 720 40 30
  few_loops m30 1 3000 1500 1500 60 40
  common="train.global_batch_size=32 train.epochs=100 train.eval_interval=null"
  # Four minutes on one core.
  hrm train --preset edges-maze -o six train.epochs=100 train.max_steps=1000
  # Nine minutes on one core, as far as 2,652 steps.
  hrm train --preset edges-maze -o small --data m10 --checkpoint six "data.other_sizes=[m8,m14]" train.lr=2e-3 \
    train.lr_min_ratio=0.25 train.carry_over=0.7 train.ema_decay=0.995 train.max_minutes=9 $common
  # 33 minutes on two cores.
  hrm train --preset edges-maze -o mixed --data m10 --checkpoint small "data.other_sizes=[m14,m20,m30]" train.lr=1.5e-3 \
    train.carry_over=0.85 train.ema_decay=0.998 train.max_minutes=33 $common
  # Then 10×10 mazes whose shortest path is hardly shorter than another one, in ACT steps of two cycles. One core each.
  hrm build-dataset maze -o raw10 --size 10 --style braided --min-path 4 --num-train 80000 --num-test 0 --seed 4410
  python "$top/benchmarks/near_ties.py" raw10 > near.csv
  hrm build-dataset maze -o n10 --size 10 --style walls --min-path 1 --num-train 9000 --num-test 0 --num-validation 64 \
    --seed 5 --also "{source: near.csv, num_validation: 160, name: near ties}" \
    --also "{name: long walls, style: walls, min_path: 13, num_train: 12000}" \
    --also "{name: perfect, style: perfect, min_path: 5, num_train: 4000, num_validation: 32}"
  mazes n14 14 5000 814 22 18
  mazes n20 20 2000 820 40 30
  few_loops n30 11 1500 700 700 60 40
  two="$common arch.H_cycles=2 train.reach_back=1 train.carry_over=0.75 train.ema_decay=0.998 train.grad_clip=1"
  hrm train --preset edges-maze -o near --data n10 --checkpoint mixed "data.other_sizes=[n14,n20,n30]" train.lr=1e-3 \
    train.lr_min_ratio=0.05 train.lr_warmup_steps=100 train.max_minutes=40 $two
  warm="train.warm_up_rows=0.3 train.warm_up_steps=24"
  hrm train --preset edges-maze -o warm --data n10 --checkpoint near "data.other_sizes=[n14,n20,n30]" train.lr=8e-4 \
    train.lr_min_ratio=0.05 train.lr_warmup_steps=200 train.max_minutes=58 $warm $two arch.halt_threshold=0.8
  ;;
*)
  echo "expected sudoku or maze, found $kind" >&2
  exit 2
  ;;
esac
