# The serving image: ONNX Runtime and gRPC, no torch, no compiler, no root.
#
#   docker build -t cascade .
#   docker run -p 8470:8470 -v "$PWD/model_repository:/models:ro" cascade

FROM python:3.11.13-slim-bookworm AS build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /src
RUN python -m venv /opt/cascade
# Dependencies first: this layer is kept until one of them changes.
COPY pyproject.toml constraints.txt ./
RUN python -c "import tomllib; project = tomllib.load(open('pyproject.toml', 'rb'))['project']; \
      extras = project['optional-dependencies']; \
      print(*project['dependencies'], *extras['server'], *extras['cache'], sep='\n')" \
      > requirements.txt \
 && /opt/cascade/bin/pip install --constraint constraints.txt --requirement requirements.txt
COPY README.md LICENSE ./
COPY proto proto
COPY tables tables
COPY client client
COPY server server
COPY distill distill
RUN /opt/cascade/bin/pip install --no-deps .

FROM python:3.11.13-slim-bookworm
RUN useradd --system --uid 10001 --no-create-home cascade
COPY --from=build /opt/cascade /opt/cascade
COPY model_repository /models
ENV PATH=/opt/cascade/bin:$PATH PYTHONUNBUFFERED=1
USER 10001
EXPOSE 8470
# Asks the standard gRPC health service, as an orchestrator would.
HEALTHCHECK --interval=10s --timeout=3s --start-period=20s --retries=3 \
  CMD ["python", "-c", "from cascade_client import Client; Client('127.0.0.1:8470').wait_ready(2)"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["cascade", "serve"]
CMD ["--host", "0.0.0.0", "--port", "8470", "--repository", "/models"]
