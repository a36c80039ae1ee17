# The service: policies on a device, episodes in Redis, HTTP on port 8000.

# Its one file changes only when the packages asked for do, whatever else moves in pyproject.toml.
FROM python:3.11-slim AS requirements
COPY pyproject.toml docker/requirements.py ./
RUN python requirements.py service > requirements.txt

FROM python:3.11-slim AS dependencies
# Where packages come from; pip reads both from the environment. They stay out of the final image's history.
ARG PIP_INDEX_URL
ARG PIP_EXTRA_INDEX_URL
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /build
COPY --from=requirements requirements.txt ./
COPY constraints.txt ./
RUN python -m venv --without-pip /opt/lamo \
 && python -m pip --python /opt/lamo/bin/python install -c constraints.txt -r requirements.txt

# The code, in a layer of its own: a change of it leaves the gigabyte of dependencies where it is.
FROM python:3.11-slim AS code
ARG PIP_INDEX_URL
ARG PIP_EXTRA_INDEX_URL
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /build
COPY constraints.txt ./
RUN python -m venv --without-pip /opt/lamo && python -m pip install -c constraints.txt setuptools
COPY pyproject.toml README.md LICENSE ./
COPY lamo lamo
COPY service service
COPY training training
COPY clients clients
RUN python -m pip wheel --no-deps --no-build-isolation --wheel-dir wheels . \
 && python -m pip --python /opt/lamo/bin/python install --no-deps wheels/*.whl

FROM python:3.11-slim
RUN useradd --uid 10001 --no-create-home --home-dir /tmp lamo
COPY --from=dependencies /opt/lamo /opt/lamo
COPY --from=code /opt/lamo /opt/lamo
COPY docker/healthcheck.py /opt/lamo/healthcheck.py
ENV PATH=/opt/lamo/bin:$PATH PYTHONUNBUFFERED=1 LAMO_POLICIES=/policies LAMO_HOST=0.0.0.0 LAMO_PORT=8000
USER 10001:10001
WORKDIR /tmp
EXPOSE 8000
HEALTHCHECK --interval=5s --timeout=5s --start-period=120s --retries=3 \
  CMD ["python", "/opt/lamo/healthcheck.py"]
ENTRYPOINT ["lamo-serve"]
