# hrm on a CPU.
#
#   docker build -t hrm .
#   docker run --rm -v "$PWD:/work" hrm solve puzzle.txt
#
# A folder that the container writes to (runs, datasets) must be writable for its user: add `--user "$(id -u)"`.
FROM python:3.12-slim

# The CPU build of torch is a tenth of the size of the one for CUDA. PyTorch's installation page names the index with the
# CPU builds: docker build --build-arg PIP_EXTRA_INDEX_URL=ADDRESS. Without it, the image gets the CUDA build, which also works.
ARG PIP_EXTRA_INDEX_URL=

WORKDIR /opt/hrm
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY presets presets
COPY hrm_cli hrm_cli
RUN pip install --no-cache-dir --disable-pip-version-check --constraint constraints.txt '.[hub,arc]' \
    && useradd --create-home --uid 1000 hrm

# Compiled kernels and downloads are kept here. Anyone may write, for `--user` can name any user.
ENV XDG_CACHE_HOME=/var/cache/hrm HF_HOME=/var/cache/hrm/huggingface TORCHINDUCTOR_CACHE_DIR=/var/cache/hrm/inductor
RUN install --directory --mode 1777 /var/cache/hrm

USER 1000
WORKDIR /work
ENTRYPOINT ["hrm"]
CMD ["--help"]
