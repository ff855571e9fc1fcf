"""`ModelInferRequest` and its answer: a table's values, or a network's tokens, as tensors."""

from __future__ import annotations

from collections.abc import Callable

from cascade_proto import inference_pb2 as pb

from cascade_server.access.grants import ANYBODY, Caller
from cascade_server.cascade import token_requests as networks
from cascade_server.cascade.answer import Answer
from cascade_server.cascade.repository import Repository
from cascade_server.cascade.token_draw import TokenAnswer, TokenDraw
from cascade_server.deadline import Work
from cascade_server.engines.noise import new_seed
from cascade_server.engines.runtime import Runtime
from cascade_server.errors import BadRequest
from cascade_server.services.open_inference import models
from cascade_server.services.synthesize_message import Sent
from cascade_server.terms import ServiceClass, Tier
from cascade_server.wire import tensor_rows as rows
from cascade_server.wire.model_tensors import LOG_LIKELIHOOD, PARAMETERS, Model
from cascade_server.wire.parameters import Parameters, put, read_parameters
from cascade_server.wire.synthesis_request import Heading, SynthesisRequest
from cascade_server.wire.tensors import read_inputs, write_outputs


class InferMessage:
    """The message of a call; a `RequestMessage`.

    Args:
        repository: returns the loaded releases that a caller may see.
        max_rows: most rows that a network processes at once.
        sent: the call's message.
        asks: the caller.
    """

    _model: Model
    _parameters: Parameters

    def __init__(
        self,
        repository: Callable[[Caller], Repository],
        max_rows: int,
        sent: Sent,
        asks: Caller = ANYBODY,
    ) -> None:
        self._repository, self._max_rows, self._sent = repository, max_rows, sent
        self._asks = asks
        self._request = pb.ModelInferRequest()
        self._outputs: tuple[str, ...] = ()

    def heading(self) -> Heading:
        """Read the model and the parameters."""
        request = self._request = pb.ModelInferRequest.FromString(self._sent.message)
        repository = self._repository(self._asks)
        model = self._model = models.named(repository, request.model_name)
        parameters = self._parameters = read_parameters(request, PARAMETERS[model.tier])
        self._outputs = outputs_of(request)
        seed, version = parameters.given.get("seed"), models.version_number(request.model_version)
        if model.tier is not None and not version:
            # Tokens are specific to one version, so these callers must not be sent to a canary
            # by chance.
            version = repository.find(model.table).version
        service = class_of(model, parameters, self._outputs)
        rows = parameters.given.get("rows", 0) * parameters.given.get("draws", 1)
        return Heading(model.table, version, service, seed, parameters.timeout, rows)

    def read(self, runtime: Runtime, work: Work) -> SynthesisRequest | TokenDraw:
        """Read the tensors and the options."""
        inputs, model, parameters = read_inputs(self._request), self._model, self._parameters
        if model.tier is None:
            schema = runtime.release.codec.schema
            return rows.read_request(inputs, self._outputs, parameters, schema)
        outputs = networks.wanted_of(self._outputs, model)
        seed = parameters.given.get("seed", new_seed())
        return networks.to_draw(
            model, inputs, parameters, seed, runtime, work, self._max_rows, outputs
        )

    def pack(self, answer: Answer | TokenAnswer) -> bytes:
        """Serialize the answer as a `ModelInferResponse`."""
        if isinstance(answer, Answer):
            return self._values(answer).SerializeToString()
        return self._tokens(answer).SerializeToString()

    def _values(self, answer: Answer) -> pb.ModelInferResponse:
        runtime = answer.request.runtime
        out = self._response(runtime)
        for name, value in answer.provenance().items():
            put(out.parameters, name, value)
        tensors = rows.to_tensors(
            answer.values, answer.log_likelihood, self._outputs, runtime.release.codec.schema
        )
        write_outputs(out, tensors, self._is_raw)
        return out

    def _tokens(self, answer: TokenAnswer) -> pb.ModelInferResponse:
        out = self._response(answer.draw.runtime)
        put(out.parameters, "synthetic", True)
        tensors = [networks.to_tensor(name, values) for name, values in answer.values.items()]
        write_outputs(out, tensors, self._is_raw)
        return out

    def _response(self, runtime: Runtime) -> pb.ModelInferResponse:
        """Return a response with everything but its tensors filled in."""
        return pb.ModelInferResponse(
            model_name=self._request.model_name,
            model_version=str(runtime.version),
            id=self._request.id,
        )

    @property
    def _is_raw(self) -> bool:
        """Whether to answer with raw bytes: if the inputs were raw, or if there were none."""
        return bool(self._request.raw_input_contents or not self._request.inputs)


def class_of(model: Model, parameters: Parameters, outputs: tuple[str, ...]) -> ServiceClass:
    """Return the class of service that objectives count a request under."""
    if parameters.offline:
        return ServiceClass.OFFLINE
    given = parameters.given
    scored = given.get("log_likelihood", False) or LOG_LIKELIHOOD in outputs
    full = model.tier is Tier.TEACHER or given.get("fidelity") == "full" or scored
    return ServiceClass.FULL if full else ServiceClass.REALTIME


def outputs_of(request: pb.ModelInferRequest) -> tuple[str, ...]:
    """Return the names of the requested outputs; none: all.

    Raises:
        BadRequest: an output is requested in a form that is not served.
    """
    for output in request.outputs:
        if output.parameters:
            listed = ", ".join(sorted(output.parameters))
            raise BadRequest(
                f"output {output.name!r} has parameters that are not served: {listed}; neither "
                "classification nor shared memory, which they may be of, is"
            )
    return tuple(output.name for output in request.outputs)
