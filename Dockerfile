# One image for every process of every design: the services, the click worker, Locust. `designs up` builds it; by hand:
#   docker compose build
# Packages come by hash from requirements.lock; a wheel is there for each of them, so nothing is compiled, and nothing that could
# compile is left in the last stage. Works on amd64 and arm64, with the classic builder and with BuildKit.
ARG PYTHON_IMAGE=python:3.13-slim

FROM ${PYTHON_IMAGE} AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_NO_INPUT=1 PIP_PROGRESS_BAR=off
WORKDIR /build
# What changes rarely comes first, so that a change of the code installs no package again.
COPY ops/compose/locked_subset.py pyproject.toml requirements.lock ./
RUN python locked_subset.py pyproject.toml requirements.lock redis kafka cassandra grpc traces load > services.txt \
 && python locked_subset.py pyproject.toml requirements.lock --only hatchling > backend.txt \
 && python -m venv tools && tools/bin/pip install --quiet --require-hashes --only-binary :all: -r backend.txt \
 && python -m venv --without-pip /opt/venv \
 && tools/bin/pip --python /opt/venv/bin/python install --require-hashes --only-binary :all: -r services.txt
# xds-protos brings older files of the same names as opentelemetry-proto's; who comes last wins, so their owner comes last.
RUN python locked_subset.py pyproject.toml requirements.lock --only opentelemetry-proto > last.txt \
 && tools/bin/pip --python /opt/venv/bin/python install --no-deps --force-reinstall --require-hashes --only-binary :all: -r last.txt
COPY LICENSE README.md ./
COPY designs designs
COPY loadtests loadtests
COPY workbench workbench
RUN tools/bin/pip wheel --quiet --no-deps --no-build-isolation --wheel-dir wheel . \
 && tools/bin/pip --python /opt/venv/bin/python install --no-deps --no-index wheel/*.whl \
 && tools/bin/pip --python /opt/venv/bin/python check

FROM ${PYTHON_IMAGE}
COPY --from=build /opt/venv /opt/venv
ENV PATH=/opt/venv/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
# A number and no name: it can be checked without the image's list of users, and owns nothing in it.
USER 10001:10001
WORKDIR /tmp
EXPOSE 8000
CMD ["python", "-m", "designs.url_shortener.serve", "service", "--host", "0.0.0.0", "--port", "8000"]
