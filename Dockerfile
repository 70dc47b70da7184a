# The daemon in a container. Build arguments:
#   EXTRAS       which optional parts to install (docs/install.md)
#   TORCH_INDEX  another package index for torch alone: see pytorch.org for the one of your GPU, or of the CPU-only
#                build, which makes the image several GB smaller
#   UID, GID     the user inside; 991 is pict-rs's, so that its files can be deleted from a shared volume
ARG PYTHON=3.12

FROM python:${PYTHON}-slim AS build
ARG EXTRAS=clip,openvino,nudenet,heic,jxl,web,postgres
ARG TORCH_INDEX=
# pdqhash has no wheel for Linux.
RUN apt-get update \
 && apt-get install -y --no-install-recommends g++ \
 && rm -rf /var/lib/apt/lists/*
RUN python -m venv /venv && /venv/bin/python -m pip install --no-cache-dir uv
ENV UV_NO_CACHE=1 UV_COMPILE_BYTECODE=1 VIRTUAL_ENV=/venv
WORKDIR /src
# Dependencies first: they change rarely and weigh gigabytes.
COPY pyproject.toml ./
RUN if [ -n "$TORCH_INDEX" ]; then /venv/bin/uv pip install --index-url "$TORCH_INDEX" torch torchvision; fi \
 && /venv/bin/uv pip install -r pyproject.toml $(echo "$EXTRAS" | sed 's/^/--extra /; s/,/ --extra /g')
COPY README.md LICENSE ./
COPY alembic ./alembic
COPY lemmy_safety ./lemmy_safety
RUN /venv/bin/uv pip install --no-deps . && /venv/bin/python -m pip uninstall -y uv

FROM python:${PYTHON}-slim
ARG UID=991
ARG GID=991
RUN groupadd --gid "$GID" lemmy-safety \
 && useradd --uid "$UID" --gid "$GID" --no-create-home --home-dir /cache --shell /usr/sbin/nologin lemmy-safety \
 && install -d -o "$UID" -g "$GID" /data /cache
COPY --from=build /venv /venv
ENV PATH=/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    SQLITE_FILENAME=/data/lemmy_safety.db \
    CACHE_DIR=/cache \
    HF_HOME=/cache/huggingface \
    XDG_CACHE_HOME=/cache
USER lemmy-safety
WORKDIR /data
VOLUME ["/data", "/cache"]
ENTRYPOINT ["lemmy-safety"]
