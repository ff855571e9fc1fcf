"""Messages that are in order, one way and another, for each of the server's methods."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

# Between the messages of a stream of requests, in an input.
NEXT = b"\xfe\xfe\xfe\xfe"


def synthesize() -> list[bytes]:
    """Of `Synthesize`."""
    from cascade_proto import synthesis_pb2 as pb

    rows = pb.Rows(count=1)
    rows.columns.add(name="channel").strings.values.append("web")
    rows.columns.add(name="amount").doubles.values.append(12.5)
    rows.columns.add(name="items", states=b"\2")
    two = pb.Rows(count=2)
    two.columns.add(name="channel", states=b"\0\1").strings.values.extend(("app", ""))
    two.columns.add(name="at").integers.values.extend((1_767_225_600_000_000, 0))
    far = pb.Rows(count=1)
    far.columns.add(name="channel").strings.values.append("nowhere")
    far.columns.add(name="amount").doubles.values.append(float("nan"))
    ledger = pb.Rows(count=1)
    ledger.columns.add(name="total").doubles.values.append(900.25)
    ledger.columns.add(name="injury").doubles.values.append(100.25)
    asked = (
        pb.SynthesizeRequest(table="payments", rows=rows),
        pb.SynthesizeRequest(table="payments", rows=rows, draws=3, seed=7, explain=True),
        pb.SynthesizeRequest(
            table="payments", version=2, rows=two, columns=["channel", "items"], fidelity=1
        ),
        pb.SynthesizeRequest(table="payments", rows=rows, fidelity=2, log_likelihood=True),
        pb.SynthesizeRequest(table="payments", rows=far, timeout_microseconds=50_000),
        pb.SynthesizeRequest(table="payments", rows=far, strict=True),
        pb.SynthesizeRequest(table="everything", rows=pb.Rows(count=2), first_row=5, offline=True),
        pb.SynthesizeRequest(table="ledger", rows=ledger),
    )
    return [each.SerializeToString() for each in asked]


def stream() -> list[bytes]:
    """Of `SynthesizeStream`: several messages, each with several requests."""
    from cascade_proto import synthesis_pb2 as pb

    requests = [pb.SynthesizeRequest.FromString(each) for each in synthesize()]
    messages = [
        pb.SynthesizeStreamRequest(
            requests=[
                pb.StreamedRequest(id=number, request=each)
                for number, each in enumerate(requests[first : first + 3])
            ]
        ).SerializeToString()
        for first in (0, 3)
    ]
    return [messages[0], NEXT.join(messages)]


def generate() -> list[bytes]:
    """Of `Generate`."""
    from cascade_proto import synthesis_pb2 as pb

    given = pb.Rows(count=1)
    given.columns.add(name="channel").strings.values.append("web")
    return [
        _filled(pb.GenerateRequest, table="payments", rows=5, seed=1, fidelity=1),
        _filled(pb.GenerateRequest, table="payments", rows=3, conditions=given, fidelity=2),
        _filled(pb.GenerateRequest, table="everything", rows=2, columns=["real"], fidelity=1),
    ]


def _filled(kind: Any, **values: Any) -> bytes:
    """A message with those of the values that it has a field for."""
    fields = kind.DESCRIPTOR.fields_by_name
    found: bytes = kind(**{k: v for k, v in values.items() if k in fields}).SerializeToString()
    return found


def picking(*calls: tuple[int, bytes]) -> list[bytes]:
    """Inputs of targets with several methods: which is the first byte."""
    return [bytes((which,)) + message for which, message in calls]


def described() -> Sequence[bytes]:
    """Of what is told of tables and of the server: `ListTables`, `DescribeTable`,
    `GetStatistics`, `GetServiceLevel`, `GetUsage`."""
    from cascade_proto import synthesis_pb2 as pb

    describe = _filled(pb.DescribeTableRequest, table="payments", name="payments", version=1)
    return picking((0, b""), (1, describe), (2, b""), (3, b""), (4, b""))


def jobs() -> Sequence[bytes]:
    """Of `Jobs`, in the order of its methods; the job `job0` is there."""
    from cascade_proto import jobs_pb2 as pb

    methods = [each.name for each in pb.DESCRIPTOR.services_by_name["Jobs"].methods]
    asked = {
        "SubmitJob": _filled(
            pb.SubmitJobRequest, table="payments", rows=10, tier=1, seed=3,
            columns=["amount"], token="t", draws=1, version=1,
        ),
        "GetJob": _filled(pb.GetJobRequest, id="job0", with_files=True),
        "WatchJob": _filled(pb.WatchJobRequest, id="job0"),
        "CancelJob": _filled(pb.CancelJobRequest, id="job1"),
        "ListJobs": _filled(pb.ListJobsRequest, limit=3),
        "ReadResult": _filled(
            pb.ReadResultRequest, id="job0", name="data/part-00000.parquet", offset=9
        ),
    }  # fmt: skip
    return picking(*((methods.index(name), message) for name, message in asked.items()))


def flight() -> Sequence[bytes]:
    """Of Arrow Flight, in the order of its methods."""
    from cascade_proto import flight_pb2 as pb

    methods = [each.name for each in pb.DESCRIPTOR.services_by_name["FlightService"].methods]
    path = pb.FlightDescriptor(type=pb.FlightDescriptor.PATH, path=["job0"])
    command = pb.FlightDescriptor(type=pb.FlightDescriptor.CMD, cmd=b"job0")
    cancel = pb.CancelFlightInfoRequest(info=pb.FlightInfo(flight_descriptor=path))
    asked = [
        ("ListFlights", pb.Criteria(expression=b"payments")),
        ("GetFlightInfo", path),
        ("GetFlightInfo", command),
        ("PollFlightInfo", path),
        ("GetSchema", path),
        ("DoGet", pb.Ticket(ticket=b"job0")),
        ("DoGet", pb.Ticket(ticket=b"job0/1")),
        ("DoAction", pb.Action(type="CancelFlightInfo", body=cancel.SerializeToString())),
        ("ListActions", pb.Criteria()),
    ]
    return picking(*((methods.index(name), each.SerializeToString()) for name, each in asked))


def releases() -> Sequence[bytes]:
    """Of `Releases`, of a server that lets itself be asked for changes; nobody carries them out."""
    from cascade_proto import synthesis_pb2 as pb

    service = pb.DESCRIPTOR.services_by_name["Releases"]
    out = []
    for number, method in enumerate(service.methods):
        kind = getattr(pb, method.input_type.name)
        out.append((number, _filled(kind, table="payments", version=2, share=0.1)))
    return picking(*out)


def open_inference() -> Sequence[bytes]:
    """Of the Open Inference Protocol."""
    from cascade_proto import inference_pb2 as pb

    service = pb.DESCRIPTOR.services_by_name["GRPCInferenceService"]
    methods = [each.name for each in service.methods]
    infer = pb.ModelInferRequest(model_name="payments", id="7")
    channel = infer.inputs.add(name="channel", datatype="BYTES", shape=[1, 1])
    channel.contents.bytes_contents.append(b"web")
    amount = infer.inputs.add(name="amount", datatype="FP64", shape=[1, 1])
    amount.contents.fp64_contents.append(2.5)
    raw = pb.ModelInferRequest(model_name="payments", model_version="1")
    raw.inputs.add(name="amount", datatype="FP64", shape=[2, 1])
    raw.inputs.add(name="channel", datatype="BYTES", shape=[2, 1])
    raw.raw_input_contents.append(bytes(16))
    raw.raw_input_contents.append(b"\3\0\0\0web\3\0\0\0app")
    raw.parameters["seed"].int64_param = 5
    raw.outputs.add(name="amount")
    tokens = pb.ModelInferRequest(model_name="payments_student")
    tokens.inputs.add(name="tokens", datatype="INT32", shape=[1, 9])
    tokens.inputs.add(name="observed", datatype="BOOL", shape=[1, 9])
    tokens.raw_input_contents.extend((bytes(36), bytes(9)))
    calls = [(methods.index("ModelInfer"), each) for each in (infer, raw, tokens)]
    for name in methods:
        if name != "ModelInfer":
            kind = getattr(pb, service.methods_by_name[name].input_type.name)
            message = pb.__dict__[kind.DESCRIPTOR.name](
                **{f: v for f, v in {"name": "payments", "model_name": "payments"}.items()
                   if f in kind.DESCRIPTOR.fields_by_name}
            )  # fmt: skip
            calls.append((methods.index(name), message))
    return picking(*((number, each.SerializeToString()) for number, each in calls))


def health() -> Sequence[bytes]:
    """Of the standard health service."""
    from grpc_health.v1 import health_pb2 as pb

    named = pb.HealthCheckRequest(service="cascade.v1.Synthesis").SerializeToString()
    return picking((0, b""), (0, named), (1, named))


def reflection() -> Sequence[bytes]:
    """Of reflection, a stream of requests."""
    from grpc_reflection.v1alpha import reflection_pb2 as pb

    asked = (
        pb.ServerReflectionRequest(list_services=""),
        pb.ServerReflectionRequest(file_containing_symbol="cascade.v1.Synthesis"),
        pb.ServerReflectionRequest(file_by_filename="synthesis.proto"),
        pb.ServerReflectionRequest(
            file_containing_extension=pb.ExtensionRequest(
                containing_type="google.protobuf.MethodOptions", extension_number=1
            )
        ),
        pb.ServerReflectionRequest(all_extension_numbers_of_type="cascade.v1.Rows"),
    )
    each = [one.SerializeToString() for one in asked]
    return [*each, NEXT.join(each)]
