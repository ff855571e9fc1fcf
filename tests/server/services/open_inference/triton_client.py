"""Triton's own client, driven over stdin and stdout: a JSON object a line.

It runs in an environment of its own, without this project: the client's generated code and the
server's are of the same protobuf package, and one process takes only one of them.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import numpy as np
import tritonclient.grpc as triton
from google.protobuf.json_format import MessageToDict
from tritonclient.utils import InferenceServerException, triton_to_np_dtype


def infer(
    client: triton.InferenceServerClient,
    model: str,
    inputs: dict[str, Any],
    outputs: list[str] | None = None,
    **options: Any,
) -> dict[str, Any]:
    given = []
    for name, (datatype, values) in inputs.items():
        array = np.array(values, triton_to_np_dtype(datatype))
        given.append(triton.InferInput(name, list(array.shape), datatype))
        given[-1].set_data_from_numpy(array)
    wanted = None if outputs is None else [triton.InferRequestedOutput(name) for name in outputs]
    result = client.infer(model, given, outputs=wanted, **options)
    response = result.get_response()
    found = {}
    for output in response.outputs:
        array = result.as_numpy(output.name)
        if output.datatype == "BYTES":
            array = np.array([each.decode() for each in array.reshape(-1)], object)
            array = array.reshape(output.shape)
        found[output.name] = [output.datatype, array.tolist()]
    parameters = {
        name: getattr(value, value.WhichOneof("parameter_choice"))
        for name, value in response.parameters.items()
    }
    head = {"model": response.model_name, "version": response.model_version, "id": response.id}
    return {**head, "outputs": found, "parameters": parameters}


def main() -> None:
    client = triton.InferenceServerClient(sys.argv[1])
    for line in sys.stdin:
        asked = json.loads(line)
        method, args, options = asked["method"], asked["args"], asked["options"]
        try:
            if method == "infer":
                answer = infer(client, *args, **options)
            else:
                answer = getattr(client, method)(*args, **options)
                if hasattr(answer, "DESCRIPTOR"):
                    answer = MessageToDict(answer, preserving_proto_field_name=True)
            said: dict[str, Any] = {"answer": answer}
        except InferenceServerException as exc:
            said = {"status": exc.status(), "message": exc.message()}
        print(json.dumps(said), flush=True)


if __name__ == "__main__":
    main()
