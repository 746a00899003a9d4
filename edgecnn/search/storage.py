"""Where a search is kept: an SQLite file, or a PostgreSQL database that many machines share.

SQLite and not Optuna's journal file: a writer killed in the middle of a line leaves a journal that
nobody can read any more, a database rolls back. And both storages are one code path.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import optuna
import sqlalchemy
from optuna.exceptions import StorageInternalError
from optuna.storages import RDBStorage
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import SQLAlchemyError

from edgecnn.errors import UnavailableError, UsageError

DRIVERS = {"sqlite": "sqlite", "postgresql": "postgresql+psycopg", "postgres": "postgresql+psycopg"}
LOCK_TIMEOUT_S = 60
CONNECT_TIMEOUT_S = 10
CREATE_ATTEMPTS = 5


def url_of(storage: Path | str) -> URL:
    """The database of a file's path or of an URL, `postgresql://user@host/name`.

    Raises UsageError where it is neither.
    """
    if isinstance(storage, Path) or "://" not in storage:
        return URL.create("sqlite", database=str(Path(storage).absolute()))
    try:
        url = make_url(storage)
    except SQLAlchemyError as error:
        raise UsageError(f"the storage is no file and no URL ({error}).") from error
    if url.drivername not in (*DRIVERS, *DRIVERS.values()):
        raise UsageError(
            f"storage {shown(url)}: allowed are a file, sqlite:///FILE and "
            "postgresql://USER@HOST/NAME."
        )
    return url.set(drivername=DRIVERS.get(url.drivername, url.drivername))


def shown(url: URL) -> str:
    """The storage as messages name it, without its password."""
    if url.drivername == "sqlite":
        return str(url.database)
    return url.render_as_string(hide_password=True)


def opened(storage: Path | str) -> RDBStorage:
    """Open a storage, and make it where there is none.

    Raises UnavailableError where it cannot be reached, UsageError where it is no storage's name.
    """
    url = url_of(storage)
    if url.drivername == "sqlite":
        Path(str(url.database)).parent.mkdir(parents=True, exist_ok=True)
    for attempt in range(1, CREATE_ATTEMPTS + 1):
        try:
            return _exclusive(RDBStorage(url.render_as_string(False), _engine_options(url)))
        except ImportError as error:
            raise UnavailableError(
                f"{shown(url)} needs a driver ({error}): pip install 'edgecnn[search]'"
            ) from error
        except (SQLAlchemyError, StorageInternalError, RuntimeError) as error:
            # Workers that start at once all find no tables, and all but one fail to make them.
            if attempt == CREATE_ATTEMPTS or not _reachable(url):
                raise UnavailableError(
                    f"the storage {shown(url)} cannot be opened: {_reason(error)}"
                ) from error
            time.sleep(0.2 * attempt)
    raise AssertionError


def _engine_options(url: URL) -> dict[str, Any]:
    if url.drivername == "sqlite":
        return {"connect_args": {"timeout": LOCK_TIMEOUT_S}}
    options = {"connect_timeout": CONNECT_TIMEOUT_S}
    return {"connect_args": options, "pool_pre_ping": True, "pool_recycle": 300}


def _exclusive(storage: RDBStorage) -> RDBStorage:
    """Let a transaction of SQLite take the write lock at its begin.

    SQLite knows no locks of rows. Without this, two workers can both read that a trial is free and
    both take it. As SQLAlchemy's documentation of its SQLite dialect has it ("Enabling
    Non-Legacy SQLite Transactional Modes").
    """
    if storage.engine.dialect.name == "sqlite":
        storage.engine.dispose()
        sqlalchemy.event.listen(storage.engine, "connect", _plain_connection)
        sqlalchemy.event.listen(storage.engine, "begin", _Begin(str(storage.engine.url.database)))
    return storage


def _plain_connection(connection: Any, record: object) -> None:
    connection.isolation_level = None  # sqlite3 begins no transaction by itself
    # One flush to the disk for each of the many small transactions; a rollback journal needs five
    # times as long. FULL: what was written also survives a power cut.
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")


class _Begin:
    """Begins a transaction, if the file is still the one that was opened.

    With a write-ahead log, SQLite itself goes on writing into a file that was removed.
    """

    def __init__(self, file: str) -> None:
        self._file, self._opened = Path(file), Path(file).stat().st_ino

    def __call__(self, connection: sqlalchemy.Connection) -> None:
        try:
            same = self._file.stat().st_ino == self._opened
        except OSError:
            same = False
        if not same:
            raise StorageInternalError("the file was moved or removed")
        connection.exec_driver_sql("BEGIN IMMEDIATE")


def _reachable(url: URL) -> bool:
    engine = sqlalchemy.create_engine(url, **_engine_options(url))
    try:
        with engine.connect() as connection:
            connection.exec_driver_sql(
                "SELECT 1 FROM sqlite_master" if url.drivername == "sqlite" else "SELECT 1"
            )
    except SQLAlchemyError:
        return False
    finally:
        engine.dispose()
    return True


@contextmanager
def guarded(storage: Path | str) -> Iterator[None]:
    """Turn what a storage that went away raises into an UnavailableError."""
    try:
        yield
    except (StorageInternalError, SQLAlchemyError) as error:
        raise UnavailableError(
            f"the storage {shown(url_of(storage))} is gone ({_reason(error)}). Finished networks "
            "are kept in it; when it is back, the same command goes on from there."
        ) from error


def _reason(error: BaseException) -> str:
    """The first line of what the driver had to say."""
    cause = error.__cause__ or error
    original = getattr(cause, "orig", None) or cause
    return (
        str(original).strip().splitlines()[0] if str(original).strip() else type(original).__name__
    )


def quiet() -> None:
    """Let Optuna report what goes wrong, not every trial."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
