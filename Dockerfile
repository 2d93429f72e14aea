# syntax=docker/dockerfile:1
# Training, inference and the page on NVIDIA GPUs, with the pinned versions and their hashes checked.
#
#   docker build -t sartorius .
#   docker run --rm --gpus all --shm-size=8g -v "$PWD/data:/workspace/data:ro" -v "$PWD/runs:/workspace/runs" \
#       sartorius train configs/models/mask_rcnn_r50.yaml --data data --gpus 1
#
# compose.yaml has the same as services. --shm-size because the data loader's processes hand images over in shared memory.
# What is mounted to be written must be writable by user 10001, or run with --user "$(id -u):$(id -g)".
#
# torch's wheels bring CUDA's libraries: the image with the CUDA runtime alone is enough. Its driver must be 580 or newer.
ARG CUDA_IMAGE=nvidia/cuda:13.0.1-base-ubuntu24.04

FROM ${CUDA_IMAGE} AS build
ARG UV_VERSION=0.13.8
# Ubuntu keeps one version of a package at a time: a pinned one stops being there.
# hadolint ignore=DL3008
RUN apt-get update \
    && DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends python3 python3-venv \
    && rm -rf /var/lib/apt/lists/* \
    && python3 -m venv /opt/uv \
    && /opt/uv/bin/pip install --no-cache-dir uv==${UV_VERSION}
ENV PATH=/opt/uv/bin:$PATH \
    UV_LINK_MODE=copy \
    UV_COMPILE_BYTECODE=1 \
    UV_PYTHON_DOWNLOADS=never \
    VIRTUAL_ENV=/opt/venv
WORKDIR /workspace
# What is installed changes rarely and is large: it has a layer before the code. pip refuses pb1-detectron2, uv builds it
# with the torch that is already there.
COPY pyproject.toml setup.cfg constraints.txt README.md LICENSE ./
RUN --mount=type=cache,target=/root/.cache/uv \
    uv venv --python /usr/bin/python3 "$VIRTUAL_ENV" \
    && uv pip install -c constraints.txt setuptools torch torchvision \
    && uv pip install -c constraints.txt -r pyproject.toml --extra detectron --extra app
COPY sartorius sartorius
COPY configs configs
COPY models models
COPY kaggle_kernels kaggle_kernels
RUN uv pip install --no-deps --no-build-isolation --editable .

FROM ${CUDA_IMAGE}
# hadolint ignore=DL3008
RUN apt-get update \
    && DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends python3 \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --uid 10001 --user-group --no-create-home sartorius
COPY --from=build /opt/venv /opt/venv
COPY --from=build --chown=10001:10001 /workspace /workspace
# Home and caches are where any user may write, also one that the image does not know; the driver's libraries come from
# the host.
ENV PATH=/opt/venv/bin:$PATH \
    HOME=/tmp \
    USER=sartorius \
    PYTHONUNBUFFERED=1 \
    NUMBA_CACHE_DIR=/tmp/numba \
    MPLCONFIGDIR=/tmp/matplotlib \
    FVCORE_CACHE=/tmp/weights \
    NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility
USER 10001:10001
WORKDIR /workspace
EXPOSE 7860
ENTRYPOINT ["sartorius"]
CMD ["--help"]
