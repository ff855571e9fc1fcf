"""The Cascade client: plausible values for missing features in real time, synthetic rows offline.

>>> from cascade_client import Client
>>> with Client("127.0.0.1:8470") as client:
...     print(client.describe("credit"))
...     one = client.synthesize("credit", {"limit_bal": 20000, "age": 25})
...     five = client.synthesize("credit", {"limit_bal": 20000, "age": 25}, draws=5, seed=1)
...     frame = client.generate("credit", 1000, given={"default_payment_next_month": 1}).data

Rows go in as a dict, a list of dicts, a DataFrame of pandas or polars, a pyarrow Table or
RecordBatch, or what else gives a stream of Arrow's C interface, and come back as the same, however
many there are. A column that is absent is synthesised; one that is None, or NaN, is observed to be
NULL, which is something to condition on, where there was NULL to learn, and synthesised elsewhere.
`AsyncClient` has the same methods for asyncio. Errors are the tree in `cascade_client.errors`, all
of them `CascadeError`.

Needs grpcio and NumPy; pandas, polars and pyarrow only for rows that come or go in them.
"""

from cascade_client.async_client import AsyncClient
from cascade_client.calls.tls import Tls
from cascade_client.client import Client
from cascade_client.errors import (
    Cancelled,
    CascadeError,
    DeadlineExceeded,
    InvalidRequest,
    JobFailed,
    MissingDependency,
    NotFound,
    Overloaded,
    PermissionDenied,
    ServerError,
    Unauthenticated,
    Unavailable,
)
from cascade_client.frames.augmentation import Augmentation
from cascade_client.frames.completion import Completion
from cascade_client.job_handles import AsyncJobHandle, JobHandle
from cascade_client.messages.cells import MISSING
from cascade_client.retry import Retry
from cascade_client.values.answers import Chunk, Synthesis
from cascade_client.values.descriptions import (
    ColumnDescription,
    DroppedColumn,
    ReleaseDescription,
    TableDescription,
    TableSummary,
)
from cascade_client.values.jobs import Job, JobState
from cascade_client.values.provenance import (
    Considered,
    OutsideKind,
    OutsideTotal,
    OutsideValue,
    Provenance,
    Routing,
    Tier,
    Timings,
)
from cascade_client.values.service_level import (
    Alert,
    BurnRate,
    CallerFault,
    CallerFaults,
    LatencyQuantiles,
    ObjectiveKind,
    ObjectiveStatus,
    ServiceClass,
    ServiceLevel,
)

__all__ = [
    "MISSING",
    "Alert",
    "AsyncClient",
    "AsyncJobHandle",
    "Augmentation",
    "BurnRate",
    "CallerFault",
    "CallerFaults",
    "Cancelled",
    "CascadeError",
    "Chunk",
    "Client",
    "ColumnDescription",
    "Completion",
    "Considered",
    "DeadlineExceeded",
    "DroppedColumn",
    "InvalidRequest",
    "Job",
    "JobFailed",
    "JobHandle",
    "JobState",
    "LatencyQuantiles",
    "MissingDependency",
    "NotFound",
    "ObjectiveKind",
    "ObjectiveStatus",
    "OutsideKind",
    "OutsideTotal",
    "OutsideValue",
    "Overloaded",
    "PermissionDenied",
    "Provenance",
    "ReleaseDescription",
    "Retry",
    "Routing",
    "ServerError",
    "ServiceClass",
    "ServiceLevel",
    "Synthesis",
    "TableDescription",
    "TableSummary",
    "Tier",
    "Timings",
    "Tls",
    "Unauthenticated",
    "Unavailable",
]
