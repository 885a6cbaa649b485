"""The page of the service in a real browser: everything that it shows, and that nothing leaves the machine."""

import base64
import dataclasses
import io
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PIL

import unshrink
from films import film
from unshrink.evaluation.compare import ordinary_round_trip
from unshrink.pictures import metrics
from unshrink.pictures.colour import to_uint8
from unshrink.pictures.resize import resize

sync_api = pytest.importorskip("playwright.sync_api", reason="the page is tested with playwright: make .venv/dev")
axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="accessibility is tested with axe")

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
EXAMPLES = Path(__file__).parents[1] / "examples"
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
PATIENCE = 120_000  # milliseconds for a small picture on a busy machine

pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="the page is tested in Chromium: apt-get install chromium"),
    pytest.mark.xdist_group("page"),
]


@dataclasses.dataclass
class Service:
    url: str

    def post(self, path: str, body: bytes) -> bytes:
        request = urllib.request.Request(self.url + path, data=body, method="POST")
        with urllib.request.urlopen(request) as response:
            return response.read()

    def refusal(self, path: str, body: bytes) -> str:
        with pytest.raises(urllib.error.HTTPError) as refused:
            self.post(path, body)
        return json.load(refused.value)["error"]


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = ["-m", "unshrink", "serve", "--port", str(port), "--concurrency", "1", "--timeout", "200"]
    environment = {**os.environ, "XDG_STATE_HOME": str(tmp_path_factory.mktemp("state"))}
    process = subprocess.Popen([sys.executable, *command], env=environment, stderr=subprocess.DEVNULL)
    try:
        yield Service(_answering(process, f"http://127.0.0.1:{port}/"))
    finally:
        process.terminate()
        process.wait(30)


def _answering(process: "subprocess.Popen[bytes]", url: str) -> str:
    for _ in range(600):
        assert process.poll() is None, "the service did not start"
        try:
            urllib.request.urlopen(url + "ready")
            return url
        except OSError:
            time.sleep(0.1)
    raise AssertionError("the service is not ready")


@pytest.fixture(scope="module")
def browser() -> Iterator["sync_api.Browser"]:
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


class Visit:
    """The page as a user has it, with helpers; whatever it asks of another place than the service fails the test."""

    def __init__(self, browser: "sync_api.Browser", service: Service, **options: object) -> None:
        self.page = browser.new_page(**options)
        self.page.set_default_timeout(PATIENCE)
        self.strange: list[str] = []
        self.asked: list[str] = []
        self.page.on("request", self._request)
        self.page.on("console", self._console)
        self.page.on("pageerror", lambda error: self.strange.append(f"error: {error}"))
        self.service = service

    def _request(self, request: "sync_api.Request") -> None:
        self.asked.append(f"{request.method} {request.url.removeprefix(self.service.url)}")
        if not request.url.startswith((self.service.url, "blob:" + self.service.url, "data:")):
            self.strange.append(f"asked for {request.url}")

    def _console(self, message: "sync_api.ConsoleMessage") -> None:
        if message.type == "error" and "Failed to load resource" not in message.text:  # which is how refusals are told
            self.strange.append(message.text)

    def open(self) -> None:
        self.page.goto(self.service.url)
        self.page.wait_for_selector(".scales label", state="attached")

    def give(self, file: Path, tab: str = "small") -> None:
        self.page.set_input_files(f"#panel-{tab} input[type=file]", file)
        self.wait(tab)

    def wait(self, tab: str = "small") -> None:
        self.page.wait_for_selector(f"#panel-{tab} .result:not([hidden])")
        self.page.wait_for_selector(f"#panel-{tab} .result:not([inert])")

    def text(self, selector: str) -> str:
        return self.page.inner_text(selector)

    def download(self, label: str, tab: str = "small") -> tuple[str, bytes]:
        with self.page.expect_download() as waiting:
            self.page.click(f"#panel-{tab} .downloads a:has-text('{label}')")
        return waiting.value.suggested_filename, Path(waiting.value.path()).read_bytes()

    def divider(self) -> int:
        return int(self.page.get_attribute("#panel-small img-comparison-slider", "aria-valuenow") or "")

    def serious(self) -> list[str]:
        found = axe.Axe().run(self.page).response["violations"]
        return [fault["id"] for fault in found if fault["impact"] in ("serious", "critical")]


@pytest.fixture
def visit(browser: "sync_api.Browser", service: Service) -> Iterator[Visit]:
    visit = Visit(browser, service)
    visit.open()
    yield visit
    visit.page.close()
    assert visit.strange == []


@pytest.fixture(scope="module")
def photo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("photos") / "cup.png"
    PIL.open(EXAMPLES / "coffee.png").crop((250, 120, 347, 183)).save(path)
    return path


def figures(text: str) -> list[float]:
    return [float(figure) for figure in re.findall(r"[\d.]+(?= dB)", text)]


# -- make small ----------------------------------------------------------------------------------------------------


def test_a_photo_and_its_numbers(visit: Visit, photo: Path) -> None:
    visit.give(photo)
    body = photo.read_bytes()
    measured = json.loads(visit.service.post("v1/compare?scale=2", body))
    ours, bicubic = measured["unshrink"]["psnr_y"], measured["bicubic"]["psnr_y"]
    table = visit.text("#panel-small table")
    assert figures(table)[:2] == pytest.approx([ours, bicubic], abs=0.011)
    assert visit.text("#panel-small h2") == f"+{ours - bicubic:.1f} dB over bicubic"
    assert "97 × 63" in table
    assert "49 × 32" in table
    assert f"{100 * measured['small_bytes'] / len(body):.0f} %" in visit.text("#panel-small .summary")
    small = visit.page.locator("#panel-small .well img").bounding_box()
    assert small is not None
    assert (small["width"], small["height"]) == (49, 32)


def test_downloads_are_what_the_service_made(visit: Visit, photo: Path) -> None:
    visit.give(photo)
    small = visit.service.post("v1/downscale?scale=2", photo.read_bytes())
    assert visit.download("small") == ("cup_x2.png", small)
    assert visit.download("restored") == ("cup_restored.png", visit.service.post("v1/upscale", small))


def test_a_jpeg_in_as_many_bytes_is_the_second_picture(visit: Visit, photo: Path) -> None:
    visit.give(photo)
    visit.page.check("#panel-small .sides [value=JPEG]", force=True)
    shown = visit.page.evaluate(
        """() => {
            const image = document.querySelector("#panel-small [slot=first] img");
            const canvas = document.createElement("canvas");
            [canvas.width, canvas.height] = [image.naturalWidth, image.naturalHeight];
            canvas.getContext("2d").drawImage(image, 0, 0);
            return canvas.toDataURL();
        }"""
    )
    jpeg = np.asarray(PIL.open(io.BytesIO(base64.b64decode(shown.partition(",")[2]))).convert("RGB"))
    original = np.asarray(PIL.open(photo).convert("RGB"))
    table = visit.text("#panel-small table").splitlines()
    of = {line.split()[0]: line for line in table if line}
    assert figures(of["JPEG"]) == pytest.approx([metrics.psnr_y(original, jpeg, 2)], abs=0.011)
    assert figures(of["JPEG"])[0] > figures(of["Bicubic"])[0]
    small, taken = (float(re.findall(r"([\d.]+) kB", of[name])[0]) for name in ("Small", "JPEG"))
    assert 0.8 * small < taken <= small
    assert f"in as many bytes has {figures(of['JPEG'])[0]:.2f} dB" in visit.text("#panel-small .summary")


def test_a_small_jpeg(visit: Visit, photo: Path) -> None:
    visit.page.click(".formats label:has-text('JPEG')")
    visit.give(photo)
    small = visit.service.post("v1/downscale?scale=2&format=jpeg&lossy=true", photo.read_bytes())
    assert visit.download("small") == ("cup_x2.jpg", small)
    assert len(small) < len(visit.service.post("v1/downscale?scale=2", photo.read_bytes()))
    even = np.asarray(PIL.open(photo).convert("RGB"))
    padded = np.pad(even, ((0, 1), (0, 1), (0, 0)), mode="reflect")  # 97 x 63 to whole blocks
    stream = io.BytesIO()
    PIL.fromarray(to_uint8(resize(padded, (49, 32)))).save(stream, "JPEG", quality=85)
    enlarged = to_uint8(resize(np.asarray(PIL.open(stream)), (98, 64)))[:63, :97]
    bicubic = figures(visit.text("#panel-small table"))[1]  # through a JPEG too
    assert bicubic == pytest.approx(metrics.psnr_y(even, enlarged, 2), abs=0.1)  # by another libjpeg
    lossy = [
        row
        for row in json.loads(urllib.request.urlopen(f"{visit.service.url}v1/models").read())["models"]
        if row["lossy"]
    ]
    said = "No weights for JPEG are installed" in visit.text("#panel-small .note")
    assert said == (2 not in {row["scale"] for row in lossy})
    assert "the files keep 16" not in visit.text("#panel-small .note")


def test_several_files_are_done_one_after_the_other(visit: Visit, photo: Path, tmp_path: Path) -> None:
    other, bad = tmp_path / "spoon.png", tmp_path / "notes.txt"
    PIL.open(EXAMPLES / "coffee.png").crop((400, 200, 464, 248)).save(other)
    bad.write_text("no picture")
    visit.page.set_input_files("#panel-small input[type=file]", [photo, bad, other])
    visit.page.wait_for_selector("#panel-small .several li:nth-child(3)")
    visit.wait()
    lines = visit.page.locator("#panel-small .several li").all_inner_texts()
    assert [line.split("\n")[0] for line in lines] == ["cup.png", "notes.txt", "spoon.png"]
    assert "dB over bicubic" in lines[0]
    assert visit.service.refusal("v1/downscale", bad.read_bytes()) in lines[1]
    assert "64 × 48" in visit.text("#panel-small table")  # the last one is shown
    with visit.page.expect_download() as waiting:
        visit.page.click("#panel-small .several li:first-child a:has-text('small')")
    small = visit.service.post("v1/downscale?scale=2", photo.read_bytes())
    assert (waiting.value.suggested_filename, Path(waiting.value.path()).read_bytes()) == ("cup_x2.png", small)
    assert visit.serious() == []
    visit.give(other)
    assert visit.page.locator("#panel-small .several").is_hidden()


def test_how_long_it_will_take_is_said_once_it_moves(visit: Visit) -> None:
    said = visit.page.evaluate(
        """async () => {
            const { Outcome } = await import("/static/outcome.js");
            const panel = document.body.appendChild(document.createElement("div"));
            const outcome = new Outcome(panel);
            const after = async (fraction) => {
                outcome.progress(fraction);
                await new Promise((resolve) => setTimeout(resolve, 1500));
                return panel.querySelector(".elapsed").textContent;
            };
            outcome.stage("Waiting");
            return [await after(null), await after(0.2), await after(0.4), await after(null)];
        }"""
    )
    waiting, begun, moving, again = said
    assert re.fullmatch(r"\d+ s", waiting)
    assert re.fullmatch(r"\d+ s, 20 %", begun)
    assert re.fullmatch(r"\d+ s, 40 %, \d+ s left", moving)
    assert 4 <= int(re.findall(r"(\d+) s left", moving)[0]) <= 15  # a fifth took 1.5 s or a little more, three are left
    assert re.fullmatch(r"\d+ s", again)


def test_the_sample_dropped_and_cancelled(visit: Visit) -> None:
    visit.page.route("**/v1/downscale*", lambda route: None)  # as if it took for ever
    visit.page.click(".sample")
    visit.page.wait_for_selector("#panel-small .busy:not([hidden])")
    assert "small picture" in visit.text("#panel-small .announce")
    visit.page.click("#panel-small .cancel")
    visit.page.wait_for_selector("#panel-small .busy", state="hidden")
    assert not visit.page.is_visible("#panel-small .refusal")


def test_a_dropped_photo_goes_to_the_open_tab(visit: Visit, photo: Path) -> None:
    data = base64.b64encode(photo.read_bytes()).decode()
    dropped = visit.page.evaluate_handle(
        """async (data) => {
            const transfer = new DataTransfer();
            const bytes = Uint8Array.from(atob(data), (letter) => letter.charCodeAt(0));
            transfer.items.add(new File([bytes], "dropped.png", { type: "image/png" }));
            return transfer;
        }""",
        data,
    )
    visit.page.dispatch_event(".drop", "drop", {"dataTransfer": dropped})
    visit.wait()
    assert "dropped_x2.png" in visit.text("#panel-small .downloads")


def test_other_options_do_it_again(visit: Visit, photo: Path) -> None:
    visit.give(photo)
    visit.page.route("**/v1/downscale*", lambda route: None)
    with visit.page.expect_request("**/v1/downscale?scale=4"):
        visit.page.click(".scales label:has-text('×4')")
    visit.page.focus("[name=effort]")
    with visit.page.expect_request("**/v1/downscale?scale=4&effort=1"), visit.page.expect_event("requestfailed"):
        visit.page.keyboard.press("ArrowRight")  # and the request before it is given up
    assert visit.text("[name=level]") == "1"


def test_large_pictures_go_as_jobs(visit: Visit, photo: Path) -> None:
    source = (Path(unshrink.__file__).parent / "web/app.js").read_text()
    lowered = source.replace("const LARGE = 1e6;", "const LARGE = 1e3;")
    assert lowered != source
    visit.page.route("**/app.js", lambda route: route.fulfill(body=lowered, content_type="text/javascript"))
    visit.open()
    visit.give(photo)
    _, small = visit.download("small")
    assert small == visit.service.post("v1/downscale", photo.read_bytes())
    assert visit.download("restored")[1] == visit.service.post("v1/upscale", small)
    jobs = [asked for asked in visit.asked if "v1/jobs" in asked]
    assert sum(asked.startswith("POST") for asked in jobs) == 2
    assert sum(asked.startswith("DELETE") for asked in jobs) == 2  # nothing stays behind


@pytest.mark.parametrize("form", ["jpeg", "webp", "png"])
def test_turned_photos_agree(visit: Visit, tmp_path: Path, photo: Path, form: str) -> None:
    exif = PIL.Exif()
    exif[0x0112] = 6
    path = tmp_path / f"turned.{form}"
    options = {"lossless": True} if form == "webp" else {}
    even = PIL.open(photo).crop((0, 0, 96, 62))  # an odd side would be padded at the other end once it is turned
    even.save(path, form, exif=exif, **options)
    visit.give(path)
    measured = json.loads(visit.service.post("v1/compare?scale=2", path.read_bytes()))
    expected = [measured[name]["psnr_y"] for name in ("unshrink", "bicubic")]
    assert figures(visit.text("#panel-small table"))[:2] == pytest.approx(expected, abs=0.011)


def test_what_the_browser_cannot_show(visit: Visit, tmp_path: Path, photo: Path) -> None:
    path = tmp_path / "deep.tif"
    image = unshrink.read(photo)
    unshrink.write(dataclasses.replace(image, pixels=image.pixels.astype(np.uint16) * 257), path)
    visit.give(path)
    note = visit.text("#panel-small .note")
    assert "cannot show files of this kind" in note
    assert "the files keep 16" in note
    assert figures(visit.text("#panel-small table")) == []
    name, small = visit.download("small")
    assert name == "deep_x2.png"
    assert small == visit.service.post("v1/downscale", path.read_bytes())


# -- the viewer ----------------------------------------------------------------------------------------------------


def test_the_divider_by_mouse_and_keys(visit: Visit, photo: Path) -> None:
    visit.give(photo)
    slider = visit.page.locator("#panel-small img-comparison-slider")
    box = slider.bounding_box()
    assert box is not None
    assert visit.divider() == 50
    visit.page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    visit.page.mouse.down()
    visit.page.mouse.move(box["x"] + box["width"] / 4, box["y"] + box["height"] / 2)
    visit.page.mouse.up()
    assert visit.divider() == pytest.approx(25, abs=1)
    slider.press("End")
    assert visit.divider() == 100
    slider.press("ArrowLeft", delay=300)
    assert visit.divider() < 100
    assert "% Original" in (slider.get_attribute("aria-valuetext") or "")
    visit.page.check("#panel-small .sides [value=Bicubic]", force=True)
    assert "% Bicubic" in (slider.get_attribute("aria-valuetext") or "")


def test_zoom_and_lens(visit: Visit, photo: Path) -> None:
    visit.give(photo)
    for _ in range(3):
        visit.page.click("#panel-small .in")
    assert visit.text("#panel-small .level") == "400 %"
    size = visit.page.locator("#panel-small .canvas").bounding_box()
    assert size is not None
    assert (size["width"], size["height"]) == (4 * 97, 4 * 63)
    visit.page.focus("#panel-small .lens")
    for _ in range(20):
        visit.page.keyboard.press("ArrowRight")
        visit.page.keyboard.press("ArrowDown")
    restored = PIL.open(io.BytesIO(visit.download("restored")[1])).convert("RGB")
    shown = visit.page.evaluate(
        """() => {
            const canvas = [...document.querySelectorAll("#panel-small .lens canvas")].at(-1);
            return [...canvas.getContext("2d").getImageData(canvas.width - 1, canvas.height - 1, 1, 1).data];
        }"""
    )
    assert tuple(shown[:3]) == restored.getpixel((96, 62))  # in the corner, the lens shows the corner
    visit.page.keyboard.press("0")
    visit.page.focus("#panel-small .in")
    visit.page.keyboard.press("0")
    assert visit.text("#panel-small .level") == "Fit"


@pytest.mark.parametrize("scale, size", [(2, (30, 20)), (2, (31, 17)), (4, (33, 22)), (8, (5, 3)), (3, (1, 40))])
def test_bicubic_is_that_of_the_tables(visit: Visit, scale: int, size: tuple[int, int]) -> None:
    original = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), np.uint8)
    _, expected = ordinary_round_trip(original, scale, "bicubic")
    made = visit.page.evaluate(
        """async ([data, width, height, scale]) => {
            const { roundTrip } = await import("/static/bicubic.js");
            return [...roundTrip({ data: Uint8ClampedArray.from(data), width, height }, scale).data];
        }""",
        [original.ravel().tolist(), *size, scale],
    )
    difference = np.abs(np.reshape(made, expected.shape) - expected.astype(int))
    assert difference.max() <= 1  # where a value lies between two levels
    assert (difference > 0).mean() < 0.01


# -- bring back ----------------------------------------------------------------------------------------------------


def test_a_small_picture_brings_the_large_one_back(visit: Visit, tmp_path: Path, photo: Path) -> None:
    path = tmp_path / "cup_x2.png"
    path.write_bytes(visit.service.post("v1/downscale?scale=2", photo.read_bytes()))
    visit.page.focus("#tab-small")
    visit.page.keyboard.press("ArrowRight")
    visit.give(path, "large")
    assert visit.text("#panel-large h2") == "97 × 63 pixels again"
    assert visit.download("restored", "large") == (
        "cup_restored.png",
        visit.service.post("v1/upscale", path.read_bytes()),
    )
    image = unshrink.read(path)
    image.pixels[0, 0] ^= 1
    unshrink.write(image, path, overwrite=True)
    visit.page.set_input_files("#panel-large input[type=file]", path)
    visit.page.wait_for_selector("#panel-large .warning")
    assert "pixels were changed since unshrink made it" in visit.text("#panel-large .warning")


# -- refusals ------------------------------------------------------------------------------------------------------


def test_a_refusal_is_the_sentence_of_the_service(visit: Visit, tmp_path: Path, photo: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("no picture")
    visit.page.set_input_files("#panel-small input[type=file]", path)
    visit.page.wait_for_selector("#panel-small .refusal")
    assert visit.page.text_content("#panel-small [role=alert]") == visit.service.refusal(
        "v1/downscale", path.read_bytes()
    )
    visit.page.click("#tab-large")
    visit.page.set_input_files("#panel-large input[type=file]", photo)
    visit.page.wait_for_selector("#panel-large .refusal")
    told = visit.text("#panel-large .refusal")
    assert "has no record of unshrink" in told
    assert "name weights with the option model" in told
    assert visit.serious() == []
    visit.page.get_by_label("Model").select_option("irn-x2")  # as it is told; once there is a file, it is done again
    visit.wait("large")
    assert visit.text("#panel-large h2") == "194 × 126 pixels again"


def test_of_a_clip_it_is_said_what_the_service_does(visit: Visit, tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (12, 240, 320, 3), np.uint8)
    clip = Path(film(tmp_path / "clip.mp4", list(noise), times=range(0, 36_000, 3000), crf=0))
    unknown = clip.rename(tmp_path / "clip.bin")
    assert unknown.stat().st_size > 1e6, "so much goes as a job"
    clip.write_bytes(b"whatever")
    for tab, action in (("small", "downscale"), ("large", "upscale")):
        visit.page.click(f"#tab-{tab}")
        field, told = f"#panel-{tab} input[type=file]", f"#panel-{tab} .refusal:has-text('/v1/jobs?action={action}')"
        before = len(visit.asked)
        visit.page.set_input_files(field, clip)
        visit.page.wait_for_selector(told)
        assert not any(line.startswith("POST") for line in visit.asked[before:])
        with visit.page.expect_request(lambda request: request.method == "DELETE"):
            visit.page.set_input_files(field, unknown)
        visit.page.wait_for_selector(told)
        assert visit.text(told).startswith("It is a video clip; this page shows pictures")
    assert visit.serious() == []


def test_a_service_that_is_gone_and_one_that_wants_a_key(browser: "sync_api.Browser", service: Service) -> None:
    visit = Visit(browser, service)

    def guard(route: "sync_api.Route") -> None:
        if route.request.headers.get("authorization") == "Bearer secret":
            return route.continue_()
        return route.fulfill(status=401, json={"error": "the API key is missing or wrong"})

    visit.page.route("**/v1/models", guard)
    visit.page.goto(service.url)
    visit.page.fill("#key", "wrong")
    visit.page.keyboard.press("Enter")
    visit.page.wait_for_selector(".key .refusal")
    assert visit.serious() == []
    visit.page.fill("#key", "secret")
    visit.page.keyboard.press("Enter")
    visit.page.wait_for_selector(".scales label")
    visit.page.route("**/v1/downscale*", lambda route: route.abort())
    visit.page.click(".sample")
    visit.page.wait_for_selector("#panel-small .refusal")
    assert "does not answer" in visit.text("#panel-small .refusal")
    assert visit.strange == []


# -- every screen --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_on_a_phone_for_everybody(browser: "sync_api.Browser", service: Service, photo: Path, scheme: str) -> None:
    phone = {"viewport": {"width": 360, "height": 740}, "has_touch": True, "is_mobile": True, "color_scheme": scheme}
    visit = Visit(browser, service, **phone)
    visit.open()
    assert visit.serious() == []
    visit.give(photo)
    assert visit.page.evaluate("document.documentElement.scrollWidth") == 360  # nothing sticks out
    assert visit.serious() == []
    visit.page.tap("#panel-small .in")
    assert visit.text("#panel-small .level") == "100 %"
    assert visit.strange == []
