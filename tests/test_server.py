"""The service in process: its routes, its limits, its jobs; its workers are processes as they are in earnest."""

import asyncio
import dataclasses
import io
import json
import logging
import os
import re
import time
from types import SimpleNamespace

import numpy as np
import pytest

from tasks import hang, nothing
from unshrink.batch.worker import Bug, Worker, WorkerDied
from unshrink.cli import main as cli
from unshrink.errors import ImageError, UnshrinkError
from unshrink.pictures import mark as marks
from unshrink.pictures import metrics
from unshrink.pictures import record as provenance
from unshrink.pictures.colour import over_white
from unshrink.pictures.image import Image
from unshrink.pictures.io import read, write
from unshrink.server import jobs as job_store
from unshrink.server import shares, work
from unshrink.server.app import create_app
from unshrink.server.jobs import Full, Jobs
from unshrink.server.options import Options
from unshrink.server.pool import Pool
from unshrink.server.refusal import Refusal
from unshrink.server.service import DIED, STOPPING, Service, Settings
from unshrink.server.shares import Rate
from unshrink.server.watch import BUG, JsonLines

testclient = pytest.importorskip("fastapi.testclient")
KEYS = ("first-key", "second-key")
MAX_BODY, MAX_PIXELS = 100_000, 20_000
OPTIONS = Options()

pytestmark = pytest.mark.xdist_group("server")  # one worker, which starts the service once


def settings(folder, **changes):
    values = {
        "max_body": MAX_BODY,
        "max_pixels": MAX_PIXELS,
        "max_clip": 4 * MAX_BODY,
        "max_seconds": 10,
        "queue": 2,
        "concurrency": 1,
        "threads": 1,
        "timeout": 60,
        "keys": KEYS,
        "rate": 0,
        "jobs": folder / "jobs.sqlite3",
        "keep": 60,
        "allow_hosts": ("testserver",),
    }
    return Settings(**values | changes)


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    app = create_app(settings(tmp_path_factory.mktemp("state")))
    with testclient.TestClient(app, headers={"Authorization": f"Bearer {KEYS[0]}"}) as client:
        yield client


@pytest.fixture
def service(client):
    return client.app.state.service


def photo(channels=3, dtype=np.uint8, width=37, height=29, **metadata):
    y, x = np.mgrid[:height, :width]
    planes = [x / width, y / height, (x + y) / (width + height), x * y / (width * height)]
    return Image((np.stack(planes[:channels], axis=2) * np.iinfo(dtype).max).astype(dtype), **metadata)


def encoded(image, form="png"):
    stream = io.BytesIO()
    write(image, stream, format=form, lossy=True)
    return stream.getvalue()


def ask(client, place, body, expect=200, /, **options):
    answer = client.post(f"/v1/{place}", content=body, params=options)
    assert answer.status_code == expect, answer.text
    return answer


def error(answer):
    assert set(answer.json()) == {"error"}
    return answer.json()["error"]


def same_as_command(tmp_path, command, body, options):
    """What the command line makes of the same picture with the same options."""
    (tmp_path / "in").write_bytes(body)
    flags = [f"--{name}" if value is True else f"--{name}={value}" for name, value in options.items()]
    out = tmp_path / f"out.{options.get('format', 'png')}"
    assert cli.main([command, str(tmp_path / "in"), "-o", str(out), "-q", "--overwrite", *flags]) == 0
    return out.read_bytes()


# -- pictures ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("image", "options"),
    [
        (photo(), {}),
        (photo(), {"scale": 2, "format": "webp"}),
        (photo(4), {"effort": 1, "model": "irn-x2"}),
        (photo(1, np.uint16, xmp=b"<x/>", dpi=(72.0, 72.0)), {"strip": True, "format": "tiff"}),
        (photo(3, np.uint16), {"depth": 8, "verify": True}),
    ],
    ids=["plain", "webp", "effort", "strip", "depth"],
)
def test_the_bytes_are_those_of_the_command_line(client, tmp_path, image, options):
    body = encoded(image, "tiff")
    small = ask(client, "downscale", body, **options)
    assert small.content == same_as_command(tmp_path, "downscale", body, options)
    large = ask(client, "upscale", small.content)
    assert large.content == same_as_command(tmp_path, "upscale", small.content, {})
    assert read(large.content).size == image.size


def test_what_is_to_be_known_is_in_the_headers(client):
    small = ask(client, "downscale", encoded(photo()), format="webp")
    assert small.headers["content-type"] == "image/webp"
    assert small.headers["x-unshrink-model"] == "irn-x2"
    assert small.headers["x-unshrink-scale"] == "2"
    assert small.headers["x-unshrink-size"] == "37x29"
    assert float(small.headers["x-unshrink-seconds"]) > 0
    assert small.headers["content-disposition"] == 'attachment; filename="picture_x2.webp"'
    assert "x-unshrink-notes" not in small.headers
    large = ask(client, "upscale", small.content, format="jpeg")
    assert large.headers["content-disposition"] == 'attachment; filename="picture_restored.jpg"'
    assert large.headers["x-unshrink-size"] == "19x15"


def test_a_picture_for_a_site_is_that_of_the_command_line(client, tmp_path):
    body = encoded(photo(width=130, height=110), "tiff")
    small = ask(client, "downscale", body, site="deltachat", scale=2)
    assert small.headers["content-type"] == "image/jpeg"
    assert small.headers["content-disposition"] == 'attachment; filename="picture_x2.jpg"'
    assert small.headers["x-unshrink-quality"] == "95, 4:4:4"
    assert small.headers["x-unshrink-arrives"] == "deltachat: passed on as it is"
    asked = {"site": "deltachat", "scale": 2}
    (tmp_path / "in").write_bytes(body)
    assert cli.main(["downscale", str(tmp_path / "in"), "-o", str(tmp_path / "a.jpg"), "--site=deltachat", "-s2"]) == 0
    assert small.content == (tmp_path / "a.jpg").read_bytes()
    job = ask(client, "jobs", body, 202, action="downscale", **asked).json()
    assert wait_for(client, job)["status"] == "done"
    result = client.get(job["links"]["result"])
    assert result.content == small.content
    for name in ("content-type", "content-disposition", "x-unshrink-quality", "x-unshrink-arrives"):
        assert result.headers[name] == small.headers[name]


def test_marks_are_made_and_left_out(client, service, monkeypatch):
    monkeypatch.setattr(service, "settings", dataclasses.replace(service.settings, max_pixels=50_000))
    body = encoded(photo(width=220, height=210))
    marked, plain = (ask(client, "downscale", body, mark=mark).content for mark in (True, False))
    assert marks.read(read(plain).pixels) is None
    assert marks.read(read(marked).pixels).cut == (0, 0)
    assert plain == ask(client, "downscale", body).content
    bare = encoded(read(marked).strip())
    assert read(ask(client, "upscale", bare).content).size == (220, 210)


def test_options_that_contradict_each_other_are_no_job(client):
    message = error(ask(client, "jobs", encoded(photo()), 422, action="downscale", site="signal", fit=20))
    assert "sites without another size" in message


def test_every_site_is_in_the_description(client):
    operation = client.get("/openapi.json").json()["paths"]["/v1/downscale"]["post"]
    parameters = {one["name"]: one["schema"] for one in operation["parameters"]}
    assert set(parameters["site"]["enum"]) >= {"telegram", "whatsapp"}
    assert {"mark", "quality", "chroma", "max_bytes", "fit", "max_pixels_out"} <= set(parameters)
    assert "telegram, telegram-android" in client.get("/docs").text


def test_what_comes_back_is_measured_if_asked_for(client):
    plain, small = (ask(client, "downscale", encoded(photo()), verify=verify) for verify in (False, True))
    assert small.content == plain.content
    restored = over_white(read(ask(client, "upscale", small.content).content))
    assert small.headers["x-unshrink-psnr-y"] == f"{metrics.psnr_y(over_white(photo()), restored, 2):.2f}"
    assert small.headers["x-unshrink-psnr-rgb"] == f"{metrics.psnr(over_white(photo()), restored, 2):.2f}"
    assert "x-unshrink-psnr-y" not in plain.headers


def test_a_changed_small_picture_is_noted(client):
    small = read(ask(client, "downscale", encoded(photo())).content)
    small.pixels[0, 0, 0] ^= 1
    assert "its pixels were changed" in ask(client, "upscale", encoded(small)).headers["x-unshrink-notes"]
    assert "x-unshrink-notes" not in ask(client, "downscale", encoded(photo())).headers


def test_compare_gives_figures_and_null_for_exact(client):
    figures = ask(client, "compare", encoded(photo())).json()
    assert figures["size"] == [37, 29]
    assert figures["small_size"] == [19, 15]
    assert figures["bytes"] == len(encoded(photo()))
    assert figures["unshrink"]["psnr_y"] > 20
    assert 0 < figures["lanczos"]["ssim_y"] <= 1
    assert figures["unshrink"]["psnr_cb"] > 20
    assert 0 < figures["bicubic"]["colour_error"] < figures["bicubic"]["colour_error_99"]
    assert figures["seconds"] > 0
    black = Image(np.zeros((32, 32, 3), np.uint8))
    assert ask(client, "compare", encoded(black)).json()["bicubic"]["psnr_y"] is None


# -- refusals ------------------------------------------------------------------------------------------------------


def sentence_of(*args, **options):
    with pytest.raises(UnshrinkError) as caught:
        read(*args, **options)
    return str(caught.value)


def test_what_is_wrong_is_said_in_the_words_of_the_library(client):
    cut = encoded(photo())[:-40]
    for body in (b"no picture", b"", cut):
        assert error(ask(client, "downscale", body, 422)) == sentence_of(body)
    wide = encoded(Image(np.zeros((10, 2001, 1), np.uint8)))
    assert error(ask(client, "downscale", wide, 422)) == (
        "cannot read the picture: 2001 x 10 pixels are more than the limit of 20,000; this service takes no larger ones"
    )
    assert "has no record of unshrink" in error(ask(client, "upscale", encoded(photo()), 422))


def test_a_clip_is_refused_in_one_line(client):
    for start in (b"\0\0\0\x20ftypisom", b"\x1aE\xdf\xa3\x93B\x82\x88matroska"):
        for size, place in ((100, "downscale"), (100, "upscale"), (100, "compare"), (MAX_BODY, "downscale")):
            said = error(ask(client, place, start + bytes(size), 422))
            assert said.startswith(
                "it is a video clip and not a picture; clips are done as jobs: POST /v1/jobs?action="
            )


def test_pixels_that_would_come_out_are_counted_too(client):
    fits = encoded(Image(np.zeros((50, 100, 1), np.uint8)))
    assert read(ask(client, "upscale", fits, model="irn-x2").content).size == (200, 100)
    over = encoded(Image(np.zeros((50, 101, 1), np.uint8)))
    message = error(ask(client, "upscale", over, 422, model="irn-x2"))
    assert message.startswith("the picture would become 202 x 100 pixels, more than the limit of 20,000")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"effort": 10}, "effort: Input should be less than or equal to 9"),
        ({"depth": 12}, "depth: Input should be a multiple of 8"),
        ({"colour": "blue"}, "colour: Extra inputs are not permitted"),
        ({"model": "../../etc/passwd"}, "model: String should match"),
        ({"model": "irn-x5"}, "no weights named 'irn-x5'"),
        ({"scale": 9}, "scale: Input should be less than or equal to 8"),
        (
            {"scale": 4, "model": "irn-x2"},
            "scale 4 contradicts the model: irn-x2 makes pictures 3 times smaller at most",
        ),
        ({"fit": "1280x"}, "fit: Value error, must be a side or WIDTHxHEIGHT"),
        ({"fit": 0}, "fit: Value error, must be a side or WIDTHxHEIGHT"),
        ({"quality": 0}, "quality: Input should be greater than or equal to 1"),
        ({"quality": 101}, "quality: Input should be less than or equal to 100"),
        ({"quality": 80}, "png keeps every value: quality and chroma are for webp, jpeg, avif"),
        ({"chroma": "4:1:1"}, "chroma: Input should be '4:2:0' or '4:4:4'"),
        ({"max_bytes": 0}, "max_bytes: Input should be greater than or equal to 1"),
        ({"max_bytes": 50}, "the smallest possible has"),
        ({"max_pixels_out": 0}, "max_pixels_out: Input should be greater than or equal to 1"),
        ({"scale": 2, "fit": 20}, "scale and fit contradict each other"),
        ({"fit": 5000}, "fits into 5000x5000 already"),
        ({"format": "jpeg", "scale": 8}, "jpeg changes values"),
        ({"format": "gif"}, "cannot write the format 'gif'; allowed are png, webp"),
        ({"site": "telegramm"}, "no site named 'telegramm': did you mean telegram?"),
        ({"site": "telegram", "fit": 20}, "sites without another size of small pictures"),
        ({"site": "telegram"}, "Telegram Desktop does not resize 37x29 pixels"),
        ({"mark": "perhaps"}, "mark: Input should be a valid boolean"),
    ],
)
def test_wrong_options_are_refused(client, options, message):
    assert message in error(ask(client, "downscale", encoded(photo()), 422, **options))


def test_bodies_are_limited(client):
    assert "larger than the limit of 100,000 bytes" in error(ask(client, "downscale", bytes(MAX_BODY + 1), 413))
    assert "larger" in error(ask(client, "downscale", iter([bytes(60_000)] * 2), 413))  # without its length
    ask(client, "downscale", bytes(MAX_BODY), 422)


def test_a_full_service_says_when_to_come_again(client, service, monkeypatch):
    mine, other = (service.owner(key) for key in KEYS)
    monkeypatch.setattr(service, "_usual", 5.0)
    with service.places.hold(mine) as take:
        assert take(3)  # one at work, two waiting
        assert not take(1)
        for action in ("downscale", "compare", "jobs?action=upscale"):
            answer = client.post(f"/v1/{action}", content=b"")
            assert answer.status_code == 429
            assert answer.headers["retry-after"] == "15"
            assert "try again in 15 seconds" in error(answer)
        assert service.places.held == 3
        assert service.places.room(other, 1), "another key is not kept waiting"
        theirs = {"Authorization": f"Bearer {KEYS[1]}"}
        assert client.post("/v1/downscale", content=b"", headers=theirs).status_code == 422
        assert client.get("/health").json() == {"status": "alive"}
    assert service.places.held == 0


def test_more_pictures_a_minute_than_allowed_are_refused(client, service, monkeypatch):
    monkeypatch.setattr(service, "rate", Rate(2))
    for _ in range(2):
        ask(client, "downscale", b"", 422)
    answer = ask(client, "jobs", b"", 429, action="downscale")
    assert 25 <= int(answer.headers["retry-after"]) <= 30
    assert client.get("/v1/models").status_code == 200
    other = {"Authorization": f"Bearer {KEYS[1]}"}
    assert client.post("/v1/downscale", content=b"", headers=other).status_code == 422


def test_the_rate_is_held_and_whoever_is_gone_is_forgotten(monkeypatch):
    now = SimpleNamespace(time=0.0)
    monkeypatch.setattr(shares.time, "monotonic", lambda: now.time)
    rate, taken = Rate(30), 0
    while now.time < 600:
        taken += not rate.wait("a")
        now.time += 0.25
    assert taken in (329, 330)  # a minute's worth at once, and as many again in each of ten minutes
    assert 1 <= (rate.wait("a") or rate.wait("a")) <= 2
    now.time += 1000
    assert not rate.wait("b")
    assert set(rate._full) == {"b"}


def test_a_stopping_service_takes_no_more(client, service):
    assert client.get("/ready").json() == {"status": "ready"}
    service.stopping.set()
    try:
        assert client.get("/ready").status_code == 503
        assert "stopping" in error(ask(client, "upscale", b"", 503))
        assert client.get("/health").status_code == 200
    finally:
        service.stopping.clear()


@pytest.mark.parametrize("header", [{}, {"Authorization": "Bearer wrong"}, {"Authorization": "Basic first-key"}])
@pytest.mark.parametrize("place", ["/v1/models", "/v1/jobs/x", "/metrics"])
def test_keys_are_asked_for(client, place, header):
    client.headers.pop("authorization")
    try:
        answer = client.get(place, headers=header)
    finally:
        client.headers["authorization"] = f"Bearer {KEYS[0]}"
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == "Bearer"
    assert "Authorization: Bearer KEY" in error(answer)


def test_pages_of_other_sites_are_refused(client):
    for site, status in (("cross-site", 403), ("same-site", 403), ("same-origin", 200), ("none", 200)):
        assert client.get("/v1/models", headers={"Sec-Fetch-Site": site}).status_code == status
    assert (
        "access-control-allow-origin" not in client.get("/v1/models", headers={"Origin": "https://a.example"}).headers
    )


def test_a_bug_is_logged_and_its_picture_is_not(client, monkeypatch, caplog):
    def fail(*args):
        raise Bug("Traceback: it broke")

    monkeypatch.setattr(Worker, "run", fail)
    caplog.set_level(logging.INFO, "unshrink.server")
    assert error(ask(client, "downscale", b"my secret picture", 500)) == BUG
    lines = [json.loads(JsonLines().format(record)) for record in caplog.records]
    assert [line["event"] for line in lines] == ["bug", "request"]
    assert "it broke" in lines[0]["traceback"]
    assert lines[1]["route"] == "/v1/downscale"
    assert (lines[1]["status"], lines[1]["bytes_in"]) == (500, 17)
    assert "secret" not in json.dumps(lines)
    assert KEYS[0] not in json.dumps(lines)


@pytest.mark.parametrize(("fault", "message"), [(TimeoutError(), "longer than 60 seconds"), (WorkerDied(), DIED)])
def test_a_worker_that_hangs_or_dies_costs_one_request(client, monkeypatch, fault, message):
    def fail(*args):
        raise fault

    monkeypatch.setattr(Worker, "run", fail)
    assert message in error(ask(client, "downscale", encoded(photo()), 503))


# -- pages ---------------------------------------------------------------------------------------------------------


def test_every_answer_is_strict(client):
    for place in ("/health", "/v1/models", "/docs", "/openapi.json", "/static/docs.css", "/nowhere"):
        headers = client.get(place).headers
        assert headers["content-security-policy"].startswith("default-src 'self';")
        assert headers["x-content-type-options"] == "nosniff"


def test_the_documentation_loads_nothing_from_elsewhere(client):
    page = client.get("/docs").text
    assert "<script" not in page
    assert "<style" not in page
    assert re.findall(r'(?:href|src)="([^"]*)"', page) == ["/static/docs.css", "/openapi.json"]
    for path in client.get("/openapi.json").json()["paths"]:
        assert path in page


def test_models_lists_the_installed_weights(client):
    models = {model["name"]: model for model in client.get("/v1/models").json()["models"]}
    assert models["irn-x4"] == {
        "name": "irn-x4",
        "scale": 4,
        "default": True,
        "lossy": False,
        "licence": "Apache-2.0",
        "figures": models["irn-x4"]["figures"],
    }
    assert models["irn-x4"]["figures"]["Set5 PSNR-Y"] > 30
    assert {name for name, model in models.items() if model["default"]} == {"irn-x2", "irn-x3", "irn-x4", "irn-x8"}


def test_metrics_count_requests_by_route(client):
    client.get("/v1/jobs/nowhere")
    text = client.get("/metrics").text
    assert re.search(r'unshrink_requests_total\{route="/v1/jobs/{job_id}",status="404"\} [1-9]', text)
    assert 'unshrink_request_seconds_bucket{le="+Inf",route="/v1/models"}' in text
    assert "unshrink_inside 0.0" in text


# -- jobs over HTTP ------------------------------------------------------------------------------------------------


def wait_for(client, job):
    for _ in range(600):
        state = client.get(job["links"]["self"]).json()
        if state["status"] in ("done", "failed"):
            return state
        time.sleep(0.05)
    raise AssertionError(state)


def test_a_job_gives_the_same_picture(client):
    body = encoded(photo(4))
    job = ask(client, "jobs", body, 202, action="downscale", format="webp").json()
    assert re.fullmatch("[0-9a-f]{32}", job["id"])
    assert (job["status"], job["progress"], job["error"]) == ("queued", 0, None)
    state = wait_for(client, job)
    assert (state["status"], state["progress"]) == ("done", 1)
    result = client.get(job["links"]["result"])
    direct = ask(client, "downscale", body, format="webp")
    assert result.content == direct.content
    for name in ("content-type", "content-disposition", "x-unshrink-size", "x-unshrink-model"):
        assert result.headers[name] == direct.headers[name]
    back = ask(client, "jobs", result.content, 202, action="upscale").json()
    assert wait_for(client, back)["status"] == "done"
    assert read(client.get(back["links"]["result"]).content).size == (37, 29)


def test_a_job_that_fails_says_why(client):
    job = ask(client, "jobs", b"no picture", 202, action="upscale").json()
    assert wait_for(client, job)["error"] == sentence_of(b"no picture")
    answer = client.get(job["links"]["result"])
    assert (answer.status_code, error(answer)) == (422, sentence_of(b"no picture"))


def test_a_job_belongs_to_its_key_and_can_be_deleted(client, service):
    job = ask(client, "jobs", encoded(photo()), 202, action="downscale").json()
    other = {"Authorization": f"Bearer {KEYS[1]}"}
    for answer in (
        client.get(job["links"]["self"], headers=other),
        client.get(job["links"]["result"], headers=other),
        client.delete(job["links"]["self"], headers=other),
    ):
        assert (answer.status_code, error(answer)) == (404, "there is no such job, or no longer")
    assert wait_for(client, job)["status"] == "done"
    assert client.delete(job["links"]["self"]).status_code == 204
    assert client.get(job["links"]["result"]).status_code == 404
    assert not service.jobs.result(job["id"]).exists()


def test_a_result_is_there_when_the_job_is_done(client, service, monkeypatch):
    monkeypatch.setattr(Jobs, "claim", lambda self: None)
    job = ask(client, "jobs", encoded(photo()), 202, action="downscale").json()
    answer = client.get(job["links"]["result"])
    assert (answer.status_code, error(answer)) == (409, "the job is queued; its result is there when it is done")
    assert client.delete(job["links"]["self"]).status_code == 204


def test_a_job_takes_the_options_of_its_action(client):
    for action, option in (("downscale", "seed"), ("upscale", "effort"), ("downscale", "frames"), ("upscale", "codec")):
        value = {"frames": "0:1", "codec": "h264"}.get(option, 1)
        said = error(ask(client, "jobs", b"", 422, action=action, **{option: value}))
        assert said == f"{option}: there is no such option to {action} a picture"
    assert "action: Field required" in error(ask(client, "jobs", b"", 422))


# -- the store of jobs ---------------------------------------------------------------------------------------------


@pytest.fixture
def jobs(tmp_path):
    return Jobs(tmp_path / "jobs.sqlite3", keep=60)


@pytest.fixture
def clock(monkeypatch):
    """A clock that the test sets."""
    now = SimpleNamespace(time=1000.0)
    monkeypatch.setattr(job_store.time, "time", lambda: now.time)
    return now


def test_jobs_are_taken_in_their_order_and_once(jobs, clock):
    made = []
    for _ in range(3):
        made.append(jobs.add("me", "upscale", {"seed": 1}, b"picture").id)
        clock.time += 1
    assert [jobs.claim().id for _ in range(3)] == made
    assert jobs.claim() is None
    assert jobs.source(made[0]).read_bytes() == b"picture"


def test_a_job_whose_lease_ends_is_taken_again_and_counts_once(jobs, clock):
    jobs.add("me", "upscale", {}, b"")
    first = jobs.claim()
    clock.time += job_store.LEASE - 1
    jobs.renew(first)
    clock.time += job_store.LEASE - 1
    assert jobs.claim() is None
    clock.time += 2
    second = jobs.claim()
    assert (second.id, second.attempt) == (first.id, 2)
    jobs.advance(first, 0.7)  # whoever has lost the lease changes nothing
    jobs.fail(first, "late")
    assert jobs.get(first.id, "me").status == "running"
    assert jobs.get(first.id, "me").progress == 0
    assert jobs.source(first.id).exists()
    jobs.advance(second, 0.5)
    assert jobs.get(first.id, "me").progress == 0.5
    jobs.finish(second, {"scale": 2})
    jobs.fail(second, "twice")
    done = jobs.get(first.id, "me")
    assert (done.status, done.progress, done.error, done.facts) == ("done", 1, None, {"scale": 2})
    assert not jobs.source(first.id).exists()


def test_a_released_job_is_taken_at_once_and_has_lost_no_attempt(jobs):
    jobs.add("me", "upscale", {}, b"")
    jobs.release(jobs.claim())
    assert jobs.claim().attempt == 1


def test_a_picture_that_ends_the_service_three_times_is_given_up(jobs, clock):
    job = jobs.add("me", "upscale", {}, b"")
    for _ in range(3):
        assert jobs.claim().id == job.id
        clock.time += job_store.LEASE + 1
    assert jobs.claim() is None
    assert jobs.get(job.id, "me").error == "the service ended 3 times while it worked on this picture"


def test_results_expire_and_strays_are_removed(jobs, clock, tmp_path):
    job = jobs.add("me", "upscale", {}, b"")
    waiting = jobs.add("me", "upscale", {}, b"")
    taken = jobs.claim()
    assert taken.id == job.id
    jobs.result(job.id).write_bytes(b"result")
    jobs.finish(taken, {})
    stray, fresh = jobs.source("stray"), jobs.source("fresh")
    for path, age in ((stray, job_store.STRAY + 1), (fresh, 0)):
        path.write_bytes(b"")
        os.utime(path, (clock.time - age, clock.time - age))
    clock.time += 59
    jobs.sweep()
    assert jobs.get(job.id, "me") is not None
    clock.time += 2
    jobs.sweep()
    assert jobs.get(job.id, "me") is None
    assert {path.name for path in stray.parent.iterdir()} == {f"{waiting.id}.in", "fresh.in"}


def test_there_are_so_many_jobs_and_no_more(jobs, monkeypatch):
    monkeypatch.setattr(job_store, "MOST_JOBS", 2)
    job = jobs.add("me", "upscale", {}, b"")
    with pytest.raises(Full) as full:
        jobs.add("me", "upscale", {}, b"")
    assert full.value.seconds == float("inf"), "no work makes room: a result has to go"
    assert len(list(jobs.source("x").parent.iterdir())) == 1
    jobs.delete(job.id, "me")
    assert jobs.add("me", "upscale", {}, b"")


def test_pictures_are_for_this_user_alone(jobs):
    assert jobs.source("x").parent.stat().st_mode & 0o777 == 0o700


# -- the queue -------------------------------------------------------------------------------------------------------


async def silent():
    await asyncio.sleep(600)


def request(receive=silent):
    async def stream():
        yield b"picture"

    return SimpleNamespace(headers={}, stream=stream, receive=receive, client=None)


def refused(refusal):
    return refusal.status, str(refusal)


def test_who_goes_or_waits_too_long_leaves_the_queue(tmp_path):
    async def gone():
        return {"type": "http.disconnect"}

    async def wait():
        service = Service(settings(tmp_path, timeout=0.1))
        worker = await service.pool.take("another")
        for receive, stopped, status in ((gone, False, 499), (silent, False, 503), (silent, True, 503)):
            (service.stopped.set if stopped else service.stopped.clear)()
            with pytest.raises(Refusal) as caught:
                await service.answer(request(receive), "", hang, OPTIONS)
            assert caught.value.status == status
        service.pool.give_back(worker)
        assert await service.pool.take() is worker
        assert service.places.held == 0
        service.pool.close()

    asyncio.run(wait())


def test_work_ends_when_its_client_goes(tmp_path):
    async def work():
        service = Service(settings(tmp_path))
        service.pool = Pool(1, nothing)
        worker = await service.pool.take()
        pid = await service.pool.run(worker, 60, os.getpid)

        async def goes():
            await asyncio.sleep(0.2)
            return {"type": "http.disconnect"}

        with pytest.raises(Refusal) as caught:
            await service.answer(request(goes), "", hang, OPTIONS)
        assert refused(caught.value) == (499, "the client has gone")
        assert await asyncio.wait_for(service.pool.take(), 10) is worker
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
        service.pool.close()

    asyncio.run(work())


def test_what_is_not_finished_in_time_is_refused_at_the_end(tmp_path):
    async def end():
        service = Service(settings(tmp_path))
        service.pool = Pool(1, nothing)
        answers = [asyncio.create_task(service.answer(request(), "", hang, OPTIONS)) for _ in range(2)]
        await asyncio.sleep(0.1)
        assert service.places.held == 2
        await service.drain(0.1)
        return await asyncio.gather(*answers, return_exceptions=True)

    for refusal in asyncio.run(end()):
        assert refused(refusal) == (503, STOPPING)


# -- the command ---------------------------------------------------------------------------------------------------


def test_without_the_extra_the_command_says_what_to_install(monkeypatch, capsys):
    monkeypatch.setitem(__import__("sys").modules, "uvicorn", None)
    monkeypatch.delitem(__import__("sys").modules, "unshrink.server.run", raising=False)
    assert cli.main(["serve"]) == 1
    assert 'pip install "unshrink[server]"' in capsys.readouterr().err


def test_a_record_that_is_not_ours_is_noted(client):
    small = read(ask(client, "downscale", encoded(photo())).content)
    record, bare = provenance.extract(small)
    assert record.model == "irn-x2"
    assert "no record" in ask(client, "upscale", encoded(bare), model="irn-x2").headers["x-unshrink-notes"]


def test_memory_is_given_back_after_every_picture_even_a_bad_one(monkeypatch):
    released = []
    backend = SimpleNamespace(release=lambda: released.append(True))
    monkeypatch.setattr(work, "_limits", work.Limits(threads=1, workers=1), raising=False)
    monkeypatch.setattr(work, "_rescalers", {"irn-x2": SimpleNamespace(backend=backend)})
    with pytest.raises(ImageError):
        work.downscale(b"no picture", work.DownscaleOptions(), work.Bound(100, ""))
    assert released == [True]
