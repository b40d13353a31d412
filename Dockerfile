# train.py in a container; docs/automation.md. For the CPU, or for NVIDIA GPUs:
#   docker build -t frontpage .
#   docker build -t frontpage:cuda --build-arg TORCH=cuda .
#   docker run --rm --user "$(id -u):$(id -g)" -v "$PWD/logs:/frontpage/logs" frontpage experiment=quickstart
#   docker run --rm --gpus all --env-file .env ... frontpage:cuda experiment=adamw_gpt data.path=/data/titles.parquet
ARG PYTHON=3.13

FROM python:${PYTHON}-slim-bookworm AS install
ARG TORCH=cpu
WORKDIR /frontpage
COPY pyproject.toml constraints.txt ./
COPY scripts/install.sh scripts/
# The package is installed in place, so its folder must be there; what it holds may come later. EXTRAS= leaves out what
# the tests need, PIP_OPTIONS the wheels' second copy.
RUN mkdir -p src/frontpage && EXTRAS='' TORCH="$TORCH" PIP_OPTIONS='--no-cache-dir' bash scripts/install.sh

FROM python:${PYTHON}-slim-bookworm
# torch.compile, FlexAttention and gated_delta call a C++ compiler at run time; git stays out, so git_commit in run.json is null.
# hadolint ignore=DL3008
RUN apt-get update && apt-get install --yes --no-install-recommends g++ && rm -rf /var/lib/apt/lists/*
WORKDIR /frontpage
COPY --from=install /frontpage/.venv .venv
COPY . .
# Whoever the container runs as may write runs and caches; nobody but root may change the program.
RUN mkdir -p logs .cache && chmod 1777 logs .cache
ENV PATH=/frontpage/.venv/bin:$PATH HOME=/tmp USER=frontpage PYTHONUNBUFFERED=1 \
    PYTORCH_CUDA_ALLOC_CONF=expandable_segments:True
USER 1000:1000
ENTRYPOINT ["python", "train.py"]
CMD ["experiment=quickstart"]
