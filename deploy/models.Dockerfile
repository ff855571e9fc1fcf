# Releases and nothing else, for deploy/kubernetes/models; the context is the model repository:
#
#   docker build -f deploy/models.Dockerfile -t registry.example.com/cascade-models:1 model_repository

FROM busybox:1.37.0
COPY . /models
USER 10001
