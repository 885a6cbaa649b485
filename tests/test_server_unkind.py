"""The service under unkind clients: greedy keys, slow bodies, pages of other sites, tiny files of large pictures."""

import ast
import asyncio
import hashlib
import io
import json
import logging
import re
import stat
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image as PIL

import unshrink
from tasks import hang_alone
from unshrink.pictures import mark as marks
from unshrink.pictures.image import Image
from unshrink.pictures.io import write
from unshrink.server import bodies, sentences, weigh, work
from unshrink.server import jobs as job_store
from unshrink.server import service as service_module
from unshrink.server.app import create_app
from unshrink.server.guard import neighbourhood
from unshrink.server.jobs import Full, Jobs
from unshrink.server.pool import Pool
from unshrink.server.refusal import Refusal
from unshrink.server.service import JOB_SECONDS, Service, Settings
from unshrink.server.shares import Shares, Speed
from unshrink.server.watch import JsonLines
from unshrink.weights import catalogue

testclient = pytest.importorskip("fastapi.testclient")
pytestmark = pytest.mark.xdist_group("server")

KEYS = ("greedy-key", "other-key")
OPTION = re.compile(r"`[a-z_]+`|(^|[ (])--[a-z]")
SPEED = 500_000  # pixels a second


def settings(folder, **changes):
    values = {
        "max_clip": 1 << 20,
        "max_seconds": 60,
        "max_body": 1 << 20,
        "max_pixels": 50_000_000,
        "queue": 16,
        "concurrency": 2,
        "threads": 1,
    }
    values |= {"timeout": 60, "keys": KEYS, "rate": 0, "jobs": folder / "state/jobs.sqlite3", "keep": 60}
    return Settings(**values | {"allow_hosts": ("testserver",)} | changes)


def asking(app, key=KEYS[0], **options):
    """A client of an application whose workers are never started."""
    return testclient.TestClient(app, headers={"Authorization": f"Bearer {key}"} if key else {}, **options)


@pytest.fixture
def app(tmp_path, monkeypatch):
    monkeypatch.setattr(service_module, "WEIGHING_SECONDS", 120)  # its process is started with the first picture
    app = create_app(settings(tmp_path))
    app.state.service.speed.note(10 * SPEED, 10)
    yield app
    app.state.service._scales.close()
    app.state.service.pool.close()


def encoded(width, height, form="webp"):
    stream = io.BytesIO()
    PIL.new("RGB", (width, height)).save(stream, form, lossless=True)
    return stream.getvalue()


def error(answer):
    assert set(answer.json()) == {"error"}
    return answer.json()["error"]


# -- greedy keys ---------------------------------------------------------------------------------------------------


def test_each_asker_may_hold_as_much_as_is_left():
    shares = Shares(8)
    with shares.hold("a") as take, shares.hold("b") as second, shares.hold("c") as third:
        assert [take(1) for _ in range(5)] == [True] * 4 + [False]
        assert [second(1) for _ in range(3)] == [True] * 2 + [False]
        assert third(1), "there is always some for the next"
    assert shares.held == 0
    assert shares._held == {}


def test_a_greedy_key_leaves_room_for_work_and_turns(tmp_path, monkeypatch):
    monkeypatch.setattr(job_store, "MOST_SECONDS", 100.0)
    jobs = Jobs(tmp_path / "jobs.sqlite3", keep=60)

    def add(asker, seconds):
        return jobs.add(asker, "upscale", {}, b"", asker, seconds)

    greedy = [add("greedy", 10) for _ in range(5)]
    with pytest.raises(Full) as full:
        add("greedy", 10)
    assert full.value.seconds == 10, "when one of its own is done"
    other = add("other", 20)
    order = [jobs.claim().id for _ in range(6)]
    assert order == [greedy[0].id, other.id, *(job.id for job in greedy[1:])]


def test_tiny_bombs_of_one_key_do_not_keep_another_out(app, tmp_path):
    bomb, ordinary = encoded(7000, 7000), encoded(200, 100)
    assert len(bomb) < 3000
    greedy, other = asking(app), asking(app, KEYS[1])
    answers = [greedy.post("/v1/jobs?action=downscale&effort=3", content=bomb) for _ in range(16)]
    taken = [answer.status_code for answer in answers].index(429)
    seconds = 49e6 * 10 / SPEED  # one of them
    assert taken == job_store.MOST_SECONDS // 2 // seconds
    assert int(answers[taken].headers["retry-after"]) == (taken + 1) * seconds - job_store.MOST_SECONDS // 2
    assert "as much work waits for you as there is room for" in error(answers[taken])
    assert other.post("/v1/jobs?action=downscale", content=ordinary).status_code == 202
    jobs = app.state.service.jobs
    assert jobs.claim().asker != jobs.claim().asker, "the second turn is the other's"


def test_waiting_is_by_turns():
    async def work():
        pool, order = Pool(1, print), []
        worker = await pool.take("greedy")

        async def wait(asker):
            order.append((asker, await pool.take(asker)))

        waiting = [asyncio.create_task(wait(asker)) for asker in ("greedy", "greedy", "other")]
        await asyncio.sleep(0)
        second = [pool._taken.pop(worker)]  # still at work for the greedy one, while another worker is idle
        pool._taken[object()] = second[0]
        pool._idle.append(worker)
        pool._hand_out()
        await asyncio.sleep(0)
        assert [asker for asker, _ in order] == ["other"]
        waiting[0].cancel()
        await asyncio.sleep(0)
        pool.give_back(worker)
        await asyncio.sleep(0)
        assert [asker for asker, _ in order] == ["other", "greedy"]
        pool.close()

    asyncio.run(work())


# -- bodies that drip ----------------------------------------------------------------------------------------------


def dripping(chunk=b"x", pause=0.02):
    async def stream():
        while True:
            yield chunk
            await asyncio.sleep(pause)

    return SimpleNamespace(headers={}, stream=stream, client=SimpleNamespace(host="10.0.0.1"))


def test_who_drips_takes_no_place_and_is_let_go(tmp_path, monkeypatch):
    monkeypatch.setattr(bodies, "FIRST_SECONDS", 0.3)

    async def drip():
        service = Service(settings(tmp_path, keys=()))
        asked = [service.answer(dripping(), "", work.upscale, work.UpscaleOptions()) for _ in range(100)]
        waiting = [asyncio.ensure_future(one) for one in asked]
        await asyncio.sleep(0.2)
        assert service.memory.held > 0
        assert service.places.held == 0, "no place before the body is there"
        answers = await asyncio.wait_for(asyncio.gather(*waiting, return_exceptions=True), 10)
        assert {(type(answer), answer.status) for answer in answers} == {(Refusal, 408)}
        assert "too slowly" in str(answers[0])
        assert service.memory.held == 0

    asyncio.run(drip())


def test_bodies_are_bounded_together_and_by_asker():
    async def read(shares):
        with shares.hold("greedy") as take:
            memory = bodies.Memory(1 << 20, take)
            with pytest.raises(Refusal) as refused:
                await bodies.read_body(dripping(bytes(1000), 0), memory, lambda start: memory, 1 << 20)
            assert refused.value.status == 429
            assert shares.held == 5000
            assert shares.room("other", 2000)

    asyncio.run(read(Shares(10_000)))


# -- pages of other sites ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("host", "status"),
    [("127.0.0.1:8000", 200), ("localhost", 200), ("[::1]:8000", 200), ("TestServer", 200)]
    + [(host, 421) for host in ("evil.example", "localhost.evil.example", "10.0.0.1", "127.0.0.1.nip.io", "", "[")],
)
def test_only_names_of_the_service_are_answered(app, host, status):
    for place in ("/", "/health", "/v1/models", "/static/app.js"):
        assert asking(app).get(place, headers={"Host": host}).status_code == status


def test_where_it_listens_everywhere_any_address_is_ours(tmp_path):
    app = create_app(settings(tmp_path), "0.0.0.0")
    for host, status in (("192.168.1.2:8000", 200), ("[fe80::1]", 200), ("evil.example", 421)):
        answer = asking(app).get("/v1/models", headers={"Host": host})
        assert answer.status_code == status
    assert not OPTION.search(error(answer))


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        ("http://127.0.0.1:8000", 200),
        ("https://testserver", 200),  # a proxy that speaks TLS and asks by the address
        ("http://127.0.0.1:3000", 403),
        ("http://evil.example", 403),
        ("null", 403),
        ("", 403),
    ],
)
def test_pages_are_judged_by_their_origin(app, origin, status):
    headers = {"Host": "127.0.0.1:8000", "Origin": origin}  # no Sec-Fetch-Site, as over HTTP to other names
    assert asking(app).get("/v1/models", headers=headers).status_code == status


def test_metrics_are_not_for_browsers(app):
    assert asking(app).get("/metrics").status_code == 200
    for header in ({"User-Agent": "Mozilla/5.0 (X11)"}, {"Origin": "http://testserver"}, {"Sec-Fetch-Site": "none"}):
        assert asking(app).get("/metrics", headers=header).status_code == 403


# -- state ---------------------------------------------------------------------------------------------------------


def test_all_that_is_kept_is_for_this_user_alone(tmp_path):
    jobs = Jobs(tmp_path / "a/b/jobs.sqlite3", keep=60)
    job = jobs.add("me", "upscale", {}, b"picture")
    jobs.write_result(job.id, b"result")
    kept = [path for path in tmp_path.rglob("*") if path != tmp_path / "a"]
    assert len(kept) >= 6
    for path in (tmp_path / "a", *kept):
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path


def test_what_others_could_read_is_closed(tmp_path):
    Jobs(tmp_path / "jobs.sqlite3", keep=60)
    (tmp_path / "jobs.sqlite3").chmod(0o644)
    (tmp_path / "jobs.sqlite3.files").chmod(0o755)
    Jobs(tmp_path / "jobs.sqlite3", keep=60)
    assert stat.S_IMODE((tmp_path / "jobs.sqlite3").stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "jobs.sqlite3.files").stat().st_mode) == 0o700


def test_keys_are_kept_as_keyed_hashes(tmp_path):
    first, again = (Service(settings(tmp_path)).owner(KEYS[0]) for _ in range(2))
    elsewhere = Service(settings(tmp_path / "elsewhere")).owner(KEYS[0])
    assert first == again, "jobs stay with their key when the service starts again"
    assert first != elsewhere
    assert first != hashlib.sha256(KEYS[0].encode()).hexdigest()


# -- tiny files of large pictures ----------------------------------------------------------------------------------


def test_what_cannot_be_done_in_time_is_refused_and_jobs_are_named(app, monkeypatch):
    service = app.state.service
    bound = service.bound(work.DownscaleOptions(), 60, "send it as a job (POST /v1/jobs)")
    assert bound.pixels == 60 * SPEED
    monkeypatch.setattr(work, "_rescalers", {})
    with pytest.raises(unshrink.ImageError, match="send it as a job") as refused:
        work.downscale(encoded(7000, 7000), work.DownscaleOptions(), bound)
    assert "7000 x 7000 pixels are more than the limit of 30,000,000; that many can be done here in 60 seconds" in str(
        refused.value
    )
    assert service.bound(work.DownscaleOptions(effort=9), 60, "").pixels == 60 * SPEED // 22
    assert service.bound(work.UpscaleOptions(), JOB_SECONDS, "").pixels == 50_000_000, "what is allowed"
    answer = asking(app).post("/v1/jobs?action=downscale&effort=9", content=encoded(16000, 6000))
    assert answer.status_code == 422
    assert "96,000,000 pixels are more than the limit of 50,000,000" in error(answer)


def test_the_speed_is_that_of_lately_and_of_pictures_that_tell_it():
    speed = Speed()
    assert speed.pixels(1) == float("inf")
    speed.note(1e6, 1)
    for _ in range(1000):
        speed.note(1000, 1)  # small: what takes the time is not the network
    assert speed.pixels(2) == pytest.approx(2e6)
    for _ in range(100):
        speed.note(1e6, 10)
    assert speed.seconds(1e6) == pytest.approx(10, rel=0.01)


def test_pictures_are_weighed_by_what_they_become(tmp_path):
    stream = io.BytesIO()
    write(Image(np.zeros((30, 40, 3), np.uint8)), stream)
    plain = stream.getvalue()
    assert weigh.downscaled(plain) == 1200
    assert weigh.downscaled(b"no picture") == 0
    assert weigh.upscaled(plain, "irn-x4", 10**6) == 16 * 1200
    assert weigh.upscaled(plain, None, 10**6) == 1200, "no record: refused by whoever does the job"
    small = io.BytesIO()
    unshrink.write(unshrink.load("irn-x2").downscale(Image(np.zeros((30, 40, 3), np.uint8))), small)
    assert weigh.upscaled(small.getvalue(), None, 10**6) == 1200
    marked, entry = io.BytesIO(), next(row for row in catalogue.ENTRIES if row.scale == 4)
    noise = np.random.default_rng(0).integers(0, 256, (200, 240, 3), np.uint8)
    write(Image(marks.embed(noise, marks.Mark(entry.number, (0, 0)))), marked)
    assert weigh.upscaled(marked.getvalue(), None, 10**7) == 16 * 200 * 240


# -- proxies, HEAD, caches, logs -----------------------------------------------------------------------------------


def logged(caplog):
    lines = [json.loads(JsonLines().format(record)) for record in caplog.records if record.name == "unshrink.server"]
    return [line for line in lines if line["event"] == "request"]


def test_only_named_proxies_say_who_asks(tmp_path, caplog):
    caplog.set_level(logging.INFO, "unshrink.server")
    forwarded = {"X-Forwarded-For": "6.6.6.6, 203.0.113.7, 10.0.0.9"}
    for proxies, peer, client in (
        ((), "127.0.0.1", "127.0.0.1"),
        (("127.0.0.1", "10.0.0.0/8"), "127.0.0.1", "203.0.113.7"),
        (("10.0.0.0/8",), "127.0.0.1", "127.0.0.1"),
    ):
        app = create_app(settings(tmp_path, rate=1, proxies=proxies))
        asking(app, client=(peer, 1)).get("/v1/models", headers=forwarded)
        assert logged(caplog)[-1]["client"] == client
        assert logged(caplog)[-1]["key"] == app.state.service.owner(KEYS[0])[:8]
        assert KEYS[0] not in caplog.text
    with pytest.raises(unshrink.ConfigError, match="no address of a proxy"):
        create_app(settings(tmp_path, proxies=("nonsense",)))


def test_an_asker_is_all_that_one_client_can_call_itself():
    assert neighbourhood("10.0.0.1") == neighbourhood("::ffff:10.0.0.1") == "10.0.0.1"
    assert neighbourhood("2001:db8::1") == neighbourhood("2001:db8::2:0:0:9") == "2001:db8::/64"
    assert neighbourhood("2001:db8:0:1::1") != neighbourhood("2001:db8::1")
    assert neighbourhood("testclient") == "testclient"


def test_a_head_that_takes_too_long_is_refused_and_the_next_is_weighed(tmp_path, monkeypatch):
    async def ask():
        service = Service(settings(tmp_path))
        await service._ready_to_weigh()
        with monkeypatch.context() as patched:
            patched.setattr(service_module, "WEIGHING_SECONDS", 0.2)
            patched.setattr(weigh, "downscaled", hang_alone)
            with pytest.raises(Refusal, match="cannot be read within") as refused:
                await service._weigh(b"", "a", work.DownscaleOptions())
            assert refused.value.status == 422
        await service._weighing_again
        assert await service._weigh(encoded(100, 100), "a", work.DownscaleOptions()) == 1
        service._scales.close()

    asyncio.run(ask())


def test_the_rate_counts_addresses_not_claims(tmp_path, monkeypatch):
    monkeypatch.setattr(service_module, "WEIGHING_SECONDS", 120)
    client = asking(create_app(settings(tmp_path, keys=(), rate=1)), None, client=("127.0.0.1", 1))
    statuses = [
        client.post("/v1/jobs?action=upscale", content=b"", headers={"X-Forwarded-For": f"1.1.1.{n}"}).status_code
        for n in range(2)
    ]
    assert statuses == [202, 429]


def test_links_hold_behind_a_prefix(tmp_path, monkeypatch):
    monkeypatch.setattr(service_module, "WEIGHING_SECONDS", 120)
    app = create_app(settings(tmp_path, proxies=("127.0.0.1",)))
    client = asking(app, client=("127.0.0.1", 1))
    prefix = {"X-Forwarded-Prefix": "/pictures/"}
    job = client.post("/v1/jobs?action=upscale", content=b"", headers=prefix).json()
    assert job["links"]["self"] == f"/pictures/v1/jobs/{job['id']}"
    here = job["links"]["self"].removeprefix("/pictures")  # as the proxy passes it on
    assert client.get(here, headers=prefix).json()["links"] == job["links"]
    assert client.get("/static/app.js", headers=prefix).status_code == 200
    assert client.get("/", headers=prefix).status_code == 200
    other = asking(app, client=("10.1.1.1", 1)).get(here, headers=prefix)
    assert other.json()["links"]["self"] == here


@pytest.mark.parametrize("place", ["/", "/docs", "/openapi.json", "/health", "/v1/models", "/static/app.js"])
def test_head_is_get_without_the_body(app, place):
    get, head = (asking(app).request(method, place) for method in ("GET", "HEAD"))
    assert (head.status_code, head.content) == (200, b"")
    same = ("content-type", "content-length", "cache-control", "etag")
    assert [head.headers.get(name) for name in same] == [get.headers.get(name) for name in same]
    assert head.headers["cache-control"] == ("no-cache" if place in ("/", "/static/app.js") else "no-store")


# -- texts ---------------------------------------------------------------------------------------------------------


def test_a_form_is_told_what_to_send(app):
    for place in ("downscale", "jobs?action=upscale"):
        answer = asking(app).post(f"/v1/{place}", files={"file": b"picture"})
        assert answer.status_code == 415
        assert "send the picture itself as the body: curl --data-binary @photo.jpg" in error(answer)


def sentences_of_the_library():
    """All texts with an option in them, of the rooms that the workers of the service use."""
    source = Path(unshrink.__file__).parent
    rooms = [path for room in ("pictures", "weights", "runtime", "video") for path in (source / room).rglob("*.py")]
    for path in (*rooms, source / "files.py", source / "batch/rescale.py"):
        tree = ast.parse(path.read_text())
        documented = ast.Module | ast.ClassDef | ast.FunctionDef
        nodes = list(ast.walk(tree))
        documentation = {ast.get_docstring(node, clean=False) for node in nodes if isinstance(node, documented)}
        texts = {node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)}
        yield from (text for text in texts - documentation if OPTION.search(text))


def test_no_sentence_speaks_of_the_command_line():
    found = list(sentences_of_the_library())
    assert len(found) > 4
    for sentence in found:
        said = sentences.in_http(f"something is wrong; {sentence}", work.PARAMETERS, "it is too large")
        assert not OPTION.search(said), said


def test_advice_names_parameters():
    def said(sentence):
        return sentences.in_http(sentence, work.PARAMETERS, "send it as a job")

    assert said("a b; write .png, or allow the loss (`lossy`)") == "a b; write .png, or allow the loss (lossy=true)"
    assert (
        said("no record; name weights with `model` to enlarge")
        == "no record; name weights with the option model to enlarge"
    )
    assert said("9 x 9 are more than 3; raise it with `max_pixels`") == "9 x 9 are more than 3; send it as a job"
    assert said("too slow; use backend openvino, or not `tile`") == "too slow"
