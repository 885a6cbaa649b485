"""Large pictures and clips as jobs: they outlive their request, and the service too.

A job is a row in SQLite and, beside the database, a file that was sent and later one with its result.  Whoever works
on a job holds a lease and renews it; where that ends without a result, because the service was killed, the job is taken
up again.  `Job.attempt` tells one lease from the next: a result counts only for the lease that is running, so a job is
done once, whatever happens and however many services share the database.

Askers share: each may keep as much as is left for the others, in jobs, bytes and seconds of work, and they take turns
by the work that their jobs take (start-time fair queuing: Goyal, Vin and Cheng, SIGCOMM 1996).

Only this user can read any of it.
"""

import contextlib
import dataclasses
import json
import os
import secrets
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from unshrink.errors import UnshrinkError
from unshrink.files import atomic_write, sweep
from unshrink.server.options import Action, Kind

LEASE = 15.0  # seconds without a sign of life after which a job is taken up again
MOST_ATTEMPTS = 3  # a file that has ended the service three times will end it again
MOST_JOBS = 200  # kept at once, of one asker alone half of them; each may hold two large files
MOST_SECONDS = 8 * 3600.0  # of work, queued and running, of one asker alone half of it
STRAY = 3600.0  # seconds after which a file that belongs to no job is removed

_SCHEMA = """
CREATE TABLE IF NOT EXISTS jobs (
  id TEXT PRIMARY KEY,
  owner TEXT NOT NULL,
  asker TEXT NOT NULL,
  seconds REAL NOT NULL,
  turn REAL NOT NULL,
  action TEXT NOT NULL,
  options TEXT NOT NULL,
  status TEXT NOT NULL DEFAULT 'queued',
  progress REAL NOT NULL DEFAULT 0,
  attempt INTEGER NOT NULL DEFAULT 0,
  lease REAL NOT NULL DEFAULT 0,
  created REAL NOT NULL,
  finished REAL,
  error TEXT,
  facts TEXT NOT NULL DEFAULT '{}'
) STRICT"""
_LATER = ("kind TEXT NOT NULL DEFAULT 'picture'", "bytes INTEGER NOT NULL DEFAULT 0", "frames INTEGER", "began REAL")
"""Columns that databases of before have not."""

_PENDING = "status IN ('queued', 'running')"
_LEFT = f"SELECT coalesce(sum(seconds * (1 - progress) * (1 + (asker = :asker))), 0) FROM jobs WHERE {_PENDING}"
_KEPT = "SELECT count(*) + coalesce(sum(asker = :asker), 0) FROM jobs"
_BYTES = "SELECT coalesce(sum(bytes * (1 + (asker = :asker))), 0) FROM jobs"
_TURN = f"""max(
  coalesce((SELECT max(turn) FROM jobs WHERE status = 'running'), (SELECT min(turn) FROM jobs WHERE {_PENDING}), 0),
  coalesce((SELECT max(turn + seconds) FROM jobs WHERE asker = :asker AND {_PENDING}), 0))"""


class Full(Exception):
    """There is no room for another job of this asker.

    Args:
        seconds: of work, until there is; infinite where that takes more than work.
    """

    def __init__(self, seconds: float) -> None:
        super().__init__(seconds)
        self.seconds = seconds


@dataclass(frozen=True)
class Job:
    """One job.

    Attributes:
        id: not to be guessed.
        kind: "picture" or "clip".
        action: "downscale" or "upscale".
        options: what was asked for, by name.
        status: "queued", "running", "done" or "failed".
        progress: 0 to 1.
        frames: of a clip; None of a picture.
        seconds_left: until it is done, about; None where nothing can be told.
        attempt: how often it was begun.
        error: why it failed.
        facts: what is said of the result.
        asker: on whose share it is.
    """

    id: str
    kind: Kind
    action: Action
    options: dict[str, Any]
    status: str
    progress: float
    frames: int | None
    seconds_left: float | None
    attempt: int
    error: str | None
    facts: dict[str, Any]
    asker: str

    @property
    def frames_done(self) -> int | None:
        """Of a clip; None of a picture."""
        return None if self.frames is None else round(self.frames * self.progress)


_FIELDS = tuple(field.name for field in dataclasses.fields(Job))
_LEFT_OF = "iif(status = 'running' AND progress > 0, (:now - began) * (1 - progress) / progress, NULL)"
_COLUMNS = ", ".join(f"{_LEFT_OF} AS {name}" if name == "seconds_left" else name for name in _FIELDS)
_RUNNING = "id = :id AND attempt = :attempt AND status = 'running'"


class Jobs:
    """All jobs.  Several threads and processes may use one database; nothing is kept open.

    Args:
        path: the database; made if it is not there, and its folder too.
        keep: seconds that a result is kept.
        most_bytes: of the files of all jobs together, of one asker alone half of it.

    Raises:
        UnshrinkError: there is no permission to make it.
    """

    def __init__(self, path: Path, keep: float, most_bytes: int = 16 << 30) -> None:
        self._path, self._keep, self._most_bytes = path, keep, most_bytes
        self._folder = path.with_name(f"{path.name}.files")
        try:
            for folder in (*reversed(path.parents), self._folder):  # mkdir's own parents would be for all to read
                folder.mkdir(mode=0o700, exist_ok=True)
            self._folder.chmod(0o700)
            os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
            path.chmod(0o600)  # as SQLite then makes its log beside it
        except OSError as fault:
            raise UnshrinkError(f"cannot keep jobs in {path}: {fault.strerror}; choose another `jobs_db`") from fault
        self.secret = self._secret()
        self._run("PRAGMA journal_mode = WAL")
        self._run(_SCHEMA)
        known = {name for _, name, *_ in self._run("PRAGMA table_info(jobs)")}
        for column in _LATER:
            if column.split()[0] not in known:
                with contextlib.suppress(sqlite3.OperationalError):  # another service may be first
                    self._run(f"ALTER TABLE jobs ADD COLUMN {column}")

    @contextlib.contextmanager
    def arriving(self) -> Iterator[BinaryIO]:
        """A new file for what arrives for a job, open for writing; it goes in the end, unless `add` has taken it."""
        path = self._folder / f"{secrets.token_hex(16)}.new"
        try:
            with open(path, "xb", opener=lambda name, flags: os.open(name, flags, 0o600)) as stream:
                yield stream
        finally:
            path.unlink(missing_ok=True)

    def source(self, job_id: str) -> Path:
        """The file that was sent for a job."""
        return self._folder / f"{job_id}.in"

    def result(self, job_id: str) -> Path:
        """The file with the result of a job that is done."""
        return self._folder / f"{job_id}.out"

    def write_result(self, job_id: str, data: bytes) -> None:
        """Writes the result of a job."""
        with atomic_write(self.result(job_id), overwrite=True) as stream:
            _write_private(stream, data)

    def add(
        self,
        owner: str,
        action: Action,
        options: dict[str, Any],
        body: bytes | Path,
        asker: str = "",
        seconds: float = 1.0,
        frames: int | None = None,
    ) -> Job:
        """A new job in the queue.

        Args:
            owner: who may see it.
            action, options: see `Job`.
            body: the picture, or a file in which the clip has arrived.
            asker: on whose share it is.
            seconds: that it will take, about.
            frames: of a clip.

        Raises:
            Full: the asker keeps as much as is left for others.
            OSError: the file cannot be kept, as on a full disk.
        """
        job_id = secrets.token_hex(16)
        values = {"asker": asker, "seconds": seconds, "most": MOST_JOBS, "most_seconds": MOST_SECONDS}
        if isinstance(body, Path):
            body.rename(self.source(job_id))
        else:
            with self.arriving() as stream:
                stream.write(body)
                stream.flush()
                os.fsync(stream.fileno())
                os.rename(stream.name, self.source(job_id))
        size = self.source(job_id).stat().st_size
        values |= {"bytes": size, "most_bytes": self._most_bytes}
        self._run(
            "INSERT INTO jobs (id, owner, asker, seconds, turn, kind, action, options, bytes, frames, created) "
            f"SELECT :id, :owner, :asker, :seconds, {_TURN}, :kind, :action, :options, :bytes, :frames, :now "
            f"WHERE ({_KEPT}) + 2 <= :most AND ({_LEFT}) + 2 * :seconds <= :most_seconds "
            f"AND ({_BYTES}) + 2 * :bytes <= :most_bytes",
            id=job_id,
            owner=owner,
            kind="clip" if isinstance(body, Path) else "picture",
            frames=frames,
            action=action,
            options=json.dumps(options),
            **values,
        )
        job = self.get(job_id, owner)
        if job is None:
            self._remove_files(job_id)
            raise Full(self._until_room(**values))
        return job

    def _until_room(self, **values: Any) -> float:
        """Seconds of work until an asker may add a job: of all that is done meanwhile, its own part counts twice."""
        kept, held, left, askers = self._run(
            f"SELECT ({_KEPT}), ({_BYTES}), ({_LEFT}), (SELECT count(DISTINCT asker) FROM jobs WHERE {_PENDING})",
            **values,
        )[0]
        if kept + 2 > MOST_JOBS or held + 2 * values["bytes"] > self._most_bytes:
            return float("inf")
        excess = left + 2 * values["seconds"] - MOST_SECONDS
        return max(1.0, float(excess * askers / (askers + 1)))

    def get(self, job_id: str, owner: str) -> Job | None:
        """A job of this owner."""
        return _first(
            self._run(f"SELECT {_COLUMNS} FROM jobs WHERE id = :id AND owner = :owner", id=job_id, owner=owner)
        )

    def claim(self) -> Job | None:
        """Takes the job that nobody works on whose turn it is."""
        free = "status = 'queued' OR (status = 'running' AND lease < :now)"
        self._run(
            "UPDATE jobs SET status = 'failed', finished = :now, error = :error || kind "
            "WHERE status = 'running' AND lease < :now AND attempt >= :most",
            error=f"the service ended {MOST_ATTEMPTS} times while it worked on this ",
            most=MOST_ATTEMPTS,
        )
        return _first(
            self._run(
                "UPDATE jobs SET status = 'running', progress = 0, attempt = attempt + 1, lease = :now + :lease, "
                f"began = :now WHERE id = (SELECT id FROM jobs WHERE {free} ORDER BY turn, created LIMIT 1) "
                f"RETURNING {_COLUMNS}"
            )
        )

    def renew(self, job: Job) -> None:
        """Says that somebody still works on it."""
        self._run(f"UPDATE jobs SET lease = :now + :lease WHERE {_RUNNING}", **_key(job))

    def advance(self, job: Job, progress: float) -> None:
        """Says how far it is."""
        self._run(f"UPDATE jobs SET progress = :progress WHERE {_RUNNING}", progress=progress, **_key(job))

    def release(self, job: Job) -> None:
        """Puts it back into the queue, as if it had not been begun."""
        self._run(
            f"UPDATE jobs SET status = 'queued', progress = 0, attempt = attempt - 1 WHERE {_RUNNING}", **_key(job)
        )

    def finish(self, job: Job, facts: dict[str, Any]) -> None:
        """Says that its result is there."""
        result = self.result(job.id)
        size = result.stat().st_size if result.exists() else 0  # it may be deleted meanwhile
        change = "status = 'done', progress = 1, bytes = :bytes, facts = :facts"
        self._end(job, change, bytes=size, facts=json.dumps(facts))

    def fail(self, job: Job, error: str) -> None:
        """Says that there will be no result, and why."""
        self._end(job, "status = 'failed', bytes = 0, error = :error", error=error)

    def delete(self, job_id: str, owner: str) -> bool:
        """Removes a job of this owner with its files; False if there is none."""
        gone = self._run("DELETE FROM jobs WHERE id = :id AND owner = :owner RETURNING id", id=job_id, owner=owner)
        for (found,) in gone:
            self._remove_files(found)
        return bool(gone)

    def sweep(self) -> None:
        """Removes jobs that are over for long enough, and files that belong to none or that nobody writes any more."""
        sweep(self._folder)
        for (job_id,) in self._run("DELETE FROM jobs WHERE finished < :now - :keep RETURNING id", keep=self._keep):
            self._remove_files(job_id)
        known = {job_id for (job_id,) in self._run("SELECT id FROM jobs")}
        for path in self._folder.iterdir():
            if path.stem not in known and path.stat().st_mtime < time.time() - STRAY:
                path.unlink(missing_ok=True)

    def _secret(self) -> bytes:
        """What keys are hashed with; in a file of its own, so that the database alone tells nothing of them."""
        path = self._path.with_name(f"{self._path.name}.secret")
        if not path.exists():
            with contextlib.suppress(UnshrinkError), atomic_write(path) as stream:  # another service may be first
                _write_private(stream, secrets.token_bytes(32))
        return path.read_bytes()

    def _end(self, job: Job, change: str, **values: Any) -> None:
        statement = f"UPDATE jobs SET {change}, finished = :now WHERE {_RUNNING} RETURNING id"
        if self._run(statement, **values, **_key(job)):
            self.source(job.id).unlink(missing_ok=True)

    def _remove_files(self, job_id: str) -> None:
        for path in self._folder.glob(f"{job_id}.*"):
            path.unlink(missing_ok=True)

    def _run(self, statement: str, **values: Any) -> list[Any]:
        """One statement, which is one transaction."""
        with closing(sqlite3.connect(self._path, timeout=30, isolation_level=None)) as database:
            return database.execute(statement, {"now": time.time(), "lease": LEASE, **values}).fetchall()


def _write_private(stream: BinaryIO, data: bytes) -> None:
    """Writes a file that only this user can read, from its first byte on."""
    if hasattr(os, "fchmod"):
        os.fchmod(stream.fileno(), 0o600)
    stream.write(data)


def _key(job: Job) -> dict[str, Any]:
    return {"id": job.id, "attempt": job.attempt}


def _first(rows: list[Any]) -> Job | None:
    if not rows:
        return None
    row = dict(zip(_FIELDS, rows[0], strict=True))
    return Job(**row | {name: json.loads(row[name]) for name in ("options", "facts")})
