"""The training loop: resume, stop, and files that are whole or absent."""

from __future__ import annotations

import errno
import itertools
import os
import signal
import subprocess
import sys
import textwrap
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from cascade_distill.errors import (
    CheckpointMismatch,
    DiskFull,
    TrainingDiverged,
    TrainingStopped,
)
from cascade_distill.runs.checkpoint import load_tensors, save_tensors, write_atomic
from cascade_distill.training.early_stopping import Ending, last_step
from cascade_distill.training.loop import TIMED_STEPS, Outcome, round_weights, seconds_a_step, train
from cascade_distill.training.schedule import TrainConfig, learning_rate_at
from torch import nn

CONFIG = TrainConfig(steps=60, batch_rows=8, warmup_steps=5, checkpoint_seconds=1e9)


def model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 8), nn.SiLU(), nn.Linear(8, 1))


def loss_of(net: nn.Module, stop_at: int | None = None):  # type: ignore[no-untyped-def]
    calls = [0]

    def loss(generator: torch.Generator) -> torch.Tensor:
        calls[0] += 1
        if stop_at is not None and calls[0] == stop_at:
            os.kill(os.getpid(), signal.SIGINT)
        x = torch.randn(CONFIG.batch_rows, 4, generator=generator)
        return (net(x).squeeze(1) - x.sum(dim=1)).square().mean()

    return loss


def trained(path: Path) -> dict[str, torch.Tensor]:
    net = model()
    train(net, loss_of(net), CONFIG, path, "run")
    return net.state_dict()


class TestResume:
    """A run that was broken off ends as one that was not."""

    def test_ctrl_c_saves_and_the_same_call_resumes_to_equal_weights(self, tmp_path: Path) -> None:
        expected = trained(tmp_path / "unbroken.safetensors")
        path = tmp_path / "broken.safetensors"
        net = model()
        with pytest.raises(TrainingStopped, match="stopped at step 23 of 60"):
            train(net, loss_of(net, stop_at=23), CONFIG, path, "run")
        resumed = trained(path)
        assert all(torch.equal(expected[name], resumed[name]) for name in expected)

    def test_kill_9_and_resume_give_the_unbroken_result(self, tmp_path: Path) -> None:
        expected = trained(tmp_path / "unbroken.safetensors")
        path = tmp_path / "killed.safetensors"
        script = textwrap.dedent(
            f"""
            import os, signal, sys
            sys.path[:0] = {[str(Path(__file__).parent)]!r}
            from pathlib import Path
            from dataclasses import replace
            import test_training as t
            net = t.model()
            inner = t.loss_of(net)
            calls = [0]
            def loss(generator):
                calls[0] += 1
                if calls[0] == 41:
                    os.kill(os.getpid(), signal.SIGKILL)
                return inner(generator)
            # Every step is older than the last checkpoint by this clock: one a step.
            ticks = iter(range(10**6))
            config = replace(t.CONFIG, checkpoint_seconds=1)
            t.train(net, loss, config, Path({str(path)!r}), "run", clock=lambda: next(ticks))
            """
        )
        killed = subprocess.run([sys.executable, "-c", script], check=False)
        assert killed.returncode == -signal.SIGKILL
        assert 0 < int(load_tensors(path)[1]["step"]) < CONFIG.steps
        resumed = trained(path)
        assert all(torch.equal(expected[name], resumed[name]) for name in expected)

    def test_a_finished_run_returns_at_once(self, tmp_path: Path) -> None:
        path = tmp_path / "done.safetensors"
        expected = trained(path)
        net = model()

        def never(_: torch.Generator) -> torch.Tensor:
            raise AssertionError("a finished run must not train")

        train(net, never, CONFIG, path, "run")
        assert all(torch.equal(expected[name], net.state_dict()[name]) for name in expected)

    def test_another_runs_checkpoint_is_refused_by_name(self, tmp_path: Path) -> None:
        path = tmp_path / "run.safetensors"
        trained(path)
        net = model()
        with pytest.raises(CheckpointMismatch, match=r"run\.safetensors"):
            train(net, loss_of(net), CONFIG, path, "another")
        assert load_tensors(path)[1]["identity"] == "run"


def overfitting(net: nn.Module):  # type: ignore[no-untyped-def]
    """A held-out loss that is lowest where the first weight's norm is what it was after some steps
    of training."""
    weight = next(net.parameters())

    def loss() -> torch.Tensor:
        return (weight.norm() - 3.0).abs()

    return loss


def watched(path: Path, stop_at: int | None = None, **changes: Any) -> tuple[nn.Module, Outcome]:
    net = model()
    config = replace(CONFIG, evaluate_every=5, learning_rate=0.05, **changes)
    outcome = train(net, loss_of(net, stop_at), config, path, "run", held_out=overfitting(net))
    return net, outcome


class TestHeldOutRows:
    """The state that held-out rows like best is kept, and they say when to end."""

    def test_the_best_state_is_kept_not_the_last(self, tmp_path: Path) -> None:
        net, outcome = watched(tmp_path / "run.safetensors")
        assert outcome.ending is Ending.ALL_STEPS
        assert outcome.best is not None
        assert outcome.best.step < CONFIG.steps
        assert overfitting(net)().item() == pytest.approx(outcome.best.loss, abs=1e-3)

    def test_training_ends_when_they_no_longer_improve(self, tmp_path: Path) -> None:
        _, plain = watched(tmp_path / "plain.safetensors")
        _, outcome = watched(tmp_path / "run.safetensors", patience=1)
        assert plain.best is not None
        assert outcome.ending is Ending.NO_BETTER
        assert outcome.best is not None
        assert outcome.best.step <= outcome.steps < CONFIG.steps
        assert f"step {outcome.best.step}" in outcome.described()

    @pytest.mark.parametrize("stop_at", [3, 12, 20, 23, 31])
    def test_a_run_that_was_stopped_ends_as_one_that_was_not(
        self, tmp_path: Path, stop_at: int
    ) -> None:
        """Also one that was stopped between its best state and its end."""
        expected, unbroken = watched(tmp_path / "unbroken.safetensors", patience=3)
        path = tmp_path / "broken.safetensors"
        with pytest.raises(TrainingStopped, match=f"step {stop_at} of 60"):
            watched(path, stop_at, patience=3)
        resumed, outcome = watched(path, patience=3)
        assert outcome == unbroken
        for name, value in expected.state_dict().items():
            assert torch.equal(value, resumed.state_dict()[name]), name

    def test_a_run_that_they_ended_returns_at_once(self, tmp_path: Path) -> None:
        path = tmp_path / "run.safetensors"
        expected, outcome = watched(path, patience=2)
        again, same = watched(path, stop_at=1, patience=2)
        assert same == outcome
        assert torch.equal(next(expected.parameters()), next(again.parameters()))

    def test_looking_changes_nothing_of_training(self, tmp_path: Path) -> None:
        states = []
        for every in (1, 7, 1000):
            path = tmp_path / f"{every}.safetensors"
            net = model()
            config = replace(CONFIG, evaluate_every=every)
            train(net, loss_of(net), config, path, "run", held_out=overfitting(net))
            states.append(load_tensors(path)[0])
        for state in states[1:]:
            for name, value in state.items():
                if name.startswith("parameter/"):
                    assert torch.equal(value, states[0][name])

    def test_a_held_out_loss_that_is_not_finite_names_the_step(self, tmp_path: Path) -> None:
        net = model()
        config = replace(CONFIG, evaluate_every=5)

        def nothing() -> torch.Tensor:
            return torch.tensor(float("nan"))

        with pytest.raises(TrainingDiverged, match="step 5"):
            train(net, loss_of(net), config, tmp_path / "x", "run", held_out=nothing)


class TestTime:
    """A run that is given seconds ends by the clock, with what it has."""

    def test_it_ends_and_keeps_its_best_state(self, tmp_path: Path) -> None:
        ticks = itertools.count()
        net = model()
        config = replace(CONFIG, most_seconds=13.0)
        path = tmp_path / "run.safetensors"

        def again(net: nn.Module) -> Outcome:
            loss, look = loss_of(net), overfitting(net)
            return train(
                net, loss, config, path, "run", held_out=look, clock=lambda: float(next(ticks))
            )

        outcome = again(net)
        assert (outcome.steps, outcome.ending) == (13, Ending.OUT_OF_TIME)
        # There was no look before the last step's.
        assert outcome.best is not None
        assert outcome.best.step == 13
        assert again(model()) == outcome

    def test_seconds_count_over_all_the_times_it_was_stopped(self, tmp_path: Path) -> None:
        ticks = itertools.count()
        config = replace(CONFIG, most_seconds=20.0)
        path = tmp_path / "run.safetensors"
        net = model()
        with pytest.raises(TrainingStopped):
            train(net, loss_of(net, 8), config, path, "run", clock=lambda: float(next(ticks)))
        net = model()
        outcome = train(net, loss_of(net), config, path, "run", clock=lambda: float(next(ticks)))
        assert (outcome.steps, outcome.ending) == (20, Ending.OUT_OF_TIME)

    def test_timing_a_few_steps_leaves_the_model_and_the_random_state(self) -> None:
        net = model()
        before = {name: value.clone() for name, value in net.state_dict().items()}
        state = torch.get_rng_state()
        ticks = itertools.count()

        def loss(other: nn.Module, generator: torch.Generator) -> torch.Tensor:
            return loss_of(other)(generator)

        seconds = seconds_a_step(net, loss, CONFIG, clock=lambda: 10.0 * next(ticks))
        # One tick of ten seconds between the first timed step and the last.
        assert seconds == 10.0 / TIMED_STEPS
        assert torch.equal(torch.get_rng_state(), state)
        for name, value in net.state_dict().items():
            assert torch.equal(value, before[name])


class TestFailure:
    """What goes wrong says so and leaves nothing half-written."""

    def test_a_loss_that_is_not_finite_names_the_step(self, tmp_path: Path) -> None:
        net = model()

        def loss(generator: torch.Generator) -> torch.Tensor:
            return loss_of(net)(generator) * float("nan")

        with pytest.raises(TrainingDiverged, match="step 20"):
            train(net, loss, CONFIG, tmp_path / "x.safetensors", "run")

    def test_disk_full_keeps_the_file_before_and_no_partial_one(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path = tmp_path / "state.safetensors"
        save_tensors(path, {"x": torch.arange(3)}, {"step": "1"})

        def full(_: int) -> None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        monkeypatch.setattr(os, "fsync", full)
        with pytest.raises(DiskFull, match=r"no space left to write .*state\.safetensors"):
            save_tensors(path, {"x": torch.arange(4)}, {"step": "2"})
        assert [p.name for p in tmp_path.iterdir()] == ["state.safetensors"]
        assert load_tensors(path)[1] == {"step": "1"}

    def test_other_errors_of_the_disk_are_not_dressed_up(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def broken(_: int) -> None:
            raise OSError(errno.EIO, os.strerror(errno.EIO))

        monkeypatch.setattr(os, "fsync", broken)
        with pytest.raises(OSError, match="Input/output error"):
            write_atomic(tmp_path / "file", b"x")
        assert list(tmp_path.iterdir()) == []


class TestSchedule:
    def test_the_rate_rises_to_its_peak_and_falls_to_nothing(self) -> None:
        rates = [learning_rate_at(step, CONFIG) for step in range(CONFIG.steps)]
        assert max(rates) == pytest.approx(CONFIG.learning_rate)
        assert rates.index(max(rates)) in (CONFIG.warmup_steps - 1, CONFIG.warmup_steps)
        assert rates[-1] < 0.01 * CONFIG.learning_rate

    def test_it_falls_to_nothing_from_where_the_held_out_loss_stalled(self) -> None:
        stalled = 20
        last = last_step(CONFIG.steps, stalled)
        before = [learning_rate_at(step, CONFIG) for step in range(stalled + 1)]
        rates = [learning_rate_at(step, CONFIG, stalled) for step in range(last + 1)]
        assert rates[: stalled + 1] == before
        falls = np.diff(rates[stalled:])
        assert (falls < 0).all()
        assert falls == pytest.approx(falls[0])
        assert rates[-1] == 0

    def test_rounded_weights_are_half_precision_numbers(self) -> None:
        net = nn.Linear(64, 64)
        round_weights(net)
        assert torch.equal(net.weight, net.weight.half().float())
