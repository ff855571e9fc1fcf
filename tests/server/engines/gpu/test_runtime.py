"""A release in lanes: the CPU's rows, nothing across the bus between passes, ticks when idle."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from cascade_server.engines.gpu.lanes import StudentLane
from cascade_server.engines.gpu.runtime import bucket_of
from cascade_server.engines.philox import Uniform
from cascade_server.engines.runtime import WARM_BATCHES
from cascade_server.engines.tasks import SeededTask, TeacherTask, run_teacher
from cascade_server.terms import Tier
from cascade_tables import load_release
from cascade_tables.sampling import TeacherRows

from tests.releases import TABLE
from tests.server.engines.gpu.conftest import BUCKETS, Both, asked, by_both, program
from tests.server.engines.gpu.host import HostDevice
from tests.server.engines.gpu.test_graphs import completed


class TestStudent:
    """Batches of any size, filled up to the next bucket."""

    @pytest.mark.parametrize("rows", [1, 5, 8, 64, 150])
    def test_equal_noise_gives_equal_tokens(self, both: Both, rows: int) -> None:
        given = asked(both.cpu, rows)
        noise = Uniform(7, 0, 3, rows, both.cpu.student_noise)
        expected = both.cpu.draw_student(given.tokens, given.observed, noise.array())
        for each in (noise, noise.array()):
            drawn = both.lanes.draw_student(given.tokens, given.observed, each)
            assert np.array_equal(drawn, expected)

    def test_what_a_larger_batch_left_behind_does_not_show(self, both: Both) -> None:
        full, few = asked(both.cpu, 8, seed=1), asked(both.cpu, 3, seed=2)
        noise = Uniform(1, 0, 0, 8, both.cpu.student_noise)
        both.lanes.draw_student(full.tokens, full.observed, noise)
        drawn = both.lanes.draw_student(few.tokens, few.observed, noise[0:3])
        expected = both.cpu.draw_student(few.tokens, few.observed, noise[0:3].array())
        assert np.array_equal(drawn, expected)

    @pytest.mark.parametrize(("rows", "bucket"), [(1, 1), (2, 8), (8, 8), (9, 64)])
    def test_buckets(self, rows: int, bucket: int) -> None:
        assert bucket_of(rows, BUCKETS) == bucket

    def test_what_can_be_captured_is_launched_as_one_graph(self, both: Both) -> None:
        device = HostDevice()
        network = program(both.release, Tier.STUDENT, device)
        network.capturable = True
        lane = StudentLane(device, network, both.lanes.shape, 8)
        given = asked(both.cpu, 8)
        noise = Uniform(1, 0, 0, 8, both.cpu.student_noise)
        device.launched = device.waited = 0
        drawn = lane.draw(given.tokens, given.observed, noise)
        assert (device.launched, device.waited) == (1, 1)
        expected = both.cpu.draw_student(given.tokens, given.observed, noise.array())
        assert np.array_equal(drawn, expected)


class TestTeacher:
    """All passes in one call."""

    def test_noise_of_the_device_gives_the_hosts_rows(self, both: Both) -> None:
        given = asked(both.cpu, 40)
        noise = Uniform(9, 2, 5, 40, both.cpu.teacher_noise)
        parts = [(noise[0:10], both.cpu.steps), (noise[10:40], both.cpu.steps)]
        drawn = both.lanes.generate(given.tokens, given.observed, parts)
        assert np.array_equal(drawn, completed(both, given, noise.array()))

    @pytest.mark.parametrize("steps", [2, 3, 6])
    def test_columns_that_lead_are_drawn_first(self, both: Both, steps: int) -> None:
        """The graph is asked for them while nothing else is drawn, on the device as on the host."""
        release = load_release(both.folder, TABLE, 1)
        layout = release.codec.layout
        leading = int(np.sort(layout.first_slot)[2])
        release.codec.layout = replace(layout, leading=leading)
        leads = by_both(both.folder, release)
        given = asked(leads.cpu, 60)
        noise = Uniform(9, 2, 5, 60, leads.cpu.teacher_noise)
        rows = TeacherRows(given.tokens, given.observed, noise.array(), leads.cpu.layout, steps)
        first = rows.rest()[1]
        late = np.where(given.observed, np.inf, first)[:, leading:].min(axis=1)
        assert (first[:, :leading].max(axis=1) <= late).all()
        while not rows.done:
            rows.keep(leads.cpu.denoise(*rows.next_pass()))
        drawn = leads.lanes.generate(given.tokens, given.observed, [(noise, steps)])
        assert np.array_equal(drawn, rows.tokens)

    def test_fewer_passes_than_columns(self, both: Both) -> None:
        given = asked(both.cpu, 20)
        noise = Uniform(9, 2, 0, 20, both.cpu.teacher_noise)
        rows = TeacherRows(given.tokens, given.observed, noise.array(), both.cpu.layout, 2)
        while not rows.done:
            rows.keep(both.cpu.denoise(*rows.next_pass()))
        drawn = both.lanes.generate(given.tokens, given.observed, [(noise, 2)])
        assert np.array_equal(drawn, rows.tokens)

    def test_nothing_crosses_the_bus_between_passes(self, both: Both) -> None:
        nothing = np.zeros((5, both.cpu.slots), np.bool_)
        tokens = np.zeros(nothing.shape, np.int32)
        noise = Uniform(9, 2, 0, 5, both.cpu.teacher_noise)
        counts = []
        for steps in (2, both.cpu.steps):
            both.device.copied_in = both.device.copied_out = both.device.waited = 0
            both.lanes.generate(tokens, nothing, [(noise, steps)])
            counts.append((both.device.copied_in, both.device.copied_out, both.device.waited))
        # Mask, pass number and tokens in; tokens out.
        assert counts == [(3, 1, 1), (3, 1, 1)]

    def test_requests_of_both_kinds_and_at_different_passes_share_a_run(self, both: Both) -> None:
        whole, begun, seeded = (asked(both.cpu, n, seed=n) for n in (3, 4, 5))
        noise = [Uniform(4, i, 0, i + 3, both.cpu.teacher_noise) for i in range(3)]
        rows = [
            TeacherRows(each.tokens, each.observed, n.array(), both.cpu.layout, both.cpu.steps)
            for each, n in ((whole, noise[0]), (begun, noise[1]))
        ]
        rows[1].keep(both.cpu.denoise(*rows[1].next_pass()))
        passes = both.cpu.passes(seeded.observed)
        last = SeededTask(seeded.tokens, seeded.observed, noise[2], both.cpu.steps, passes)
        tasks = [*(TeacherTask(each, whole=True) for each in rows), last]
        run_teacher(both.lanes, tasks)
        assert all(task.done for task in tasks)
        assert np.array_equal(rows[0].tokens, completed(both, whole, noise[0].array()))
        assert np.array_equal(rows[1].tokens, completed(both, begun, noise[1].array()))
        assert np.array_equal(last.drawn, completed(both, seeded, noise[2].array()))

    def test_scores_are_the_cpus(self, both: Both) -> None:
        given = asked(both.cpu, 10)
        scored = [
            each.log_likelihood(given.tokens, given.observed) for each in (both.cpu, both.lanes)
        ]
        assert np.array_equal(*scored)


def test_warming_up_says_what_a_pass_takes(both: Both) -> None:
    both.lanes.warm()
    assert [(tier, rows) for tier, rows, _ in both.lanes.profile] == [
        (tier, rows) for rows in WARM_BATCHES if rows <= BUCKETS[-1] for tier in Tier
    ]
