"""The service as its own process, with real signals: what it finishes, takes up again and leaves behind."""

import contextlib
import json
import os
import re
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from unshrink.pictures.image import Image
from unshrink.pictures.io import write

httpx = pytest.importorskip("httpx")
pytest.importorskip("uvicorn")
pytestmark = pytest.mark.xdist_group("server")


class Serve:
    """`unshrink serve` on a free port, once it answers."""

    def __init__(self, folder, *options):
        command = [sys.executable, "-m", "unshrink", "serve", "--port", "0", "--jobs-db", str(folder / "jobs.sqlite3")]
        self.process = subprocess.Popen([*command, "--threads", "1", *options], stderr=subprocess.PIPE, text=True)
        first = self.process.stderr.readline()
        self.url = re.search(r"http://127\.0\.0\.1:\d+", first)[0]
        self.lines = []
        self.reader = threading.Thread(target=lambda: self.lines.extend(self.process.stderr))
        self.reader.start()
        self.http = httpx.Client(base_url=self.url, timeout=300)
        assert self.http.get("/ready").status_code == 200  # connects at once, is answered when all is ready

    def end(self, sig):
        self.process.send_signal(sig)
        code = self.process.wait(60)
        self.reader.join()
        return code

    def events(self, kind):
        return [event for event in map(json.loads, self.lines) if event["event"] == kind]


@pytest.fixture
def serve(tmp_path):
    started = []

    def start(*options):
        started.append(Serve(tmp_path, *options))
        return started[-1]

    yield start
    for one in started:
        with contextlib.suppress(ProcessLookupError):
            one.process.kill()


def photo(path, side=64):
    pixels = np.random.default_rng(0).integers(0, 256, (side, side, 3), np.uint8)
    write(Image(pixels), path)
    return path.read_bytes()


def children(pid):
    done = subprocess.run(["ps", "--ppid", str(pid), "-o", "pid="], capture_output=True, text=True)
    return [int(line) for line in done.stdout.split()]


def alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@contextlib.contextmanager
def held(service):
    """Its workers stand still meanwhile: whatever is asked stays in work, however fast they are."""
    workers = children(service.process.pid)
    for worker in workers:
        os.kill(worker, signal.SIGSTOP)
    try:
        yield
    finally:
        for worker in filter(alive, workers):
            os.kill(worker, signal.SIGCONT)


def wait_until(true, seconds=200):
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_jobs_survive_a_kill_and_are_done_once(serve, tmp_path):
    first = serve("--concurrency", "2")
    body, large = photo(tmp_path / "a.png"), photo(tmp_path / "b.png", 1500)
    posted = [first.http.post("/v1/jobs?action=downscale", content=large).json()]
    posted += [first.http.post("/v1/jobs?action=downscale", content=body).json() for _ in range(3)]
    wait_until(lambda: first.http.get(posted[0]["links"]["self"]).json()["status"] == "running")
    workers = children(first.process.pid)
    assert len(workers) >= 2
    assert first.end(signal.SIGKILL) == -signal.SIGKILL
    wait_until(lambda: not any(map(alive, workers)), 10)
    with contextlib.closing(sqlite3.connect(tmp_path / "jobs.sqlite3", isolation_level=None)) as database:
        assert database.execute("SELECT status FROM jobs ORDER BY created").fetchall()[0] == ("running",)
        database.execute("UPDATE jobs SET lease = 0")  # as if its seconds had passed
    second = serve("--concurrency", "2")
    for job in posted:
        wait_until(lambda job=job: second.http.get(job["links"]["self"]).json()["status"] == "done")
        assert second.http.get(job["links"]["result"]).status_code == 200
    second.end(signal.SIGTERM)
    ended = [(event["job"], event["status"], event["attempt"]) for event in second.events("job")]
    assert sorted(ended) == sorted((job["id"][:8], "done", 2 if job is posted[0] else 1) for job in posted)
    assert first.events("job") == []


def test_sigterm_finishes_what_is_in_and_refuses_what_comes(serve, tmp_path):
    service = serve("--concurrency", "1")
    body = photo(tmp_path / "picture.png")
    with ThreadPoolExecutor(2) as threads:
        with held(service):
            inside = [threads.submit(service.http.post, "/v1/downscale", content=body) for _ in range(2)]
            wait_until(lambda: "unshrink_inside 2.0" in service.http.get("/metrics").text)
            service.process.send_signal(signal.SIGTERM)
            wait_until(lambda: service.http.get("/ready").status_code == 503)
            refused = service.http.post("/v1/downscale", content=body)
            assert (refused.status_code, list(refused.json())) == (503, ["error"])
        assert [answer.result().status_code for answer in inside] == [200, 200]
    assert service.process.wait(30) == -signal.SIGTERM


def test_requests_made_up_from_the_description_are_answered(serve, tmp_path):
    service = serve("--concurrency", "1", "--timeout", "200")
    options = "--checks not_a_server_error --phases fuzzing --max-examples 10 --seed 1 --request-timeout 200"
    command = [Path(sys.executable).with_name("schemathesis"), "run", f"{service.url}/openapi.json", *options.split()]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    service.end(signal.SIGTERM)
    assert service.events("bug") == []


CONNECTIONS = """
import asyncio, os, socket, sys
import uvicorn
from unshrink.server import run

run.HEADER_SECONDS = 0.5
run.READER_SECONDS = 2

async def app(scope, receive, send):
    assert scope["type"] == "http"
    await asyncio.sleep(2)  # longer than a head may take
    body = bytes(0 if scope["path"] == "/small" else 50_000_000)
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": body})

with run.listening("127.0.0.1", 0) as here:
    print(here.getsockname()[1], flush=True)
    config = uvicorn.Config(app, http=run.Connection, lifespan="off", log_level="error")
    uvicorn.Server(config).run(sockets=[here])
"""


@pytest.fixture
def connections():
    """Connects to a server that gives slow clients half a second for a head, two to read on."""
    with subprocess.Popen([sys.executable, "-c", CONNECTIONS], stdout=subprocess.PIPE, text=True) as process:
        port = int(process.stdout.readline())
        yield lambda: socket.create_connection(("127.0.0.1", port), timeout=60)
        process.kill()


def test_who_sends_no_whole_head_is_let_go(connections):
    for head in (b"", b"GET / HTTP/1.1\r\nHost: a\r\n", b"GET /small HTTP/1.1\r\nHost: a\r\n\r\nGET"):
        with connections() as client:
            client.sendall(head)
            received = b""
            with contextlib.suppress(ConnectionResetError):
                while more := client.recv(1000):
                    received += more
            assert received.startswith(b"HTTP/1.1 200") == (b"small" in head)  # who waits for an answer gets it


@pytest.mark.skipif(not hasattr(socket, "TCP_USER_TIMEOUT"), reason="needs Linux")
def test_who_does_not_read_is_let_go(connections):
    with connections() as client:
        client.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        time.sleep(12)
        with pytest.raises(ConnectionResetError):
            all(iter(lambda: client.recv(1_000_000), b""))


def test_the_address_is_taken(serve, tmp_path):
    port = serve("--concurrency", "1").url.rpartition(":")[2]
    command = [sys.executable, "-m", "unshrink", "serve", "--port", port, "--jobs-db", str(tmp_path / "jobs.sqlite3")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.startswith(f"unshrink: cannot listen at 127.0.0.1, port {port}: ")
    assert done.stderr.count("\n") == 1


def test_names_and_proxies_are_given_as_options(serve, tmp_path):
    http = serve("--concurrency", "1", "--allow-host", "Pictures.example", "--proxy", "127.0.0.0/8").http
    for host, status in (("pictures.example", 200), ("other.example", 421)):
        assert http.get("/health", headers={"Host": host}).status_code == status
    prefix = {"X-Forwarded-Prefix": "/here"}
    assert http.post("/v1/jobs?action=upscale", headers=prefix).json()["links"]["self"].startswith("/here/v1/")
    command = [sys.executable, "-m", "unshrink", "serve", "--proxy", "x", "--jobs-db", str(tmp_path / "other.sqlite3")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "'x' is no address of a proxy" in done.stderr
