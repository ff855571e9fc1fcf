"""Builds the answer of `GetServiceLevel`: how well the objectives are met."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from cascade_proto import synthesis_pb2 as pb

from cascade_server.objectives.blame import CallerFault
from cascade_server.objectives.burn import WINDOWS, Alert
from cascade_server.objectives.objective import Kind as ObjectiveKind
from cascade_server.objectives.report import Latencies, Report
from cascade_server.terms import ServiceClass
from cascade_server.wire.enums import CLASSES, TIERS

OBJECTIVE_KINDS = {
    ObjectiveKind.AVAILABILITY: pb.OBJECTIVE_KIND_AVAILABILITY,
    ObjectiveKind.LATENCY: pb.OBJECTIVE_KIND_LATENCY,
    ObjectiveKind.FIDELITY: pb.OBJECTIVE_KIND_FIDELITY,
}

ALERTS = {
    Alert.OK: pb.ALERT_STATE_OK,
    Alert.TICKET: pb.ALERT_STATE_TICKET,
    Alert.PAGE: pb.ALERT_STATE_PAGE,
}

CALLER_FAULTS = {
    CallerFault.HUNG_UP: pb.CALLER_FAULT_HUNG_UP,
    CallerFault.DEADLINE_TOO_SHORT: pb.CALLER_FAULT_DEADLINE_TOO_SHORT,
    CallerFault.BAD_REQUEST: pb.CALLER_FAULT_BAD_REQUEST,
}


def service_level(
    report: Report,
    latencies: Sequence[Latencies],
    caller_faults: Mapping[tuple[str, ServiceClass, CallerFault], int],
) -> pb.GetServiceLevelResponse:
    """Build the answer from a report.

    Args:
        report: the status of each objective.
        latencies: the latencies of the last hour's answers.
        caller_faults: number of calls that failed through their callers' own fault.
    """
    response = pb.GetServiceLevelResponse(
        service=report.service, window_seconds=report.window, since=round(1e6 * report.since)
    )
    for status in report.statuses:
        objective = status.objective
        out = response.objectives.add(
            name=objective.name,
            table=objective.table,
            class_of_service=CLASSES[objective.service],
            kind=OBJECTIVE_KINDS[objective.kind],
            target=objective.target,
            threshold_microseconds=0
            if objective.threshold is None
            else round(1e6 * objective.threshold),
            tier=pb.TIER_UNSPECIFIED if objective.tier is None else TIERS[objective.tier],
            good=status.events.good,
            total=status.events.total,
            budget_remaining=status.budget_remaining,
            alert=ALERTS[status.alert],
        )
        for name, seconds in WINDOWS.items():
            events = status.windows[name]
            out.burn_rates.add(
                window_seconds=seconds,
                rate=status.burn_rates[name],
                good=events.good,
                total=events.total,
            )
    for each in latencies:
        response.latencies.add(
            table=each.table,
            class_of_service=CLASSES[each.service],
            tier=TIERS[each.tier],
            count=each.count,
            quantiles=[
                pb.Quantile(quantile=quantile, microseconds=round(1e6 * seconds))
                for quantile, seconds in each.quantiles.items()
            ],
        )
    for (table, service, fault), calls in caller_faults.items():
        response.caller_faults.add(
            table=table,
            class_of_service=CLASSES[service],
            fault=CALLER_FAULTS[fault],
            calls=calls,
        )
    return response
