# The build stage has pip, uv and the pins; the image has none of these, nor anything that only a test or an author needs.
FROM python:3.11-slim AS build
COPY requirements/main.txt requirements/not-in-image.txt /build/requirements/
# uv, at its pinned version, because it can leave packages out of what it resolves.
RUN awk '/^[^ ]/ {wanted = /^uv==/} wanted' /build/requirements/main.txt >/build/uv.txt && \
    pip install --no-cache-dir --disable-pip-version-check --require-hashes -r /build/uv.txt && \
    python -m venv --without-pip /venv && \
    uv pip install --no-cache --compile-bytecode --python /venv/bin/python --require-hashes \
        --excludes /build/requirements/not-in-image.txt -r /build/requirements/main.txt

FROM python:3.11-slim
# The platform mounts the root file system read-only, so Python writes no bytecode beside the sources.
ENV PATH="/venv/bin:$PATH" \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
# The SDK writes its TLS files under /tmp, whatever TMPDIR says. /dev/shm is in memory and writable even there.
# The SDK's data path, /symphony_data, is where a volume goes; without one it must at least belong to the user.
RUN rm -rf /tmp && ln -s /dev/shm /tmp && \
    useradd --create-home --shell /usr/sbin/nologin sekoiaio-runtime && \
    install -d -o sekoiaio-runtime -g sekoiaio-runtime /symphony_data
WORKDIR /app
COPY --from=build /venv /venv
# The SDK reads manifest.json from the working directory: which members of the configuration are secret.
COPY main.py manifest.json ./
COPY graph_entra/ ./graph_entra/
RUN python -m compileall -q main.py graph_entra
USER sekoiaio-runtime
ENTRYPOINT ["python", "./main.py"]
