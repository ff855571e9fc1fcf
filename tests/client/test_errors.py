"""The error tree, and gRPC's statuses in it."""

from __future__ import annotations

import inspect

import grpc
import pytest
from cascade_client import errors
from cascade_client.errors import (
    ERRORS,
    CascadeError,
    Failure,
    InvalidRequest,
    Overloaded,
    Unavailable,
)


class TestTree:
    """One root, and a docstring that draws all of it."""

    def test_every_status_but_ok_is_mapped(self) -> None:
        assert set(grpc.StatusCode) - {grpc.StatusCode.OK} == set(ERRORS)

    def test_docstring_draws_every_error(self) -> None:
        classes = [
            name
            for name, value in inspect.getmembers(errors, inspect.isclass)
            if issubclass(value, CascadeError)
        ]
        assert errors.__doc__ is not None
        assert [name for name in classes if f"* {name}" not in errors.__doc__] == []

    @pytest.mark.parametrize("code", list(ERRORS))
    def test_an_error_keeps_its_status_and_message(self, code: grpc.StatusCode) -> None:
        error = Failure(code, "column 'age'").error("host:1")
        assert type(error) is ERRORS[code]
        assert error.code is code
        assert "column 'age'" in str(error)


class TestMessages:
    """An error says what the caller can do about it."""

    def test_unavailable_names_the_target(self) -> None:
        error = Failure(grpc.StatusCode.UNAVAILABLE, "connection refused").error("host:1")
        assert isinstance(error, Unavailable)
        assert str(error) == "host:1: connection refused"

    def test_a_status_without_details_has_a_message_all_the_same(self) -> None:
        assert "internal" in str(Failure(grpc.StatusCode.INTERNAL, "").error("host:1"))

    @pytest.mark.parametrize(("pushback", "wait"), [(0.25, 0.25), (-1.0, None), (None, None)])
    def test_overloaded_says_when_to_come_back(
        self, pushback: float | None, wait: float | None
    ) -> None:
        error = Failure(grpc.StatusCode.RESOURCE_EXHAUSTED, "full", pushback).error("host:1")
        assert isinstance(error, Overloaded)
        assert error.retry_after == wait

    def test_a_message_too_large_is_the_requests_fault(self) -> None:
        details = "SERVER: Received message larger than max (5000000 vs. 4194304)"
        error = Failure(grpc.StatusCode.RESOURCE_EXHAUSTED, details).error("host:1")
        assert isinstance(error, InvalidRequest)
        assert "fewer rows" in str(error)
