# One image for workers, the HTTP front, Flower and the command: `docker build -t chatq .`
# Everything is pinned with its hash in requirements.txt. Runs without root and on a read-only file system.

FROM python:3.13-slim AS build
WORKDIR /src
# pip stays behind in this stage.
RUN python -m venv --without-pip /opt/chatq
COPY requirements.txt ./
RUN python -m pip --python /opt/chatq/bin/python install --no-cache-dir --require-hashes -r requirements.txt
COPY pyproject.toml README.md LICENSE ./
COPY producer ./producer
COPY worker ./worker
COPY sandbox ./sandbox
RUN python -m pip --python /opt/chatq/bin/python install --no-cache-dir --no-deps --no-build-isolation .

FROM python:3.13-slim
RUN useradd --system --uid 10001 --user-group --no-create-home --home-dir /nonexistent chatq \
    && mkdir --mode 700 /var/lib/chatq && chown chatq:chatq /var/lib/chatq
COPY --from=build /opt/chatq /opt/chatq
ENV PATH=/opt/chatq/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    CHATQ_CONFIG=/etc/chatq/config.yaml
USER 10001:10001
WORKDIR /etc/chatq
ENTRYPOINT ["chatq"]
CMD ["worker"]
