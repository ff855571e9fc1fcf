"""A release's three models inside Triton: its student, its teacher, and the cascade of both.

Each `model.py` of a model repository imports its `TritonPythonModel` from here. The decisions are
the server's own; these modules are the shell around them. Only `backend` and the models import
Triton's Python modules, so everything else can be used and tested anywhere.
"""
