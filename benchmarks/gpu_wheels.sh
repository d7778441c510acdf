#!/usr/bin/env bash
# Prepares what a GPU machine without a network needs, in folders that git ignores:
#   .whl/         wheels, at the versions of constraints.txt
#   .gpu/golden   the recordings of the reference, where ../shared/golden is here
#   .gpu/data     the datasets named on the command line
#
#   benchmarks/gpu_wheels.sh [DATASET FOLDER…]
#
# There:
#   python3 -m pip install -q --no-index --no-deps --no-compile --target /tmp/site .whl/*.whl
#   export PYTHONPATH=/tmp/site:$PWD HRM_GOLDEN=$PWD/.gpu/golden
#   python3 benchmarks/gpu.py check speed --output OUT
#
# The machine is Linux on x86-64 with CPython 3.12 (GPU_PYTHON=3.13 for another), torch, numpy, numba, safetensors,
# PyYAML, rich and pytest. It is looked through beforehand for what else may be missing: GPU_PACKAGES adds names.
set -euo pipefail
cd "$(dirname "$0")/.."

python=${GPU_PYTHON:-3.12}
packages=(pydantic pydantic_core annotated-types typing_extensions typing-inspection typer click ${GPU_PACKAGES:-})

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

mkdir -p .gpu/data
if [[ -d ../shared/golden ]]; then
    rm -rf .gpu/golden
    cp -rL ../shared/golden .gpu/golden
    chmod -R u+w .gpu/golden
fi
for folder in "$@"; do
    rm -rf ".gpu/data/$(basename "$folder")"
    cp -rL "$folder" ".gpu/data/$(basename "$folder")"
done

du -sh .whl .gpu
printf '%s\n' "${found[@]}"
