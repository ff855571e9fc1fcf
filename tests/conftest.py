"""Shared by all tests."""

from __future__ import annotations

import ctypes
import gc
from collections.abc import Generator, Iterator
from contextlib import suppress

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.internal.conjecture import providers

from tests import postgres as pg
from tests.begun_first import in_order

# How long an example takes is the machine's affair: no test fails for it.
settings.register_profile("cascade", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("cascade")
# Nor do examples depend on what else a process has run: Hypothesis takes some of its numbers and
# texts from the sources of whatever modules of ours are imported by then, even where examples are
# to be the same in every run.
assert callable(providers._get_local_constants)
providers._get_local_constants = lambda: providers._local_constants
# A server freezes what it has loaded: in a process of its own that is there to stay. Here it would
# keep every server that a test has started, with its networks and caches, until the last test.
freeze, gc.freeze = gc.freeze, lambda: None


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Importing makes very many objects and hardly any garbage; and modules and tests are here to
    stay: no garbage collection need look at them, neither meanwhile nor later."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.collect()
        freeze()
        gc.enable()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Where several processes run them, each begins with what takes long."""
    worker = getattr(config, "workerinput", None)
    if worker is not None:
        files = [item.nodeid.partition("::")[0] for item in items]
        items[:] = [items[place] for place in in_order(files, worker["workercount"])]


@pytest.fixture(scope="module", autouse=True)
def memory_is_given_back() -> Iterator[None]:
    """What a module's tests have left behind is the system's again: else each of the processes that
    run tests grows to the sum of their peaks."""
    yield
    gc.collect()
    # The allocator keeps what is free; only that of Linux has a function for it.
    with suppress(AttributeError, OSError):
        ctypes.CDLL(None).malloc_trim(0)


@pytest.fixture(scope="module")
def few_trees(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Detectors and predictors of twenty trees each, not two hundred: for tests of what is measured
    and what becomes of it, not of how well it is. Floors are kept apart, since they are of them."""
    from cascade_distill.fidelity import evaluation, metrics

    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(metrics.XGBOOST, "n_estimators", 20)
        floors = tmp_path_factory.mktemp("floors")
        patch.setattr(evaluation, "cache_folder", lambda: floors)
        yield


@pytest.fixture(scope="session")
def postgres() -> Iterator[pg.Server]:
    """A real PostgreSQL, for all tests of a process; each cleans up behind itself."""
    if pg.programs() is None:
        pytest.skip(pg.ABSENT)
    pytest.importorskip("adbc_driver_postgresql")
    with pg.running() as server:
        yield server
