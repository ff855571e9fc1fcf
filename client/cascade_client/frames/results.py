"""Result files of a job: read as frames, or copied to a target; fsspec does any network access."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlparse

from cascade_client.errors import InvalidRequest, MissingDependency
from cascade_client.values.jobs import Job, ResultFile

# File names that cannot mean a folder.
OTHER_FILES = (".csv", ".csv.gz", ".arrow", ".feather", ".ipc", ".json", ".pq")


def local_folder(uri: str | Path) -> Path | None:
    """Return the local folder that a URI names; None: it is in a store."""
    if isinstance(uri, Path) or "://" not in uri:
        return Path(uri)
    parsed = urlparse(uri)
    return Path(unquote(parsed.path)) if parsed.scheme == "file" else None


def is_one_file(uri: str | Path) -> bool:
    """Return whether a URI names one Parquet file rather than a folder for a job's files.

    Raises:
        InvalidRequest: it names a file of another kind.
    """
    name = str(uri).lower()
    if name.endswith(OTHER_FILES):
        raise InvalidRequest(
            f"{uri} is the name of a file that is no Parquet; allowed: a folder, or a file "
            "NAME.parquet; `cascade_client.connected_tables.fetch_into` writes others, and tables"
        )
    return name.endswith(".parquet")


def write_file(uri: str | Path, paths: Sequence[Path]) -> list[str]:
    """Write the rows of a job's files to one file, whole or not at all, and return its name.

    Raises:
        InvalidRequest: the file exists, or it cannot be written.
        MissingDependency: pyarrow is not installed.
    """
    try:
        from cascade_tables.connectors import sinks
        from cascade_tables.errors import DataError
    except ImportError as exc:
        raise MissingDependency("pyarrow is not installed; pip install pyarrow") from exc
    local = local_folder(uri)
    try:
        parts = [path for path in paths if path.suffix == ".parquet"]
        sinks.write_files(str(uri if local is None else local), parts)
    except DataError as exc:
        raise InvalidRequest(str(exc)) from None
    return [Path(str(uri)).name]


def arrow_table(paths: Sequence[Path]) -> Any:
    """Return the rows of Parquet files, concatenated; other files, such as a manifest, are skipped.

    Raises:
        MissingDependency: pyarrow is not installed.
    """
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as exc:
        raise MissingDependency("pyarrow is not installed; pip install pyarrow") from exc
    # Not read as one data set: Arrow would guess partitions from the folder's name.
    files = [path for path in paths if path.suffix == ".parquet"]
    return pa.concat_tables([pq.ParquetFile(path).read() for path in files])


def pandas_frame(paths: Sequence[Path]) -> Any:
    """Return the same rows as a DataFrame of pandas.

    Raises:
        MissingDependency: pandas or pyarrow is not installed.
    """
    try:
        import pandas  # noqa: F401
    except ImportError as exc:
        raise MissingDependency("pandas is not installed; pip install pandas") from exc
    return arrow_table(paths).to_pandas()


def polars_frame(paths: Sequence[Path]) -> Any:
    """Return the same rows as a DataFrame of polars.

    Raises:
        MissingDependency: polars or pyarrow is not installed.
    """
    try:
        import polars as pl
    except ImportError as exc:
        raise MissingDependency("polars is not installed; pip install polars") from exc
    return pl.from_arrow(arrow_table(paths))


class Store:
    """A folder behind a URL for result files; existing files are kept.

    A store shows a file under its name only when it is complete, or with fewer bytes than its final
    size. A file of full size is therefore complete.

    Args:
        uri: such as ``s3://bucket/folder``; any that fsspec supports.

    Raises:
        InvalidRequest: fsspec does not support such URLs.
        MissingDependency: fsspec, or a package that it needs for such URLs, is not installed.
    """

    def __init__(self, uri: str) -> None:
        try:
            from fsspec.core import url_to_fs

            self._files, self._root = url_to_fs(uri)
        except ImportError as exc:
            raise MissingDependency(f"{uri}: {exc}; pip install fsspec, and its package") from exc
        except ValueError as exc:
            raise InvalidRequest(
                f"{uri} cannot be written: {exc}; allowed: a path, or a URL that fsspec knows, "
                "such as s3://bucket/folder"
            ) from exc

    def missing(self, job: Job) -> list[ResultFile]:
        """Return the files that are missing, in their order: the manifest is the last."""
        return [file for file in job.result_files if self._size(file) != file.bytes]

    def put(self, path: Path, file: ResultFile) -> None:
        """Copy a downloaded file into the folder, or into the subfolder that its name gives."""
        stored = f"{self._root}/{file.name}"
        self._files.makedirs(stored.rpartition("/")[0], exist_ok=True)
        self._files.put_file(str(path), stored)

    def _size(self, file: ResultFile) -> int | None:
        path = f"{self._root}/{file.name}"
        self._files.invalidate_cache()
        return int(self._files.info(path)["size"]) if self._files.exists(path) else None


Read = Callable[[Sequence[Path]], Any]
