"""When a failed call is tried again."""

from __future__ import annotations

import grpc
import pytest
from cascade_client.errors import ERRORS, Failure
from cascade_client.retry import Retry

DOWN = Failure(grpc.StatusCode.UNAVAILABLE, "down")
NOBODY = Failure(DOWN.code, "failed to connect to all addresses; last error: UNKNOWN: refused")
FULL = grpc.StatusCode.RESOURCE_EXHAUSTED
RETRY = Retry(attempts=4, initial_backoff=0.1, multiplier=2, maximum_backoff=0.3, jitter=0.2)


class TestWhatIsRetried:
    """Only what trying again can help."""

    @pytest.mark.parametrize("code", [c for c in ERRORS if c is not DOWN.code])
    def test_no_other_status_is_retried_unasked(self, code: grpc.StatusCode) -> None:
        assert RETRY.delay(Failure(code, ""), 1, 10.0, 0.5) is None

    def test_unavailable_backs_off(self) -> None:
        assert RETRY.delay(DOWN, 1, 10.0, 0.5) == pytest.approx(0.1)

    def test_a_full_server_is_asked_again_when_it_says(self) -> None:
        assert RETRY.delay(Failure(FULL, "", 0.7), 1, 10.0, 0.5) == 0.7

    def test_pushback_replaces_the_backoff(self) -> None:
        assert RETRY.delay(Failure(DOWN.code, "", 0.0), 3, 10.0, 0.5) == 0.0

    @pytest.mark.parametrize("code", [DOWN.code, FULL])
    def test_negative_pushback_forbids(self, code: grpc.StatusCode) -> None:
        assert RETRY.delay(Failure(code, "", -1.0), 1, 10.0, 0.5) is None

    def test_pushback_does_not_make_other_errors_retryable(self) -> None:
        internal = Failure(grpc.StatusCode.INTERNAL, "", 0.1)
        assert RETRY.delay(internal, 1, 10.0, 0.5) is None


class TestHowLong:
    """Backoff grows to its maximum, with jitter, within the deadline and the attempts."""

    def test_backoff_grows_to_its_maximum(self) -> None:
        waits = [RETRY.delay(DOWN, attempt, 10.0, 0.5) for attempt in (1, 2, 3)]
        assert waits == pytest.approx([0.1, 0.2, 0.3])

    def test_jitter_is_a_share_up_or_down(self) -> None:
        assert RETRY.backoff(1, 0.0) == pytest.approx(0.08)
        assert RETRY.backoff(1, 1.0) == pytest.approx(0.12)

    def test_attempts_run_out(self) -> None:
        assert RETRY.delay(NOBODY, 4, 10.0, 0.5) is None
        assert RETRY.delay(Failure(FULL, "", 0.1), 4, 10.0, 0.5) is None

    def test_whoever_is_started_again_is_given_time_to_be(self) -> None:
        """Who is cut off, or told so by a server, asks twice as often; for streams, four times."""
        assert RETRY.delay(DOWN, 7, 10.0, 0.5) == pytest.approx(0.3)
        assert RETRY.delay(DOWN, 8, 10.0, 0.5) is None
        assert RETRY.patient().delay(DOWN, 15, None, 0.5) == pytest.approx(0.3)
        assert RETRY.patient().delay(DOWN, 16, None, 0.5) is None
        assert sum(Retry().backoff(attempt, 0.5) for attempt in range(1, 8)) > 2

    @pytest.mark.parametrize("retry", [Retry(attempts=1), Retry(unavailable_attempts=1)])
    def test_who_wants_no_second_attempt_has_none(self, retry: Retry) -> None:
        assert retry.delay(DOWN, 1, None, 0.5) is None
        assert retry.patient().delay(DOWN, 1, None, 0.5) is None

    def test_never_past_the_deadline(self) -> None:
        assert RETRY.delay(DOWN, 1, 0.1, 0.5) is None
        assert RETRY.delay(Failure(FULL, "", 0.7), 1, 0.7, 0.5) is None

    def test_without_a_deadline_only_attempts_count(self) -> None:
        assert RETRY.delay(DOWN, 3, None, 0.5) == pytest.approx(0.3)

    def test_very_many_attempts_do_not_overflow(self) -> None:
        assert Retry(attempts=10**6).backoff(10**5, 0.5) == 1.0


class TestSettings:
    """A bad setting is named, with what is allowed."""

    @pytest.mark.parametrize(
        ("settings", "message"),
        [
            ({"attempts": 0}, "attempts is 0; it must be at least 1"),
            ({"initial_backoff": 0}, "initial_backoff is 0; it must be above 0"),
            ({"multiplier": 0.5}, "multiplier is 0.5"),
            ({"maximum_backoff": 0.001}, "at least initial_backoff"),
            ({"jitter": 1.0}, "jitter is 1.0"),
            ({"unavailable_attempts": 0}, "unavailable_attempts is 0; it must be at least 1"),
        ],
    )
    def test_names_the_field(self, settings: dict[str, float], message: str) -> None:
        with pytest.raises(ValueError, match=message.replace("(", r"\(")):
            Retry(**settings)  # type: ignore[arg-type]
