"""What Triton's own client gets from the Open Inference Protocol."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
from cascade_proto import synthesis_pb2
from cascade_server.engines.noise import stream

from tests.releases import TABLE
from tests.server.messages import COLUMNS, ROW, allowed, ask, read, row
from tests.server.running import Running
from tests.server.services.open_inference.columns import column, tensor, tensors
from tests.server.services.open_inference.conftest import Refused, TritonClient


class TestRows:
    """A table's model: values in, values out."""

    def test_with_nothing_known_a_row_is_drawn(self, triton_client: TritonClient) -> None:
        answer = triton_client.infer(TABLE, request_id="order-7")
        assert (answer["model"], answer["version"], answer["id"]) == (TABLE, "3", "order-7")
        assert {*answer["outputs"]} == {*COLUMNS, "channel.state"}
        assert answer["parameters"]["synthetic"] is True
        for name in COLUMNS:
            (value,) = column(answer, name)
            if name == "channel" and column(answer, "channel.state") == [1]:
                continue
            assert allowed(name, value)

    def test_what_is_given_comes_back_and_the_rest_is_drawn(
        self, triton_client: TritonClient
    ) -> None:
        given = {name: value for name, value in ROW.items() if name != "fraud"}
        answer = triton_client.infer(TABLE, tensors(**given), parameters={"draws": 40})
        for name, value in given.items():
            assert column(answer, name) == [value] * 40
        assert set(column(answer, "fraud")) == {0, 1}

    def test_a_seed_gives_the_rows_that_synthesize_gives(
        self, triton_client: TritonClient, serving: Running
    ) -> None:
        options = {"seed": 11, "draws": 30, "fidelity": "fast"}
        answer = triton_client.infer(TABLE, tensors(items=4), parameters=options)
        request = ask(row(items=4), seed=11, draws=30, fidelity=synthesis_pb2.FIDELITY_FAST)
        theirs = read(serving.stub.Synthesize(request).rows)
        nulls = column(answer, "channel.state")
        for name in COLUMNS:
            values = column(answer, name)
            if name == "channel":
                values = [None if n else v for v, n in zip(values, nulls, strict=True)]
            assert values == theirs[name]
        assert (answer["parameters"]["seed"], answer["parameters"]["tier"]) == (11, "student")

    def test_states_say_null_and_absent(self, triton_client: TritonClient) -> None:
        inputs = tensor("channel", "web", "", "") | {"channel.state": ("UINT8", [[0], [1], [2]])}
        answer = triton_client.infer(TABLE, inputs, parameters={"draws": 50})
        values, states = column(answer, "channel"), column(answer, "channel.state")
        assert values[:50] == ["web"] * 50
        assert states[50:100] == [1] * 50
        assert len(set(values[100:])) > 1

    def test_values_that_were_never_learnt_come_back_and_are_named(
        self, triton_client: TritonClient
    ) -> None:
        inputs = tensors(items=99, channel="fax", member=True)
        answer = triton_client.infer(TABLE, inputs | {"member.state": ("UINT8", [[1]])})
        assert (column(answer, "items"), column(answer, "channel")) == ([99], ["fax"])
        # The state of what is never NULL is told where it is.
        assert column(answer, "member.state") == [1]
        told = json.loads(answer["parameters"]["outside"])
        assert [(each["column"], each["kind"], each["values"]) for each in told["totals"]] == [
            ("items", "above", 1),
            ("channel", "category", 1),
            ("member", "null", 1),
        ]
        assert told["values"][0] == {
            "column": "items",
            "row": 0,
            "kind": "above",
            "conditioned_on": "8",
        }
        assert answer["parameters"]["notices"].count("\n") == 2

    def test_only_outputs_that_are_wanted_in_their_order(self, triton_client: TritonClient) -> None:
        wanted = ["items", "log_likelihood", "amount.state"]
        answer = triton_client.infer(TABLE, tensors(items=4), outputs=wanted)
        assert [*answer["outputs"]] == wanted
        assert column(answer, "items") == [4]
        assert column(answer, "amount.state") == [0]
        (score,) = column(answer, "log_likelihood")
        assert -math.inf < score < 0

    def test_narrow_integers_and_floats_are_taken(self, triton_client: TritonClient) -> None:
        inputs = {"items": ("INT8", [[4]]), "amount": ("FP32", [[12.5]])}
        answer = triton_client.infer(TABLE, inputs)
        assert (column(answer, "items"), column(answer, "amount")) == ([4], [12.5])

    def test_a_vector_is_taken_for_a_column(self, triton_client: TritonClient) -> None:
        answer = triton_client.infer(TABLE, {"items": ("INT64", [3, 5])})
        assert column(answer, "items") == [3, 5]

    def test_an_old_version_answers_if_it_is_named(self, triton_client: TritonClient) -> None:
        assert triton_client.infer(TABLE, model_version="1")["version"] == "1"

    @pytest.mark.parametrize("priority", [0, 1, 2, 9])
    def test_any_priority_is_answered(self, triton_client: TritonClient, priority: int) -> None:
        answer = triton_client.infer(
            TABLE, parameters={"rows": 3}, priority=priority, timeout=30_000_000
        )
        assert len(column(answer, "items")) == 3

    def test_explain_says_why_a_tier_answered(self, triton_client: TritonClient) -> None:
        answer = triton_client.infer(TABLE, parameters={"explain": True, "fidelity": "full"})
        assert "asked for" in answer["parameters"]["reason"]
        assert answer["parameters"]["tier"] == "teacher"


class TestNetworks:
    """A table's networks: tokens in, tokens out."""

    def inputs(self, serving: Running, rows: int = 2, observed: bool = False) -> dict[str, Any]:
        slots = serving.server.service.repository.find(TABLE).slots
        return {
            "tokens": ("INT32", [[0] * slots] * rows),
            "observed": ("BOOL", [[observed] * slots] * rows),
        }

    @pytest.mark.parametrize("tier", ["student", "teacher"])
    def test_equal_seeds_draw_equal_tokens(
        self, triton_client: TritonClient, serving: Running, tier: str
    ) -> None:
        def drawn(**parameters: Any) -> Any:
            model, inputs = f"{TABLE}_{tier}", self.inputs(serving, 20)
            return triton_client.infer(model, inputs, parameters=parameters)["outputs"]["drawn"]

        assert drawn(seed=5) == drawn(seed=5) != drawn(seed=6)
        assert drawn() != drawn()

    @pytest.mark.parametrize("tier", ["student", "teacher"])
    def test_known_tokens_come_back(
        self, triton_client: TritonClient, serving: Running, tier: str
    ) -> None:
        inputs = self.inputs(serving, 3, observed=True)
        answer = triton_client.infer(f"{TABLE}_{tier}", inputs)
        assert answer["outputs"]["drawn"] == ["INT32", inputs["tokens"][1]]

    @pytest.mark.parametrize("tier", ["student", "teacher"])
    def test_noise_may_be_handed_over(
        self, triton_client: TritonClient, serving: Running, tier: str
    ) -> None:
        runtime = serving.server.service.repository.find(TABLE)
        width = {"student": runtime.student_noise, "teacher": runtime.teacher_noise}[tier]

        noise = stream(5).random((2, width), dtype=np.float32).tolist()
        model, inputs = f"{TABLE}_{tier}", self.inputs(serving)
        handed = triton_client.infer(model, inputs | {"noise": ("FP32", noise)})
        seeded = triton_client.infer(model, inputs, parameters={"seed": 5})
        assert handed["outputs"] == seeded["outputs"]

    def test_fewer_passes_of_the_teacher(
        self, triton_client: TritonClient, serving: Running
    ) -> None:
        def runs() -> int:
            engines = serving.server.service.statistics().engines
            tier = synthesis_pb2.TIER_TEACHER
            return sum(e.runs for e in engines if (e.table, e.version, e.tier) == (TABLE, 3, tier))

        before = runs()
        triton_client.infer(f"{TABLE}_teacher", self.inputs(serving), parameters={"steps": 2})
        assert runs() - before == 2


class TestRefusals:
    """Errors name the culprit and what is allowed."""

    @pytest.mark.parametrize(
        ("model", "inputs", "options", "status", "message"),
        [
            ("paymets", {}, {}, "NOT_FOUND", "Did you mean 'payments'"),
            (TABLE, {}, {"model_version": "2"}, "NOT_FOUND", "its versions are: 1, 3"),
            (TABLE, {}, {"model_version": "new"}, "INVALID_ARGUMENT", "version is 'new'"),
            (
                TABLE,
                tensors(items=99),
                {"parameters": {"strict": True}},
                "INVALID_ARGUMENT",
                "'items': 99 is not allowed",
            ),
            (TABLE, {"item": ("INT64", [[1]])}, {}, "INVALID_ARGUMENT", "Did you mean 'items'"),
            (TABLE, {"items": ("FP64", [[1]])}, {}, "INVALID_ARGUMENT", "allowed: INT64"),
            (TABLE, {"items": ("INT64", [[1, 2]])}, {}, "INVALID_ARGUMENT", "allowed: [n, 1]"),
            (
                TABLE,
                {"items": ("INT64", [[1], [2]]), "fraud": ("INT64", [[1]])},
                {},
                "INVALID_ARGUMENT",
                "'fraud' has 1 rows; there are 2",
            ),
            (TABLE, {}, {"outputs": ["item"]}, "INVALID_ARGUMENT", "output 'item' is unknown"),
            (TABLE, {}, {"parameters": {"sed": 1}}, "INVALID_ARGUMENT", "allowed: draws, explain"),
            (TABLE, {}, {"parameters": {"seed": -1}}, "INVALID_ARGUMENT", "allowed: 0 to"),
            (
                TABLE,
                {},
                {"parameters": {"fidelity": "best"}},
                "INVALID_ARGUMENT",
                "allowed: auto, fast, full",
            ),
            (TABLE, {}, {"timeout": 1}, "DEADLINE_EXCEEDED", ""),
            ("payments_student", {}, {}, "INVALID_ARGUMENT", "input 'tokens' is missing"),
            (
                "payments_student",
                {"tokens": ("INT32", [[0]]), "observed": ("BOOL", [[False]])},
                {},
                "INVALID_ARGUMENT",
                "allowed: INT32 [n, ",
            ),
        ],
    )
    def test_what_is_wrong_is_said(
        self,
        triton_client: TritonClient,
        model: str,
        inputs: dict[str, Any],
        options: dict[str, Any],
        status: str,
        message: str,
    ) -> None:
        with pytest.raises(Refused) as refused:
            triton_client.infer(model, inputs, **options)
        assert refused.value.status == f"StatusCode.{status}"
        assert message in refused.value.message

    def test_tokens_that_are_none_are_refused(
        self, triton_client: TritonClient, serving: Running
    ) -> None:
        slots = serving.server.service.repository.find(TABLE).slots
        inputs = {
            "tokens": ("INT32", [[0] * slots, [9999] * slots]),
            "observed": ("BOOL", [[True] * slots] * 2),
        }
        for model in ("payments_student", "payments_teacher"):
            with pytest.raises(Refused, match=r"9999 in row 1, slot 0; allowed: 0 to"):
                triton_client.infer(model, inputs)

    def test_half_a_column_cannot_be_known(
        self, triton_client: TritonClient, serving: Running
    ) -> None:
        runtime = serving.server.service.repository.find(TABLE)
        columns = list(runtime.layout.column)
        two = next(c for c in columns if columns.count(c) > 1)
        observed = [False] * runtime.slots
        observed[columns.index(two)] = True
        inputs = {
            "tokens": ("INT32", [[0] * runtime.slots]),
            "observed": ("BOOL", [observed]),
        }
        with pytest.raises(Refused, match="which are of one column"):
            triton_client.infer("payments_student", inputs)
