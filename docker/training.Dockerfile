# Training: `lamo-train`, and the demo that makes the first policy.

# Its one file changes only when the packages asked for do, whatever else moves in pyproject.toml.
FROM python:3.11-slim AS requirements
COPY pyproject.toml docker/requirements.py ./
RUN python requirements.py training > requirements.txt

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
# Made here, so that a new volume mounted there belongs to the user who writes into it.
RUN useradd --uid 10001 --no-create-home --home-dir /tmp lamo \
 && install --directory --owner=10001 --group=10001 /policies /work
COPY --from=dependencies /opt/lamo /opt/lamo
COPY --from=code /opt/lamo /opt/lamo
COPY examples/command_lines.py examples/demo.py /opt/lamo/demo/examples/
COPY docker/make-demo-policy.sh /opt/lamo/demo/make-demo-policy.sh
# Nothing is drawn on a screen: MuJoCo needs no OpenGL library.
ENV PATH=/opt/lamo/bin:$PATH PYTHONUNBUFFERED=1 MUJOCO_GL=disable MPLCONFIGDIR=/tmp/matplotlib
USER 10001:10001
WORKDIR /work
ENTRYPOINT ["lamo-train"]
