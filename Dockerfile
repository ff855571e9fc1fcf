# The serving images: ONNX Runtime and gRPC, no torch, no compiler, no root.
#
#   docker build -t cascade .                       on CPUs
#   docker build --target gpu -t cascade:gpu .      with CUDA, TensorRT and ONNX Runtime for them
#   docker build --build-arg EXTRAS="databases delta" --build-arg PACKAGES="s3fs" -t cascade .
#   docker run -p 8470:8470 -v "$PWD/model_repository:/models:ro" cascade
#
# docs/deploy.md has how to run them, here and in Kubernetes.

FROM python:3.11.13-slim-bookworm AS cpu-python

# CUDA's and cuDNN's libraries of the major version that onnxruntime-gpu is built for.
FROM nvidia/cuda:13.0.1-cudnn-runtime-ubuntu24.04 AS gpu-python
# What the distribution has is what its security updates are for, so no version is named.
# hadolint ignore=DL3008
RUN apt-get update \
 && apt-get install --yes --no-install-recommends python3.12 python3.12-venv \
 && rm -rf /var/lib/apt/lists/*

# What each image installs, by the names of pyproject.toml's extras. The two are never installed
# side by side: onnxruntime and onnxruntime-gpu are one package under two names.
#
# EXTRAS are further ones, for jobs whose rows go to databases or to Delta Lake, or are drawn by a
# Ray cluster, and for traces: "databases delta ray telemetry". PACKAGES are others of PyPI: what
# fsspec needs for a store ("s3fs"), and drivers of databases. Both are held to constraints.txt, as
# far as that names them.
FROM cpu-python AS requirements
ARG EXTRAS=""
ARG PACKAGES=""
WORKDIR /src
COPY pyproject.toml ./
RUN EXTRAS="${EXTRAS}" PACKAGES="${PACKAGES}" python -c "import os, sys, tomllib; \
      project = tomllib.load(open('pyproject.toml', 'rb'))['project']; \
      extras = project['optional-dependencies']; \
      named, allowed = os.environ['EXTRAS'].split(), ('databases', 'delta', 'ray', 'telemetry'); \
      unknown = [each for each in named if each not in allowed]; \
      unknown and sys.exit(f'EXTRAS has {unknown[0]}; allowed: ' + ', '.join(allowed)); \
      further = [line for each in ('access', 'cache', 'jobs', 'remote', *named) \
                 for line in extras[each]]; \
      further += os.environ['PACKAGES'].split(); \
      [open(f'{image}.txt', 'w').write('\n'.join( \
         dict.fromkeys(project['dependencies'] + extras[extra] + further))) \
       for image, extra in (('cpu', 'server'), ('gpu', 'gpu'))]"

# The project itself: Python, and the compiled student, which has nothing of Python in it and asks
# for no newer C library than both images have. One wheel for both.
FROM cpu-python AS wheel
# hadolint ignore=DL3008
RUN apt-get update \
 && apt-get install --yes --no-install-recommends gcc libc6-dev \
 && rm -rf /var/lib/apt/lists/*
WORKDIR /src
ENV CASCADE_NATIVE=require
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
COPY pyproject.toml constraints.txt hatch_build.py README.md LICENSE ./
COPY proto proto
COPY cli cli
COPY tables tables
COPY client client
COPY jobs jobs
COPY cost cost
COPY server server
COPY distill distill
RUN PIP_CONSTRAINT=constraints.txt pip wheel --no-deps --wheel-dir /wheel .

# Dependencies first: the layer is kept until one of them changes.
FROM cpu-python AS cpu-build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN python -m venv /opt/cascade
COPY constraints.txt /
COPY --from=requirements /src/cpu.txt /
RUN /opt/cascade/bin/pip install --constraint constraints.txt --requirement cpu.txt
COPY --from=wheel /wheel /wheel
RUN /opt/cascade/bin/pip install --no-deps /wheel/*.whl

FROM gpu-python AS gpu-build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN python3.12 -m venv /opt/cascade
COPY constraints.txt /
COPY --from=requirements /src/gpu.txt /
RUN /opt/cascade/bin/pip install --constraint constraints.txt --requirement gpu.txt
COPY --from=wheel /wheel /wheel
RUN /opt/cascade/bin/pip install --no-deps /wheel/*.whl

FROM gpu-python AS gpu
# Where --state-dir is mounted: a volume that is new has this folder's owner.
RUN useradd --system --uid 10001 --no-create-home cascade \
 && install --directory --owner=10001 /var/lib/cascade
COPY --from=gpu-build /opt/cascade /opt/cascade
COPY model_repository /models
COPY deploy/cascade.yaml deploy/sbom.cdx.json /etc/cascade/
# Where pip puts TensorRT's libraries, which ONNX Runtime looks for by name.
ENV PATH=/opt/cascade/bin:$PATH PYTHONUNBUFFERED=1 OMP_NUM_THREADS=1 ORT_DISABLE_TELEMETRY=1 \
    CASCADE_CONFIG=/etc/cascade/cascade.yaml \
    LD_LIBRARY_PATH=/opt/cascade/lib/python3.12/site-packages/tensorrt_libs:$LD_LIBRARY_PATH
USER 10001
EXPOSE 8470
HEALTHCHECK --interval=10s --timeout=3s --start-period=60s --retries=3 \
  CMD ["python", "-c", "from cascade_client import Client; Client('127.0.0.1:8470').wait_ready(2)"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["cascade", "serve"]

# The last one is what `docker build .` makes.
FROM cpu-python AS cpu
# Where --state-dir is mounted: a volume that is new has this folder's owner.
RUN useradd --system --uid 10001 --no-create-home cascade \
 && install --directory --owner=10001 /var/lib/cascade
COPY --from=cpu-build /opt/cascade /opt/cascade
COPY model_repository /models
COPY deploy/cascade.yaml deploy/sbom.cdx.json /etc/cascade/
# A worker is one core's; NumPy's own threads would be as many as the node has.
# ONNX Runtime 1.32 has telemetry, which is on unless it is told otherwise.
ENV PATH=/opt/cascade/bin:$PATH PYTHONUNBUFFERED=1 OMP_NUM_THREADS=1 ORT_DISABLE_TELEMETRY=1 \
    CASCADE_CONFIG=/etc/cascade/cascade.yaml
USER 10001
EXPOSE 8470
# Asks the standard gRPC health service, as an orchestrator would.
HEALTHCHECK --interval=10s --timeout=3s --start-period=20s --retries=3 \
  CMD ["python", "-c", "from cascade_client import Client; Client('127.0.0.1:8470').wait_ready(2)"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["cascade", "serve"]
