"""Clips as jobs of the service: what comes back, what is refused, how far they are, what is left of them."""

import asyncio
import contextlib
import io
import os
import signal
import sqlite3
import struct
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import films
from films import film, frames_of, packets
from unshrink import video
from unshrink.pictures.image import Image
from unshrink.pictures.io import write
from unshrink.server import bodies
from unshrink.server import jobs as job_store
from unshrink.server import service as service_module
from unshrink.server.app import create_app
from unshrink.server.bodies import Disk, Memory
from unshrink.server.jobs import Full, Jobs
from unshrink.server.refusal import Refusal
from unshrink.server.service import Service, Settings

testclient = pytest.importorskip("fastapi.testclient")
pytestmark = pytest.mark.xdist_group("server")

MAX_BODY, MAX_CLIP, MAX_PIXELS = 100_000, 400_000, 20_000
MP4 = b"\0\0\0\x20ftypisom"


def settings(folder, **changes):
    values = {"max_body": MAX_BODY, "max_clip": MAX_CLIP, "max_pixels": MAX_PIXELS, "max_seconds": 1, "queue": 2}
    values |= {"concurrency": 1, "threads": 1, "timeout": 60, "keys": (), "rate": 0, "keep": 60}
    return Settings(**values | {"jobs": folder / "jobs.sqlite3", "allow_hosts": ("testserver",)} | changes)


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    app = create_app(settings(tmp_path_factory.mktemp("state")))
    with pytest.MonkeyPatch.context() as patched, testclient.TestClient(app) as client:
        patched.setattr(service_module, "WEIGHING_CLIP_SECONDS", 120)  # PyAV is loaded with the first clip
        yield client


@pytest.fixture
def service(client):
    return client.app.state.service


@pytest.fixture
def folder(service):
    """Where the files of jobs lie."""
    return service.jobs.source("x").parent


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    """A clip with sound."""
    return Path(film(tmp_path_factory.mktemp("films") / "clip.mp4", sound=True))


def add(client, body, expect=202, action="downscale", **options):
    answer = client.post("/v1/jobs", content=body, params={"action": action, **options})
    assert answer.status_code == expect, answer.text
    return answer.json() if expect == 202 else answer.json()["error"]


def wait_for(client, job, *states):
    for _ in range(1200):
        state = client.get(job["links"]["self"]).json()
        if state["status"] in (states or ("done", "failed")):
            return state
        time.sleep(0.05)
    raise AssertionError(state)


def result(client, body, **options):
    job = add(client, body, **options)
    state = wait_for(client, job)
    assert state["status"] == "done", state
    return client.get(job["links"]["result"])


# -- what comes back -----------------------------------------------------------------------------------------------


def test_a_clip_comes_back_as_the_library_makes_it(client, clip, tmp_path):
    small = result(client, clip.read_bytes(), quality=70)
    assert small.headers["content-type"] == "video/x-matroska"
    assert small.headers["content-disposition"] == 'attachment; filename="clip_x2.mkv"'
    told = [small.headers[f"x-unshrink-{name}"] for name in ("model", "scale", "size", "frames")]
    assert told == ["irn-x2", "2", "64x48", "8"]
    (tmp_path / "small").write_bytes(small.content)
    video.downscale(str(clip), str(tmp_path / "same.mkv"), video.VideoOptions(threads=1))
    for (time_met, met), (time_asked, asked) in zip(
        frames_of(tmp_path / "small"), frames_of(tmp_path / "same.mkv"), strict=True
    ):
        assert time_met == time_asked
        assert (met == asked).all()
    large = result(client, small.content, action="upscale", format="mov", quality=95)
    assert large.headers["content-type"] == "video/quicktime"
    assert large.headers["content-disposition"] == 'attachment; filename="clip_restored.mov"'
    (tmp_path / "large").write_bytes(large.content)
    assert [time for time, _ in frames_of(tmp_path / "large")] == [time for time, _ in frames_of(clip)]
    assert [data for _, data in packets(tmp_path / "large", "audio")] == [data for _, data in packets(clip, "audio")]


def test_options_are_those_of_the_command_line(client, clip, tmp_path):
    options = {"format": "mp4", "codec": "h264-rgb", "scale": 1.5, "frames": "2:6"}
    small = result(client, clip.read_bytes(), **options)
    assert small.headers["x-unshrink-frames"] == "4"
    (tmp_path / "small").write_bytes(small.content)
    asked = video.VideoOptions(codec="h264-rgb", scale=1.5, frames=(2, 6), threads=1)
    video.downscale(str(clip), str(tmp_path / "same.mp4"), asked)
    pairs = list(zip(frames_of(tmp_path / "small"), frames_of(tmp_path / "same.mp4"), strict=True))
    assert len(pairs) == 4
    assert all((met == same).all() for (_, met), (_, same) in pairs)
    sizes = [len(result(client, clip.read_bytes(), lossy=True, format="mp4", quality=q).content) for q in (20, 90)]
    assert sizes[0] < sizes[1]


def test_what_is_to_be_known_of_a_clip_is_noted_without_names_of_files(client, folder, tmp_path):
    whole = film(tmp_path / "whole.mkv", attachment=("a.txt", "text/plain", b"a"))
    small = bytearray(result(client, Path(whole).read_bytes()).content)
    small[len(small) // 2] ^= 1
    told = result(client, bytes(small), action="upscale").headers["x-unshrink-notes"]
    assert told.startswith("not carried to the new clip: an attachment; the clip is damaged: 1 of 8 frames are damaged")
    assert str(folder) not in told


# -- what is refused -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"effort": 1}, "effort: there is no such option to downscale a clip"),
        ({"lossy": True, "action": "upscale"}, "lossy: there is no such option to upscale a clip"),
        ({"format": "webp"}, "format: Input should be 'mkv', 'mp4' or 'mov'"),
        ({"format": "mp4", "codec": "ffv1"}, "ffv1 goes into .mkv, not into clip.mp4"),
        ({"codec": "vp9"}, "codec: Input should be 'ffv1', 'h264-rgb' or 'h264'"),
        ({"frames": "5"}, "frames: String should match"),
        ({"frames": "5:3"}, "frames is (5, 3): allowed are (first, last + 1)"),
        ({"frames": "8:"}, "the option frames begins at 8, and the clip has 8 frames"),
        ({"scale": 2, "fit": 20}, "scale and fit contradict each other"),
    ],
)
def test_wrong_options_are_refused(client, clip, options, said):
    assert add(client, clip.read_bytes(), 422, **options).startswith(said)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (
            {"format": "mp4", "model": "irn-x2"},
            "h264 changes values, and irn-x2 are made for exact ones: write .mkv, or the option codec",
        ),
        ({"action": "upscale"}, "the clip has no record of unshrink"),
        ({"model": "irn-x5"}, "no weights named 'irn-x5'"),
    ],
)
def test_what_cannot_be_done_fails_in_the_words_of_the_library(client, clip, folder, options, said):
    state = wait_for(client, add(client, clip.read_bytes(), **options))
    assert (state["status"], state["error"][: len(said)]) == ("failed", said)
    assert str(folder) not in state["error"]
    assert "`" not in state["error"]


def test_what_is_no_clip_that_can_be_read_is_refused_at_once(client, folder):
    before = set(folder.iterdir())
    for body in (MP4 + bytes(100), MP4 + bytes(MAX_BODY)):
        assert add(client, body, 422).startswith("cannot read the clip: it is no video that can be read, or damaged")
    assert set(folder.iterdir()) == before


WEIGH = """
import pathlib, re, sys
from unshrink.server import clips
from unshrink.server.options import Bound, ClipDownscaleOptions
try:
    clips.weigh(pathlib.Path(sys.argv[1]), ClipDownscaleOptions(), Bound(10**6, ""))
except clips.VideoError as error:
    print(error)
peak = re.search(r"VmHWM:\\s+(\\d+) kB", pathlib.Path("/proc/self/status").read_text())[1]
print(int(peak) >> 10)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="memory can be bounded on Linux alone")
def test_some_bytes_that_say_millions_of_frames_take_little_memory(clip, tmp_path):
    content = bytearray(clip.read_bytes())
    struct.pack_into(">II", content, content.index(b"stsz") + 8, 1, 1 << 26)  # frames of one byte
    (tmp_path / "bomb").write_bytes(content)
    done = subprocess.run([sys.executable, "-c", WEIGH, tmp_path / "bomb"], capture_output=True, text=True, check=True)
    said, mebibytes = done.stdout.splitlines()
    assert said.startswith("cannot read the clip")
    assert int(mebibytes) < 400


def test_bytes_seconds_frames_and_pixels_are_limited(client, service, clip, tmp_path, monkeypatch, folder):
    before = set(folder.iterdir())
    assert "larger than the limit of 400,000 bytes" in add(client, MP4 + bytes(MAX_CLIP), 413)
    assert "larger than the limit of 100,000 bytes" in add(client, bytes(MAX_BODY + 1), 413), "a picture"
    slow = film(tmp_path / "slow.mp4", times=[9000 * n for n in range(20)], frames=films.pictures(20))
    body = Path(slow).read_bytes()
    said = add(client, body, 422)
    assert said.startswith("the clip lasts 2.")
    assert said.endswith("more than the limit of 1; send a shorter one, or ask for a part with the option frames")
    assert client.delete(add(client, body, frames="2:8")["links"]["self"]).status_code == 204
    large = film(tmp_path / "large.mp4", frames=films.pictures(2, (200, 102)))
    assert "200 x 102 pixels are more than the limit of 20,000; this service takes no larger ones" in add(
        client, Path(large).read_bytes(), 422
    )
    monkeypatch.setattr(service, "speed", SimpleNamespace(pixels=lambda _: 1e9, seconds=lambda pixels: pixels))
    assert add(client, clip.read_bytes(), 422).startswith(
        "the clip is too much: its 8 frames take about 24576 seconds here, and a job may take 3600; send a shorter one"
    )
    assert set(folder.iterdir()) <= before


def test_work_is_counted_in_pixels_of_the_large_clip(client, service, clip, monkeypatch):
    seen = []
    speed = SimpleNamespace(pixels=lambda _: 1e9, seconds=lambda pixels: seen.append(pixels) or 1.0, note=print)
    monkeypatch.setattr(service, "speed", speed)
    small = result(client, clip.read_bytes(), scale=4).content
    for options in ({}, {"model": "irn-x4"}, {"model": "irn-x2"}):
        assert client.delete(add(client, small, action="upscale", **options)["links"]["self"]).status_code == 204
    assert seen == [8 * 64 * 48] * 4, "the record says more than weights that do not fit"


def test_without_what_reads_clips_they_are_refused_in_one_line(client, clip, monkeypatch):
    monkeypatch.setattr(video, "find_spec", lambda name: None)
    said = add(client, clip.read_bytes(), 422)
    assert said.startswith('clips need PyAV, which is not installed: pip install "unshrink[video]"')


# -- how far it is, and its end ------------------------------------------------------------------------------------


@pytest.fixture
def jobs(tmp_path):
    return Jobs(tmp_path / "jobs.sqlite3", 60, most_bytes=100)


@pytest.fixture
def clock(monkeypatch):
    """A clock that the test sets."""
    now = SimpleNamespace(time=1000.0)
    monkeypatch.setattr(job_store.time, "time", lambda: now.time)
    return now


def arrived(jobs, tmp_path, size=1):
    path = tmp_path / "arrived"
    path.write_bytes(bytes(size))
    return path


def test_a_job_says_its_frames_and_the_time_left(jobs, tmp_path, clock):
    job = jobs.add("me", "upscale", {}, arrived(jobs, tmp_path), frames=40)
    assert (job.kind, job.frames, job.frames_done, job.seconds_left) == ("clip", 40, 0, None)
    clock.time += 100  # in the queue
    claimed = jobs.claim()
    clock.time += 3
    jobs.advance(claimed, 10 / 40)
    job = jobs.get(job.id, "me")
    assert (job.frames_done, job.seconds_left) == (10, pytest.approx(9))
    jobs.release(claimed)
    clock.time += 50
    jobs.advance(jobs.claim(), 0.5)
    clock.time += 2
    assert jobs.get(job.id, "me").seconds_left == pytest.approx(2)
    picture = jobs.add("me", "upscale", {}, b"")
    assert (picture.kind, picture.frames, picture.frames_done) == ("picture", None, None)


def test_a_job_over_http_says_them_too(client, clip):
    job = add(client, clip.read_bytes())
    assert (job["kind"], job["frames"], job["frames_done"], job["seconds_left"]) == ("clip", 8, 0, None)
    state = wait_for(client, job)
    assert (state["progress"], state["frames_done"], state["seconds_left"]) == (1, 8, None)


def test_a_job_that_is_deleted_stops_and_leaves_nothing(client, service, clip, folder):
    before = set(folder.iterdir())
    with held(service) as pid:
        job = add(client, clip.read_bytes())
        wait_for(client, job, "running")
        assert client.delete(job["links"]["self"]).status_code == 204
        wait_until(lambda: not alive(pid))
    assert client.get(job["links"]["self"]).status_code == 404
    service.jobs.sweep()
    assert set(folder.iterdir()) == before
    assert result(client, clip.read_bytes()).status_code == 200, "the next worker takes up"


@contextlib.contextmanager
def held(service):
    """The worker stands still meanwhile, wherever it is in its work."""
    pid = service.pool._workers[0]._process.pid
    os.kill(pid, signal.SIGSTOP)
    try:
        yield pid
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)


def alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"


def wait_until(true):
    end = time.monotonic() + 60
    while not true():
        assert time.monotonic() < end
        time.sleep(0.05)


# -- what it takes -------------------------------------------------------------------------------------------------


def test_bytes_on_the_disk_are_shared(jobs, tmp_path):
    jobs.add("greedy", "upscale", {}, arrived(jobs, tmp_path, 30), "greedy")
    with pytest.raises(Full) as full:
        jobs.add("greedy", "upscale", {}, arrived(jobs, tmp_path, 21), "greedy")
    assert full.value.seconds == float("inf"), "no work makes room: a file has to go"
    other = jobs.add("other", "upscale", {}, arrived(jobs, tmp_path, 20), "other")
    job = jobs.claim()
    jobs.result(job.id).write_bytes(bytes(50))
    jobs.finish(job, {})
    with pytest.raises(Full):
        jobs.add("greedy", "upscale", {}, arrived(jobs, tmp_path, 1), "greedy")
    jobs.fail(jobs.claim(), "no")
    assert jobs.add("other", "upscale", {}, arrived(jobs, tmp_path, 25), "other"), "of what failed, nothing is kept"
    assert not jobs.source(other.id).exists()


def test_a_database_of_before_is_taken_up(tmp_path):
    columns = "owner TEXT, asker TEXT, seconds REAL, turn REAL, action TEXT, options TEXT, created REAL, finished REAL"
    more = "status TEXT DEFAULT 'queued', progress REAL DEFAULT 0, attempt INTEGER DEFAULT 0, lease REAL DEFAULT 0"
    old = f"CREATE TABLE jobs (id TEXT PRIMARY KEY, {columns}, {more}, error TEXT, facts TEXT DEFAULT '{{}}') STRICT"
    with contextlib.closing(sqlite3.connect(tmp_path / "jobs.sqlite3", isolation_level=None)) as database:
        database.execute(old)
        database.execute("INSERT INTO jobs (id, owner, action, options) VALUES ('a', 'me', 'upscale', '{}')")
    for _ in range(2):
        jobs = Jobs(tmp_path / "jobs.sqlite3", 60)
    assert jobs.get("a", "me").kind == "picture"
    assert jobs.add("me", "upscale", {}, arrived(jobs, tmp_path), frames=3).frames == 3


def sending(*pieces, watch=lambda: None):
    async def stream():
        for piece in pieces:
            watch()
            yield piece
        watch()

    return SimpleNamespace(headers={}, stream=stream, client=None)


def test_a_clip_that_arrives_takes_no_memory_and_what_is_refused_leaves_nothing(tmp_path):
    held = []

    async def send():
        service = Service(settings(tmp_path))
        watch = lambda: held.append((service.memory.held, service.disk.held))
        pieces = [MP4[:5], MP4[5:] + bytes(19_900), *[bytes(20_000)] * 20]
        with pytest.raises(Refusal) as refused:
            await service.add_job(sending(*pieces, watch=watch), "", "upscale", lambda kind: SimpleNamespace(kind=kind))
        assert refused.value.status == 413
        assert (service.memory.held, service.disk.held) == (0, 0)
        assert list(service.jobs.source("x").parent.iterdir()) == []

    asyncio.run(send())
    assert held[:3] == [(0, 0), (5, 0), (19_912, 19_912)]
    assert {memory for memory, _ in held[2:]} == {19_912}
    assert held[-1][1] > 350_000


def test_a_clip_may_take_longer_to_arrive(tmp_path):
    async def read(start):
        async def stream():
            yield start
            await asyncio.sleep(0.3)
            yield bytes(100)

        memory = Memory(1000, lambda size: True, seconds=0.1)
        with open(tmp_path / "file", "wb") as file:
            disk = Disk(1000, lambda size: True, file)
            request = SimpleNamespace(headers={}, stream=stream)
            kept = await bodies.read_body(request, memory, lambda start: disk if start[:8] == MP4[:8] else memory, 1000)
            return (await kept.settle()).read_bytes()

    clip = MP4 + bytes(100)
    assert asyncio.run(read(clip)) == clip + bytes(100)
    with pytest.raises(Refusal, match=r"the file did not arrive within 0\.1 seconds"):
        asyncio.run(read(bytes(100)))


def test_a_full_disk_is_no_bug_and_names_no_place(client, clip, monkeypatch):
    def full(self, piece):
        raise OSError(28, "No space left on device", "/secret/place")

    monkeypatch.setattr(Disk, "write", full)
    assert add(client, clip.read_bytes(), 503) == "there is no room to keep another job; try again later"


def test_the_description_has_clips(client):
    paths = client.get("/openapi.json").json()["paths"]
    job = paths["/v1/jobs"]["post"]
    assert set(job["requestBody"]["content"]) == {"image/*", "video/*"}
    schemas = {one["name"]: one["schema"] for one in job["parameters"]}
    assert {"codec", "frames", "effort", "seed", "action"} <= set(schemas)
    assert {"png", "mkv", "mp4", "mov"} <= set(schemas["format"]["enum"])
    assert "video/*" in paths["/v1/jobs/{job_id}/result"]["get"]["responses"]["200"]["content"]
    assert set(paths["/v1/downscale"]["post"]["requestBody"]["content"]) == {"image/*"}
    assert "mkv" in client.get("/docs").text


def test_pictures_are_still_jobs(client):
    stream = io.BytesIO()
    write(Image(np.zeros((8, 8, 3), np.uint8)), stream)
    assert result(client, stream.getvalue(), format="webp").headers["content-type"] == "image/webp"
