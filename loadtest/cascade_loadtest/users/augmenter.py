"""The batch augmenter: rows made with the teacher, streamed or as jobs, while nobody waits."""

from __future__ import annotations

from cascade_client import Client, DeadlineExceeded
from locust import User, constant, task

from cascade_loadtest.users.recording import call, is_ready
from cascade_loadtest.users.tables import table_of, target_of

# Rows of a stream and of a job.
STREAMED, MADE = 256, 2_000
# Seconds that one waits for them at the most.
PATIENCE = 120.0


class BatchAugmenter(User):
    """A notebook or a nightly run that wants more rows of a table."""

    host = "127.0.0.1:8470"
    wait_time = constant(1.0)

    def on_start(self) -> None:
        self._table = table_of(self)
        self._client = Client(target_of(self))
        self._client.wait_ready(30)
        is_ready(self.environment)

    def on_stop(self) -> None:
        self._client.close()

    @task(3)
    def generate(self) -> None:
        """Rows of the teacher as they are drawn."""
        with call(self, "generate", "augmenter: generate") as outcome:
            self._client.generate(self._table, STREAMED, kind="rows", timeout=PATIENCE)
            outcome.tier = "teacher"

    @task(1)
    def job(self) -> None:
        """Rows of the student as files, from asking to the manifest."""
        with call(self, "job", "augmenter: job") as outcome:
            made = self._client.submit(self._table, MADE, fidelity="fast", fresh=True)
            try:
                made.wait(PATIENCE, progress=None)
            except DeadlineExceeded:
                made.cancel()
                raise
            outcome.tier = "student"
