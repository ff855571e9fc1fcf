"""A release's three models inside Triton: its student, its teacher, and the cascade of both.

Each `model.py` of a model repository imports its `TritonPythonModel` from here. What decides is the
server's own; what is here is the shell around it. Only `backend` and the models import what Triton
gives its Python backend, so the rest is used, and tested, anywhere.
"""
