"""What Locust's users are given, kept exactly, on one machine or on many.

Locust keeps its own statistics, in whole milliseconds, and shows them on its page. Beside them
every call goes into a `Recorder`; workers of a distributed run report theirs to the master with
what Locust itself reports, so that the histograms there are those of all calls.
"""

from __future__ import annotations

import json
import logging
import time
from argparse import ArgumentParser
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
from cascade_client import CascadeError
from locust import User, events
from locust.env import Environment
from locust.runners import MasterRunner, WorkerRunner

from cascade_loadtest.outcomes import Recorder

log = logging.getLogger("cascade.loadtest")
recorder = Recorder()
REPORT = "cascade"


@dataclass
class Outcome:
    """What becomes of a call, as its user finds out.

    Attributes:
        tier: who answered; None: nobody in particular.
        bytes: of the answer, where they are known.
        refused: the code of a refusal that was due; None: there was none.
    """

    tier: str | None = None
    bytes: int = 0
    refused: str | None = None


@contextmanager
def call(user: User, kind: str, name: str) -> Iterator[Outcome]:
    """Around a call of a user's: what it took, and how it ended, is told to Locust and kept.

    An error of the SDK's, or of gRPC, is a failure, and ends here; any other is a defect.
    """
    outcome, failure = Outcome(), None
    began = time.perf_counter()
    try:
        yield outcome
    except (CascadeError, grpc.RpcError) as exc:
        failure = exc
    seconds = time.perf_counter() - began
    if outcome.refused is not None:
        recorder.note_refused(name, outcome.refused)
    else:
        recorder.note(name, seconds, outcome.tier, None if failure is None else why(failure))
    user.environment.events.request.fire(
        request_type=kind,
        name=name,
        response_time=1e3 * seconds,
        response_length=outcome.bytes,
        exception=failure,
        context={"tier": outcome.tier, "refused": outcome.refused},
    )


# Errors of the SDK that have no code, since it found them by itself.
FOUND_HERE = {
    "DeadlineExceeded": "DEADLINE_EXCEEDED",
    "Overloaded": "not sent: predicted to be late",
}


def why(failure: Exception) -> str:
    """What a failure is counted as: the name of its code; of one without, what it means."""
    code = getattr(failure, "code", None)
    code = code() if callable(code) else code
    name = type(failure).__name__
    return code.name if isinstance(code, grpc.StatusCode) else FOUND_HERE.get(name, name)


@events.init_command_line_parser.add_listener
def _options(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--ready",
        default="",
        include_in_web_ui=False,
        help="Make an empty file there when the first user is ready to ask",
    )
    parser.add_argument(
        "--outcomes",
        default="",
        include_in_web_ui=False,
        help="Write what all calls were given there, as JSON: histograms, by kind of call",
    )


@events.quitting.add_listener
def _asked_something(environment: Environment, **_: Any) -> None:
    """A run without a page in which nobody has asked anything is no success: users that wait for a
    server that is not there have neither asked nor failed, by Locust's reckoning."""
    options, runner = environment.parsed_options, environment.runner
    if (
        runner is None
        or isinstance(runner, WorkerRunner)
        or not getattr(options, "headless", False)
    ):
        return
    # Of what has gone wrong otherwise Locust itself tells, with a status of its own.
    is_told = environment.process_exit_code is not None or runner.errors or runner.exceptions
    if not is_told and environment.stats.total.num_requests == 0:
        log.error("nobody has asked %s anything: is a server there?", environment.host)
        environment.process_exit_code = 1


@events.init.add_listener
def _wire_up(environment: Environment, **_: Any) -> None:
    options, runner = environment.parsed_options, environment.runner
    if isinstance(runner, MasterRunner):
        environment.events.worker_report.add_listener(_reported)
    elif isinstance(runner, WorkerRunner):
        environment.events.report_to_master.add_listener(_report)
    path = getattr(options, "outcomes", "")
    if path and not isinstance(runner, WorkerRunner):
        # The last thing of all: workers have reported by then.
        environment.events.quit.add_listener(
            lambda **_: Path(path).write_text(json.dumps(recorder.as_json()))
        )


def _report(client_id: str, data: dict[str, Any], **_: Any) -> None:
    data[REPORT] = recorder.take()


def _reported(client_id: str, data: dict[str, Any], **_: Any) -> None:
    if REPORT in data:
        recorder.add_json(data[REPORT])


def is_ready(environment: Environment) -> None:
    """A user is ready to ask: whoever waits for that may know."""
    path = getattr(environment.parsed_options, "ready", "")
    if path:
        Path(path).touch()
