#!/usr/bin/env bash
# Prepares what a GPU machine without a network needs, in folders that git ignores:
#   .whl/          wheels, at the versions of constraints.txt
#   .gpu/golden    the recordings of the reference, from ../shared/golden
#   .gpu/sudoku    train.csv and test.csv for the recipes sudoku-extreme and trm: from GPU_SUDOKU, or ../shared/data/sudoku
#   .gpu/arc       ARC-1 and ConceptARC for the recipe arc-1: from GPU_ARC, or ../shared/data/arc
#   .gpu/data      the datasets named on the command line
# and checks that it is at most 64 MiB in all (GPU_MIB=N for another limit). Folders that are not there are left out.
#
#   benchmarks/gpu_wheels.sh [DATASET FOLDER…]
#
# There:
#   python3 -m pip install -q --no-index --no-deps --no-compile --target /tmp/site .whl/*.whl
#   export PYTHONPATH=/tmp/site:$PWD
#   python3 benchmarks/gpu.py check speed --output OUT
#
# The machine is Linux on x86-64 with CPython 3.12 (GPU_PYTHON=3.13 for another), torch, numpy, numba, safetensors,
# PyYAML, rich, pytest and hypothesis. gpu.py names what is missing there; GPU_PACKAGES adds wheels.
set -euo pipefail
cd "$(dirname "$0")/.."

python=${GPU_PYTHON:-3.12}
packages=(pydantic pydantic_core annotated-types typing_extensions typing-inspection typer click shellingham annotated-doc ${GPU_PACKAGES:-})

pinned=()
for package in "${packages[@]}"; do
    line=$(grep -iE "^${package//[-_]/[-_]}==" constraints.txt) || {
        echo "gpu_wheels.sh: constraints.txt names no version of $package" >&2
        exit 2
    }
    pinned+=("$line")
done

rm -rf .whl
.venv/bin/python -m pip --version >/dev/null 2>&1 && pip=(.venv/bin/python -m pip) || pip=(python3 -m pip)
"${pip[@]}" download --quiet --disable-pip-version-check --no-deps --only-binary=:all: \
    --implementation cp --python-version "$python" \
    --platform manylinux2014_x86_64 --platform manylinux_2_17_x86_64 \
    --dest .whl "${pinned[@]}"

tag=cp${python/./}
for wheel in .whl/*.whl; do
    case $wheel in
        *-py3-none-any.whl | *-py2.py3-none-any.whl | *-"$tag"-"$tag"-manylinux*x86_64*.whl | *-abi3-manylinux*x86_64*.whl) ;;
        *)
            echo "gpu_wheels.sh: $wheel is for another machine than CPython $python on x86-64" >&2
            exit 1
            ;;
    esac
done
found=(.whl/*.whl)
if [[ ${#found[@]} -ne ${#packages[@]} ]]; then
    echo "gpu_wheels.sh: ${#packages[@]} wheels expected, ${#found[@]} found" >&2
    exit 1
fi

# bring NAME FILE…: copies files to .gpu/NAME, if they are all there
bring() {
    local name=$1
    shift
    rm -rf ".gpu/$name"
    [[ $# -gt 0 ]] || return 0
    for file in "$@"; do
        [[ -e $file ]] || {
            echo "left out: .gpu/$name, because $file is not there"
            return 0
        }
    done
    mkdir -p ".gpu/$name"
    cp -rL "$@" ".gpu/$name"
    chmod -R u+w ".gpu/$name"
}

mkdir -p .gpu
sudoku=${GPU_SUDOKU:-../shared/data/sudoku} arc=${GPU_ARC:-../shared/data/arc}
bring golden ../shared/golden/*
bring sudoku "$sudoku"/{train,test}.csv
bring arc "$arc"/arc-agi_{training,evaluation,concept}_{challenges,solutions}.json
bring data "$@"

du -sh .whl .gpu/*/
printf '%s\n' "${found[@]}"
mib=$(($(du -sm --apparent-size .whl .gpu | awk '{ all += $1 } END { print all }')))
limit=${GPU_MIB:-64}
if [[ $mib -gt $limit ]]; then
    echo "gpu_wheels.sh: .whl and .gpu have $mib MiB, more than $limit; bring less or set GPU_MIB" >&2
    exit 1
fi
echo "$mib MiB of $limit"
