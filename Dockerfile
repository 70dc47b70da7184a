# The daemon in a container. Build arguments:
#   EXTRAS       which optional parts to install (docs/install.md)
#   TORCH_INDEX  another package index for torch alone: see pytorch.org for the one of your GPU, or of the CPU-only
#                build, which makes the image several GB smaller
#   UID, GID     the user inside; 991 is pict-rs's, so that its files can be deleted from a shared volume
ARG PYTHON=3.12

# Gigabytes that change rarely: a layer of their own, here and in the final image.
FROM python:${PYTHON}-slim AS dependencies
ARG EXTRAS=clip,openvino,nudenet,heic,jxl,web,postgres
ARG TORCH_INDEX=
# pdqhash has no wheel for Linux.
RUN apt-get update \
 && apt-get install -y --no-install-recommends g++ \
 && rm -rf /var/lib/apt/lists/*
# uv gets an environment of its own, so that nothing of it is part of the final image.
RUN python -m venv /uv && /uv/bin/python -m pip install --no-cache-dir uv && python -m venv --without-pip /venv
ENV UV_NO_CACHE=1 UV_COMPILE_BYTECODE=1 UV_PYTHON=/venv/bin/python
WORKDIR /src
COPY pyproject.toml ./
RUN if [ -n "$TORCH_INDEX" ]; then /uv/bin/uv pip install --index-url "$TORCH_INDEX" torch torchvision; fi \
 && /uv/bin/uv pip install -r pyproject.toml $(echo "$EXTRAS" | sed 's/^/--extra /; s/,/ --extra /g') \
 && echo "$EXTRAS" >/venv/image-extras

# The project alone, in the same places as in the environment, to be laid over it.
FROM dependencies AS project
COPY README.md LICENSE ./
COPY alembic ./alembic
COPY lemmy_safety ./lemmy_safety
RUN /uv/bin/uv pip install --no-deps --prefix /project .

FROM python:${PYTHON}-slim
ARG UID=991
ARG GID=991
# The slim image has its standard library without bytecode, and a read-only container cannot keep any: each start would
# compile what it imports.
RUN python -m compileall -q -j 0 -x '/(site-packages|dist-packages|idlelib|lib2to3|tests?)/' \
      "$(python -c 'import sysconfig; print(sysconfig.get_path("stdlib"))')" \
 && groupadd --gid "$GID" lemmy-safety \
 && useradd --uid "$UID" --gid "$GID" --no-create-home --home-dir /cache --shell /usr/sbin/nologin lemmy-safety \
 && install -d -o "$UID" -g "$GID" /data /cache
COPY --from=dependencies /venv /venv
COPY --from=project /project /venv
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
