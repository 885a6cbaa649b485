"""Large pictures as jobs: they outlive their request, and the service too.

A job is a row in SQLite and, beside the database, a file with its picture and later one with its result.  Whoever works
on a job holds a lease and renews it; where that ends without a result, because the service was killed, the job is taken
up again.  `Job.attempt` tells one lease from the next: a result counts only for the lease that is running, so a job is
done once, whatever happens and however many services share the database.
"""

import json
import secrets
import sqlite3
import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unshrink.files import atomic_write

LEASE = 15.0  # seconds without a sign of life after which a job is taken up again
MOST_ATTEMPTS = 3  # a picture that has ended the service three times will end it again
MOST_JOBS = 100  # kept at once; each may hold two large files
STRAY = 3600.0  # seconds after which a file that belongs to no job is removed

_SCHEMA = """
CREATE TABLE IF NOT EXISTS jobs (
  id TEXT PRIMARY KEY,
  owner TEXT NOT NULL,
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


@dataclass(frozen=True)
class Job:
    """One job.

    Attributes:
        id: not to be guessed.
        action: "downscale" or "upscale".
        options: what was asked for, by name.
        status: "queued", "running", "done" or "failed".
        progress: 0 to 1.
        attempt: how often it was begun.
        error: why it failed.
        facts: what is said of the result.
    """

    id: str
    action: str
    options: dict[str, Any]
    status: str
    progress: float
    attempt: int
    error: str | None
    facts: dict[str, Any]


_COLUMNS = "id, action, options, status, progress, attempt, error, facts"
_RUNNING = "id = :id AND attempt = :attempt AND status = 'running'"


class Jobs:
    """All jobs.  Several threads and processes may use one database; nothing is kept open.

    Args:
        path: the database; made if it is not there.  The folder beside it is for this user alone.
        keep: seconds that a result is kept.
    """

    def __init__(self, path: Path, keep: float) -> None:
        self._path, self._keep = path, keep
        self._folder = path.with_name(f"{path.name}.files")
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._run("PRAGMA journal_mode = WAL")
        self._run(_SCHEMA)

    def source(self, job_id: str) -> Path:
        """The file with the picture of a job."""
        return self._folder / f"{job_id}.in"

    def result(self, job_id: str) -> Path:
        """The file with the result of a job that is done."""
        return self._folder / f"{job_id}.out"

    def add(self, owner: str, action: str, options: dict[str, Any], body: bytes) -> Job | None:
        """A new job at the end of the queue; None if there are too many."""
        job_id = secrets.token_hex(16)
        with atomic_write(self.source(job_id)) as stream:
            stream.write(body)
        self._run(
            "INSERT INTO jobs (id, owner, action, options, created) "
            "SELECT :id, :owner, :action, :options, :now WHERE (SELECT count(*) FROM jobs) < :most",
            id=job_id,
            owner=owner,
            action=action,
            options=json.dumps(options),
            most=MOST_JOBS,
        )
        job = self.get(job_id, owner)
        if job is None:
            self._remove_files(job_id)
        return job

    def get(self, job_id: str, owner: str) -> Job | None:
        """A job of this owner."""
        return _first(
            self._run(f"SELECT {_COLUMNS} FROM jobs WHERE id = :id AND owner = :owner", id=job_id, owner=owner)
        )

    def count(self, status: str) -> int:
        """How many there are."""
        return int(self._run("SELECT count(*) FROM jobs WHERE status = :status", status=status)[0][0])

    def claim(self) -> Job | None:
        """Takes the oldest job that nobody works on."""
        free = "status = 'queued' OR (status = 'running' AND lease < :now)"
        self._run(
            "UPDATE jobs SET status = 'failed', finished = :now, error = :error "
            "WHERE status = 'running' AND lease < :now AND attempt >= :most",
            error=f"the service ended {MOST_ATTEMPTS} times while it worked on this picture",
            most=MOST_ATTEMPTS,
        )
        return _first(
            self._run(
                "UPDATE jobs SET status = 'running', progress = 0, attempt = attempt + 1, lease = :now + :lease "
                f"WHERE id = (SELECT id FROM jobs WHERE {free} ORDER BY created LIMIT 1) RETURNING {_COLUMNS}"
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
        self._end(job, "status = 'done', progress = 1, facts = :facts", facts=json.dumps(facts))

    def fail(self, job: Job, error: str) -> None:
        """Says that there will be no result, and why."""
        self._end(job, "status = 'failed', error = :error", error=error)

    def delete(self, job_id: str, owner: str) -> bool:
        """Removes a job of this owner with its files; False if there is none."""
        gone = self._run("DELETE FROM jobs WHERE id = :id AND owner = :owner RETURNING id", id=job_id, owner=owner)
        for (found,) in gone:
            self._remove_files(found)
        return bool(gone)

    def sweep(self) -> None:
        """Removes jobs that are over for long enough, and files that belong to none."""
        for (job_id,) in self._run("DELETE FROM jobs WHERE finished < :now - :keep RETURNING id", keep=self._keep):
            self._remove_files(job_id)
        known = {job_id for (job_id,) in self._run("SELECT id FROM jobs")}
        for path in self._folder.iterdir():
            if path.stem not in known and path.stat().st_mtime < time.time() - STRAY:
                path.unlink(missing_ok=True)

    def _end(self, job: Job, change: str, **values: Any) -> None:
        statement = f"UPDATE jobs SET {change}, finished = :now WHERE {_RUNNING} RETURNING id"
        if self._run(statement, **values, **_key(job)):
            self.source(job.id).unlink(missing_ok=True)

    def _remove_files(self, job_id: str) -> None:
        self.source(job_id).unlink(missing_ok=True)
        self.result(job_id).unlink(missing_ok=True)

    def _run(self, statement: str, **values: Any) -> list[Any]:
        """One statement, which is one transaction."""
        with closing(sqlite3.connect(self._path, timeout=30, isolation_level=None)) as database:
            return database.execute(statement, {"now": time.time(), "lease": LEASE, **values}).fetchall()


def _key(job: Job) -> dict[str, Any]:
    return {"id": job.id, "attempt": job.attempt}


def _first(rows: list[Any]) -> Job | None:
    if not rows:
        return None
    job_id, action, options, status, progress, attempt, error, facts = rows[0]
    return Job(job_id, action, json.loads(options), status, progress, attempt, error, json.loads(facts))
