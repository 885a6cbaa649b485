"""Clips: what comes back, what is carried, what is refused, and what is left when something goes wrong."""

import io
import json
import resource
import threading
import weakref
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from av.stream import Disposition

import films
from films import CHAPTERS, TIMES, film, frames_of, packets
from networks import random_weights
from unshrink import video, weights
from unshrink.cli import main as cli
from unshrink.errors import ImageError, ProvenanceError, UnshrinkWarning, UsageError, VideoError
from unshrink.pictures import io as images
from unshrink.pictures.image import Image
from unshrink.pictures.metrics import psnr, psnr_y, ssim_y
from unshrink.pictures.record import checksum
from unshrink.pictures.resize import resize
from unshrink.runtime.rescaler import load
from unshrink.video import clock, parts, tags
from unshrink.video import source as source_of_clips
from unshrink.video.ahead import ahead
from unshrink.video.colour import Colour, colour_of, to_frame, to_rgb
from unshrink.video.containers import CODECS, is_clip
from unshrink.video.options import VideoOptions
from unshrink.video.source import Clip


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """The file of a small network; without graphs, so it runs on torch."""
    path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    weights.save(path, random_weights(2))
    return str(path)


@pytest.fixture
def options(model):
    return lambda **others: VideoOptions(model=model, threads=1, **others)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A clip with everything."""
    path = tmp_path_factory.mktemp("films") / "whole.mp4"
    return film(path, sound=True, text="mov_text", chapters=CHAPTERS, turned=90, colour=(5, 1, 5, 6))


@pytest.fixture(scope="module")
def exact(tmp_path_factory):
    """A clip of red, green and blue, of odd sides."""
    frames = films.pictures(4, (33, 25))
    return film(tmp_path_factory.mktemp("films") / "exact.mkv", frames, "ffv1", "bgr0", colour=(0, 2, 1, 1))


# -- what comes back -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "codec"), [("small.mkv", None), ("small.mp4", "h264-rgb")])
def test_frames_are_what_single_pictures_are(tmp_path, exact, options, model, name, codec):
    small, back = tmp_path / name, tmp_path / "back.mkv"
    video.downscale(exact, str(small), options(codec=codec))
    done = video.upscale(str(small), str(back), options())
    single = load(model, threads=1)
    for (_, large), (_, little), (_, restored) in zip(*map(frames_of, (exact, small, back)), strict=True):
        assert (little == single.downscale(large)).all()
        assert (restored == single.upscale(little, size=(33, 25))).all()
    assert done.facts["frames"] == 4
    assert done.facts["to_size"] == (33, 25)


def test_the_record_is_that_of_pictures_and_of_the_first_frame(tmp_path, exact, options):
    small = tmp_path / "small.mkv"
    video.downscale(exact, str(small), options())
    record = Clip(str(small)).record
    assert (record.scale, record.size, record.model) == (2, (33, 25), "random-x2")
    assert record.pixels == checksum(frames_of(small)[0][1])


def test_through_halved_chroma_odd_sides_come_back(tmp_path, exact, options):
    small, back, again = tmp_path / "small.mp4", tmp_path / "back.mkv", tmp_path / "back.mp4"
    video.downscale(exact, str(small), options(lossy=True, quality=100))
    assert Clip(str(small)).looks.size == (18, 14)  # 17x13 with the last row and column twice
    video.upscale(str(small), str(back), options())
    video.upscale(str(small), str(again), options())
    assert Clip(str(back)).looks.size == (33, 25)
    assert Clip(str(again)).looks.size == (34, 26)


def test_quality_is_the_rate_factor(tmp_path, whole, options):
    sizes = []
    for quality in (30, 60, 90):
        done = video.downscale(whole, str(tmp_path / f"{quality}.mp4"), options(lossy=True, quality=quality))
        sizes.append(done.facts["to_bytes"])
    assert sizes == sorted(set(sizes))


@pytest.mark.parametrize("scale", [1.5, 2, 2.5])
def test_other_scales_come_back_to_their_size(tmp_path, exact, options, scale):
    small, back = tmp_path / "small.mkv", tmp_path / "back.mkv"
    video.downscale(exact, str(small), options(scale=scale))
    video.upscale(str(small), str(back), options())
    assert Clip(str(small)).looks.size == (-(-33 // scale), -(-25 // scale))
    assert Clip(str(back)).looks.size == (33, 25)


# -- what is carried -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def carried(whole, tmp_path_factory, model):
    """The clip with everything, and it made small and restored."""
    folder = tmp_path_factory.mktemp("carried")
    small, back = str(folder / "small.mkv"), str(folder / "back.mp4")
    video.downscale(whole, small, VideoOptions(model=model, threads=1))
    video.upscale(small, back, VideoOptions(model=model, threads=1))
    return whole, small, back


def test_every_timestamp_comes_back_though_the_small_clip_counts_in_milliseconds(carried):
    times = [[time for time, _ in frames_of(path)] for path in carried]
    assert times[0] == times[2] == list(TIMES)
    assert times[1] == [round(time / 90) for time in TIMES]
    sounds = [[time for time, _ in packets(path, "audio")] for path in carried]
    assert sounds[0] == sounds[2]


@pytest.mark.parametrize("start", [7, 450001, -3003])
def test_a_start_beside_zero_comes_back(tmp_path, options, start):
    times = [start + time for time in TIMES]
    source = film(tmp_path / "film.mp4", times=times, sound=True)
    video.downscale(source, str(tmp_path / "small.mkv"), options())
    video.upscale(str(tmp_path / "small.mkv"), str(tmp_path / "back.mp4"), options())
    large, back = ([time for time, _ in frames_of(path)] for path in (source, tmp_path / "back.mp4"))
    assert back == large


def test_two_frames_of_one_time_are_both_kept(tmp_path, options):
    source = film(
        tmp_path / "film.mkv",
        films.pictures(4),
        "ffv1",
        "bgr0",
        (0, 40, 40, 80),
        Fraction(1, 1000),
        colour=(0, 2, 1, 1),
    )
    video.downscale(source, str(tmp_path / "small.mkv"), options())
    video.upscale(str(tmp_path / "small.mkv"), str(tmp_path / "back.mp4"), options())
    times = [time for time, _ in frames_of(tmp_path / "back.mp4")]
    with av.open(str(tmp_path / "back.mp4")) as clip:
        base = clip.streams.video[0].time_base
    assert [float(time * base) for time in times] == pytest.approx([0, 0.04, 0.041, 0.08])


def test_sound_is_copied_byte_for_byte(carried):
    sounds = [[content for _, content in packets(path, "audio")] for path in carried]
    assert len(sounds[0]) > 8
    assert sounds[0] == sounds[1] == sounds[2]


def test_subtitles_chapters_title_language_and_rotation_come_back(carried):
    facts = []
    for path in carried:
        with av.open(path) as clip:
            chapters = [
                (float(c["start"] * c["time_base"]), float(c["end"] * c["time_base"]), c["metadata"]["title"])
                for c in clip.chapters()
            ]
            languages = clip.streams.audio[0].metadata["language"], clip.metadata["title"]
            first = next(clip.decode(video=0))
            facts.append((chapters, languages, bytes(first.side_data.get("DISPLAYMATRIX")), first.rotation))
    assert facts[0] == facts[1] == facts[2]
    assert facts[0][0][1] == (0.1, 0.2, "two")
    assert facts[0][3] in (90, -90)
    for path in carried:
        assert any(b"Hi there" in content for _, content in packets(path, "subtitle")), path


@pytest.mark.parametrize("codec", ["ffv1", "h264-rgb"])
def test_the_shape_of_pixels_comes_back(tmp_path, options, codec):
    source = film(tmp_path / "film.mp4", films.pictures(2), aspect=Fraction(4, 3))
    small, back = str(tmp_path / "small.mkv"), str(tmp_path / "back.mp4")
    if codec == "ffv1":
        with pytest.warns(UnshrinkWarning, match=r"pixels are not square \(4:3\)"):
            video.downscale(source, small, options())
    else:
        video.downscale(source, small, options(codec=codec))
        assert Clip(small).aspect == Fraction(4, 3)
    video.upscale(small, back, options())
    with av.open(back) as clip:
        assert clip.streams.video[0].sample_aspect_ratio == Fraction(4, 3)


@pytest.mark.parametrize("colour", [(1, 1, 1, 1), (1, 2, 1, 13), (5, 1, 5, 6), (6, 2, 6, 6), (9, 1, 9, 14)])
def test_colour_tags_come_back(tmp_path, options, colour):
    source = film(tmp_path / "film.mp4", films.pictures(2), colour=colour)
    video.downscale(source, str(tmp_path / "small.mkv"), options())
    video.upscale(str(tmp_path / "small.mkv"), str(tmp_path / "back.mp4"), options())
    with av.open(str(tmp_path / "back.mp4")) as clip:
        frame = next(clip.decode(video=0))
    assert (frame.colorspace, frame.color_range, frame.color_primaries, frame.color_trc) == colour


def test_attachments_go_along_in_matroska_and_are_named_where_they_cannot(tmp_path, options):
    letter = "letter.ttf", "application/x-truetype-font", b"not really"
    source = film(tmp_path / "film.mkv", films.pictures(2), attachment=letter)
    small = str(tmp_path / "small.mkv")
    video.downscale(source, small, options())
    with av.open(small) as clip:
        kept = [stream.data for stream in clip.streams if stream.type == "attachment"]
    assert kept == [b"not really"]
    with pytest.warns(UnshrinkWarning, match="not carried to .*: an attachment"):
        video.upscale(small, str(tmp_path / "back.mp4"), options())


def covers_of(path):
    with av.open(path) as clip:
        streams = [stream for stream in clip.streams if stream.disposition & Disposition.attached_pic]
        return [bytes(packet) for packet, _ in zip(clip.demux(streams), streams, strict=False)] if streams else []


@pytest.fixture(scope="module")
def covered(tmp_path_factory):
    """A clip with a cover, and the cover."""
    stream = io.BytesIO()
    images.write(Image(films.pictures(1)[0]), stream, format="jpeg", lossy=True)
    cover = stream.getvalue()
    return film(tmp_path_factory.mktemp("films") / "film.mp4", films.pictures(2), cover=cover), cover


@pytest.mark.parametrize("resume", [False, True])
def test_covers_go_along_untouched(tmp_path, covered, options, resume):
    source, cover = covered
    small, back, mkv = (str(tmp_path / name) for name in ("small.mkv", "back.mp4", "back.mkv"))
    video.downscale(source, small, options(resume=resume))
    for target in (back, mkv):
        video.upscale(small, target, options(resume=resume))
    assert [covers_of(path) for path in (source, small, back, mkv)] == [[cover]] * 4
    assert [time for time, _ in frames_of(back)] == list(TIMES[:2])
    assert Clip(back).tags["title"] == "A film"
    assert "cover (mjpeg)" in video.describe(small)["others"]


@pytest.mark.parametrize("extension", ["mp4", "mov"])  # in MP4 the record has the place
def test_a_cover_is_named_where_there_is_no_place_for_it(tmp_path, covered, options, extension):
    with pytest.warns(UnshrinkWarning, match="not carried to .*: a cover$"):
        video.downscale(covered[0], str(tmp_path / f"small.{extension}"), options(lossy=True))


def test_tags_that_have_no_place_beside_a_cover_are_named(tmp_path, covered, options):
    front, tags = ("cover.jpg", "image/jpeg", covered[1]), {"title": "A film", "artist": "Me", "mood": "blue"}
    source = film(tmp_path / "film.mkv", films.pictures(2), attachment=front, tags=tags)
    small, back = str(tmp_path / "small.mkv"), str(tmp_path / "back.mp4")
    video.downscale(source, small, options())
    with pytest.warns(UnshrinkWarning, match="not carried to .*: the tag MOOD$"):
        video.upscale(small, back, options())
    assert {"title": "A film", "artist": "Me"}.items() <= Clip(back).tags.items()
    assert covers_of(back) == [covered[1]]


def test_further_video_streams_are_named(tmp_path, options):
    source = film(tmp_path / "film.mkv", films.pictures(2), second=True)
    with pytest.warns(UnshrinkWarning, match="not carried to .*: a further video stream$"):
        video.downscale(source, str(tmp_path / "small.mkv"), options())
    assert len(frames_of(tmp_path / "small.mkv")) == 2


def test_what_is_open_about_colour_is_as_players_take_it():
    def of(height, **tagged):
        frame = av.VideoFrame(64 * height // 48, height, "yuv420p")
        for name, value in tagged.items():
            setattr(frame, name, value)
        found = colour_of(frame)
        return found.matrix, found.range

    assert [of(height) for height in (480, 576, 720)] == [(6, 1), (5, 1), (1, 1)]
    assert of(480, colorspace=1, color_range=2) == (1, 2)


WEIGHTS = {1: (0.2126, 0.0722), 5: (0.299, 0.114), 6: (0.299, 0.114), 7: (0.212, 0.087), 9: (0.2627, 0.0593)}


@pytest.mark.parametrize("matrix", WEIGHTS)
@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("others", [(2, 2), (5, 6), (9, 13)])
def test_matrix_and_range_are_honoured_and_nothing_else_changes_values(matrix, full, others):
    rgb = films.pictures(1)[0]
    (kr, kb), x = WEIGHTS[matrix], rgb / 255
    y = x @ np.array([kr, 1 - kr - kb, kb])
    planes = np.stack([y, (x[..., 2] - y) / (2 * (1 - kb)), (x[..., 0] - y) / (2 * (1 - kr))])
    low, tall, wide = (0, 255, 255) if full else (16, 219, 224)
    coded = (planes * np.array([tall, wide, wide])[:, None, None] + np.array([low, 128, 128])[:, None, None]).round()
    frame = av.VideoFrame.from_ndarray(coded.clip(0, 255).astype(np.uint8), "yuv444p")
    frame.color_primaries, frame.color_trc = others
    assert psnr(to_rgb(frame, Colour(matrix, 2 if full else 1, *others)), rgb) > 47
    back = to_frame(rgb, CODECS["h264"], Colour(matrix, 2 if full else 1, *others))
    assert psnr(back.to_ndarray()[:48].astype(float), coded[0]) > 50


# -- parts ---------------------------------------------------------------------------------------------------------


def test_a_part_is_those_frames_from_zero_on_with_their_sound_and_chapters(tmp_path, whole, options):
    small, back = str(tmp_path / "small.mkv"), str(tmp_path / "back.mp4")
    done = video.downscale(whole, small, options(frames=(3, 6)))
    assert done.facts["frames"] == 3
    assert done.lost == ""
    video.upscale(small, back, options())
    assert [time for time, _ in frames_of(back)] == [time - TIMES[3] for time in TIMES[3:6]]
    sounds = packets(whole, "audio")
    meant = [content for time, content in sounds if TIMES[3] / 90000 <= time / 44100 < TIMES[6] / 90000]
    assert [content for _, content in packets(back, "audio")] == meant
    with av.open(back) as clip:
        chapters = [(chapter["metadata"]["title"], chapter["start"]) for chapter in clip.chapters()]
    assert chapters == [("two", 0)]


@pytest.mark.parametrize("part", [(None, 2), (6, None), (7, 8)])
def test_a_part_may_have_open_ends(tmp_path, whole, options, part):
    done = video.downscale(whole, str(tmp_path / "small.mkv"), options(frames=part))
    assert done.facts["frames"] == len(range(8)[slice(*part)])


def test_a_part_beyond_the_end_is_refused(tmp_path, whole, options):
    with pytest.raises(VideoError, match=r"begins at 8, and .* has 8 frames"):
        video.downscale(whole, str(tmp_path / "small.mkv"), options(frames=(8, None)))
    with pytest.raises(UsageError, match="frames is"):
        options(frames=(3, 3))


@pytest.mark.parametrize("given", [{"threads": -1}, {"tile": 0.5}, {"max_pixels": 0}, {"quality": 101}, {"codec": "x"}])
def test_values_that_there_are_not_are_refused_before_any_work(given):
    with pytest.raises(UsageError, match=f"^{next(iter(given))} is .*: allowed are"):
        VideoOptions(**given)


# -- what is refused -----------------------------------------------------------------------------------------------


def empty(path):
    path.write_bytes(b"")


def text(path):
    path.write_text("no clip at all\n" * 100)


def missing(path):
    path.unlink(missing_ok=True)


def silent(path):
    with av.open(str(path), "w", format="mp4") as out:
        audio = out.add_stream("aac", rate=44100)
        films._sound(out, audio)


def interlaced(path):
    film(path, flags="+ildct+ilme", **{"x264-params": "interlaced=1"})


def deep(path):
    film(path, films.pictures(2), pixels="yuv420p10le")


def hdr(path):
    film(path, films.pictures(2), colour=(9, 1, 9, 16))


def halved(path):
    film(path)  # MP4 has its index at the end
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def playlist(path):
    other = film(path.with_name("other.mp4"), films.pictures(2))
    path.write_text(f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{other}\n#EXT-X-ENDLIST\n")


@pytest.mark.parametrize("given", [[], ["--resume"]])
@pytest.mark.parametrize(
    ("make", "said"),
    [
        (empty, "the file is empty"),
        (text, "no video that can be read"),
        (missing, "No such file"),
        (silent, "there is no video in it"),
        (interlaced, "it is interlaced"),
        (deep, "high depth .10 bits"),
        (hdr, "HDR .*PQ"),
        (halved, "no video that can be read, or damaged from its beginning"),
        (playlist, "no video that can be read"),
    ],
)
def test_what_cannot_be_used_is_refused_in_one_line_and_leaves_nothing(tmp_path, model, capsys, make, said, given):
    source, target = tmp_path / "clip.mp4", tmp_path / "out" / "small.mkv"
    target.parent.mkdir()
    make(source)
    assert cli.main(["downscale", str(source), "-o", str(target), "-m", model, *given]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "clip.mp4" in line
    with pytest.raises(VideoError, match=said):
        video.downscale(str(source), str(target), VideoOptions(model=model))
    assert list(target.parent.iterdir()) == []


def test_weights_for_exact_values_do_not_go_through_a_codec_that_changes_them(tmp_path, whole, options):
    with pytest.raises(VideoError, match="h264 changes values"):
        video.downscale(whole, str(tmp_path / "small.mp4"), options())


@pytest.mark.parametrize(("name", "codec"), [("small.avi", None), ("small", None), ("small.mp4", "ffv1")])
def test_other_containers_are_refused(tmp_path, whole, options, name, codec):
    with pytest.raises(VideoError, match=r"allowed are \.mkv|ffv1 goes into \.mkv"):
        video.downscale(whole, str(tmp_path / name), options(codec=codec))


def test_without_a_record_the_weights_must_be_named(tmp_path, exact, options):
    with pytest.raises(ProvenanceError, match="no record of unshrink"):
        video.upscale(exact, str(tmp_path / "back.mkv"), VideoOptions())
    video.upscale(exact, str(tmp_path / "back.mkv"), options())
    assert Clip(str(tmp_path / "back.mkv")).looks.size == (66, 50)


def test_a_small_clip_that_was_resized_or_changed_is_noticed(tmp_path, exact, options, monkeypatch):
    small, other = tmp_path / "small.mkv", tmp_path / "other.mkv"
    video.downscale(exact, str(small), options())
    record = random_weights(2)
    monkeypatch.setattr(weights, "find", lambda name, identity: record)
    for size, seen in (((17, 13), "were changed since"), ((20, 16), "was resized since")):
        film(other, films.pictures(2, size), "ffv1", "bgr0", colour=(0, 2, 1, 1))
        _retag(other, Clip(str(small)).tags)
        if size == (17, 13):
            with pytest.warns(UnshrinkWarning, match=seen):
                video.upscale(str(other), str(tmp_path / "back.mkv"), VideoOptions(backend="torch"))
        else:
            with pytest.raises(ProvenanceError, match=seen):
                video.upscale(str(other), str(tmp_path / "back2.mkv"), VideoOptions(backend="torch"))


def _retag(path, said):
    """Gives a file other tags."""
    kept = path.with_name("kept.mkv")
    path.rename(kept)
    with av.open(str(kept)) as source, av.open(str(path), "w") as out:
        stream = out.add_stream_from_template(source.streams.video[0], opaque=True)
        out.metadata.update(said)
        for packet in source.demux(video=0):
            if packet.size:
                packet.stream = stream
                out.mux(packet)


# -- what is damaged -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def long(tmp_path_factory, model):
    """A small clip of three seconds."""
    folder = tmp_path_factory.mktemp("long")
    source = film(folder / "long.mp4", films.pictures(12), times=range(0, 12 * 22500, 22500))
    video.downscale(source, str(folder / "small.mkv"), VideoOptions(model=model, threads=1))
    return source, folder / "small.mkv"


def test_of_a_file_that_was_cut_what_is_there_comes_back_and_what_is_lost_is_said(tmp_path, long, model, capsys):
    cut, back = tmp_path / "cut.mkv", tmp_path / "back.mkv"
    content = long[1].read_bytes()
    cut.write_bytes(content[: len(content) // 2])
    assert cli.main(["upscale", str(cut), "-o", str(back), "-m", model, "--json"]) == 3
    facts = json.loads(capsys.readouterr().out)
    there = len(frames_of(back))
    assert 2 < there < 12
    assert facts["frames"] == there
    assert f"{12 - there} of 12 frames are lost" in facts["lost"]
    assert [time for time, _ in frames_of(back)] == [250 * n for n in range(there)]


def test_frames_that_are_asked_for_may_be_among_those_that_are_lost(tmp_path, long, options):
    cut, back, content = tmp_path / "cut.mkv", str(tmp_path / "back.mkv"), long[1].read_bytes()
    cut.write_bytes(content[: len(content) // 2])
    done = video.upscale(str(cut), back, options(frames=(1, 11)))
    assert 0 < done.facts["frames"] < 10
    assert f"{10 - done.facts['frames']} of 10 frames are lost" in done.lost
    with pytest.raises(VideoError, match="no frame of it can be decoded"):
        video.upscale(str(cut), back, options(frames=(11, 12), overwrite=True))


def test_of_a_file_that_was_cut_as_much_comes_back_in_parts(tmp_path, long, options, monkeypatch):
    cut, content = tmp_path / "cut.mkv", long[1].read_bytes()
    cut.write_bytes(content[: len(content) // 2])
    monkeypatch.setattr(parts, "LENGTH", 3)
    backs = [
        video.upscale(str(cut), str(tmp_path / f"{resume}.mkv"), options(resume=resume)) for resume in (False, True)
    ]
    assert len({(back.facts["frames"], back.lost) for back in backs}) == 1
    assert not list(tmp_path.glob("*.parts"))


def test_of_an_mp4_that_was_cut_behind_its_index_what_is_there_comes_back(tmp_path, model, capsys):
    cut, small = tmp_path / "film.mp4", tmp_path / "small.mkv"
    film(cut, films.pictures(30), times=range(0, 30 * 22500, 22500), g=1, movflags="faststart")
    cut.write_bytes(cut.read_bytes()[: cut.stat().st_size // 2])
    assert cli.main(["downscale", str(cut), "-o", str(small), "-m", model, "--json"]) == 3
    said = capsys.readouterr()
    there = json.loads(said.out)["frames"]
    assert f"is damaged: {30 - there} of 30 frames are lost, it ends at" in said.err.splitlines()[-1]
    assert 5 < there == len(frames_of(small)) < 30


def test_frames_that_are_damaged_are_counted(tmp_path, long, options):
    broken, content = tmp_path / "broken.mkv", bytearray(long[1].read_bytes())
    content[len(content) // 2 : len(content) // 2 + 40] = bytes(40)
    broken.write_bytes(content)
    done = video.upscale(str(broken), str(tmp_path / "back.mkv"), options())
    assert done.lost.endswith("is damaged: 1 of 12 frames are damaged")
    assert done.facts["frames"] == 12


def test_a_large_clip_that_ends_early_is_noticed_by_its_own_length(tmp_path, options):
    source = film(tmp_path / "film.mkv", films.pictures(30), times=range(0, 30 * 22500, 22500), g=1)
    content = (tmp_path / "film.mkv").read_bytes()
    (tmp_path / "film.mkv").write_bytes(content[: len(content) // 3])
    done = video.downscale(source, str(tmp_path / "small.mkv"), options())
    assert "it ends at" in done.lost
    assert done.facts["frames"] == len(frames_of(tmp_path / "small.mkv"))


def test_a_whole_clip_is_not_called_damaged(carried, long, options, tmp_path):
    for path in (*carried, *long):
        clip = Clip(str(path))
        assert clip.cut_off == ""
    assert video.upscale(str(long[1]), str(tmp_path / "back.mkv"), options()).lost == ""


@contextmanager
def room_for(count):
    """Of each file, no more bytes can be written: what comes then fails as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (count, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("name", ["small.mkv", "small.mp4"])
def test_a_full_disk_is_said_in_one_line_and_leaves_nothing(tmp_path, whole, model, capfd, name):
    with room_for(4096):
        asked = ["downscale", whole, "-o", str(tmp_path / name), "-m", model, "--lossy", "--quality", "100"]
        assert cli.main(asked) == 1
    (line,) = capfd.readouterr().err.splitlines()  # also what PyAV would print
    assert f"{name}: File too large" in line
    assert list(tmp_path.iterdir()) == []


def test_after_a_full_disk_the_parts_that_were_made_are_not_made_again(tmp_path, whole, options, monkeypatch):
    monkeypatch.setattr(parts, "LENGTH", 3)
    straight, target = tmp_path / "straight.mkv", tmp_path / "small.mkv"
    size = video.downscale(whole, str(straight), options(resume=True)).facts["to_bytes"]
    with room_for(size - 1), pytest.raises(VideoError, match=r"cannot write .*small\.mkv: File too large"):
        video.downscale(whole, str(target), options(resume=True))  # each part has the room, and all together have not
    assert {path.name for path in tmp_path.iterdir()} == {"straight.mkv", "small.mkv.parts"}
    seen = []
    video.downscale(whole, str(target), options(resume=True), progress=lambda *at: seen.append(at))
    assert seen == []
    assert [time for time, _ in frames_of(target)] == [time for time, _ in frames_of(straight)]
    assert not (tmp_path / "small.mkv.parts").exists()


def test_an_interruption_leaves_nothing_and_no_thread(tmp_path, whole, options):
    def stop(done, total):
        raise KeyboardInterrupt

    threads = threading.active_count()
    with pytest.raises(KeyboardInterrupt):
        video.downscale(whole, str(tmp_path / "small.mkv"), options(), progress=stop)
    assert list(tmp_path.iterdir()) == []
    assert threading.active_count() == threads


@pytest.mark.parametrize("name", ["small.mkv", "small.mp4"])
def test_what_was_interrupted_goes_on_and_is_what_it_would_have_been(tmp_path, whole, options, monkeypatch, name):
    monkeypatch.setattr(parts, "LENGTH", 3)
    target, straight = tmp_path / name, tmp_path / f"straight-{name}"
    asked = {"codec": "h264-rgb"} if name.endswith("mp4") else {}

    def stop(done, total):
        if done == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        video.downscale(whole, str(target), options(resume=True, **asked), progress=stop)
    assert not target.exists()
    kept = sorted((tmp_path / f"{name}.parts").glob("0*"))
    assert [path.stem for path in kept] == ["000000000"]
    assert len(frames_of(kept[0])) == 3  # it plays
    with pytest.raises(VideoError, match="parts of another work"):
        video.downscale(whole, str(target), options(resume=True, frames=(0, 7), **asked))
    (tmp_path / ".unshrink-0123456789abcdef.part").write_text("of one that was killed")
    seen = []
    done = video.downscale(whole, str(target), options(resume=True, **asked), progress=lambda *at: seen.append(at))
    assert seen == [(n, 8) for n in range(4, 9)]
    assert done.lost == ""
    video.downscale(whole, str(straight), options(**asked))
    for (time, pixels), (wanted, others) in zip(frames_of(target), frames_of(straight), strict=True):
        assert time == wanted
        assert (pixels == others).all()
    assert packets(target, "audio") == packets(straight, "audio")
    assert Clip(str(target)).tags == Clip(str(straight)).tags
    assert {path.name for path in tmp_path.iterdir()} == {name, straight.name}
    back = tmp_path / "back.mp4"
    video.upscale(str(target), str(back), options(resume=True))
    assert [time for time, _ in frames_of(back)] == list(TIMES)
    assert packets(back, "audio") == packets(whole, "audio")


def test_a_part_of_a_clip_is_made_in_parts_alike(tmp_path, whole, options, monkeypatch):
    monkeypatch.setattr(parts, "LENGTH", 2)
    found = []
    for resume in (False, True):
        small, back = tmp_path / f"small-{resume}.mkv", tmp_path / f"back-{resume}.mkv"
        video.downscale(whole, str(small), options(frames=(2, 7), resume=resume))
        video.upscale(str(small), str(back), options(resume=resume))
        found.append((frames_of(small), frames_of(back), packets(small, "audio")))
    for straight, joined in zip(*[of[:2] for of in found], strict=True):
        assert [time for time, _ in straight] == [time for time, _ in joined]
        assert all((a == b).all() for (_, a), (_, b) in zip(straight, joined, strict=True))
    assert found[0][2] == found[1][2]


def test_a_file_that_exists_is_kept_unless_it_may_be_replaced(tmp_path, exact, options):
    target = tmp_path / "small.mkv"
    target.write_text("mine")
    with pytest.raises(VideoError, match="exists already"):
        video.downscale(exact, str(target), options())
    assert target.read_text() == "mine"
    video.downscale(exact, str(target), options(overwrite=True))
    assert len(frames_of(target)) == 4


def test_few_frames_are_held_however_long_a_clip_is(tmp_path, options, monkeypatch):
    held, most = [0], [0]

    def counted(frame, colour):
        pixels = to_rgb(frame, colour).copy()
        weakref.finalize(pixels, lambda: held.__setitem__(0, held[0] - 1))
        held[0] += 1
        most[0] = max(most[0], held[0])
        return pixels

    monkeypatch.setattr(source_of_clips, "to_rgb", counted)
    clip = film(tmp_path / "film.mp4", films.pictures(60, (32, 24)), times=range(0, 60 * 3000, 3000))
    assert video.downscale(clip, str(tmp_path / "small.mkv"), options()).facts["frames"] == 60
    assert most[0] < 10


# -- running ahead -------------------------------------------------------------------------------------------------


def test_no_more_is_made_than_may_wait():
    made = []

    def make():
        for number in range(100):
            made.append(number)
            yield number

    items = ahead(make(), 3)
    for taken in range(20):
        assert next(items) == taken
        assert len(made) <= taken + 1 + 3 + 1  # those that wait, and one that waits to wait
    threads = threading.active_count()
    items.close()
    assert threading.active_count() == threads - 1
    assert len(made) < 30


def test_what_goes_wrong_ahead_comes_where_its_item_would_have():
    def make():
        yield 1
        raise VideoError("no")

    items = ahead(make(), 3)
    assert next(items) == 1
    with pytest.raises(VideoError, match="no"):
        next(items)


# -- tags ----------------------------------------------------------------------------------------------------------


def test_a_clock_tells_true_times_and_is_short_for_even_ones():
    stamps = np.cumsum(np.random.default_rng(0).integers(1500, 9000, 300))
    told = clock.clock_of(clock.Clock(Fraction(1, 90000), stamps).as_json())
    rounded = [round(stamp / 90) for stamp in stamps]
    assert [told.exact(time, Fraction(1, 1000)) for time in rounded] == list(stamps)
    assert told.exact(int(stamps[-1] // 90) + 5, Fraction(1, 1000)) is None
    even = clock.Clock(Fraction(1, 30000), np.arange(0, 100000 * 1001, 1001))
    assert len(json.dumps(even.as_json())) < 2000


@pytest.mark.parametrize(
    "value",
    [
        None,
        {},
        {"base": [1, 0], "steps": ""},
        {"base": [-1, 1000], "steps": "eJxjYGBgAAAABAAB"},
        {"base": [1, 1000], "steps": "????"},
        {"base": [1, 1000], "steps": ""},
        {"base": [1, 1000, 2], "steps": ""},
    ],
)
def test_a_clock_that_is_none_is_not_believed(value):
    assert clock.clock_of(value) is None


def test_a_clock_that_unpacks_without_end_is_not_believed(monkeypatch):
    bomb = clock.Clock(Fraction(1, 1000), np.arange(10000)).as_json()
    monkeypatch.setattr(clock, "MOST_STAMPS", 9999)
    assert clock.clock_of(bomb) is None


@pytest.mark.parametrize(
    "said", ["", "no", "[]", '{"matrix": 77, "range": true, "clocks": [1]}', '{"clocks": {"x": 1}}']
)
def test_of_a_damaged_tag_nothing_is_believed(said):
    record, origin, fault = tags.read({"unshrink_clip": said})
    assert (record, fault) == (None, "")
    assert (origin.matrix, origin.exact, dict(origin.clocks)) == (None, False, {})


def test_a_record_that_is_malformed_stands_in_the_way_of_nobody_who_names_the_weights(tmp_path, exact, options, capsys):
    small = tmp_path / "small.mkv"
    video.downscale(exact, str(small), options())
    _retag(small, {"UNSHRINK": '{"format": 1, "model": "irn-x2"}'})
    with pytest.raises(ProvenanceError, match="malformed"):
        video.upscale(str(small), str(tmp_path / "back.mkv"), VideoOptions())
    assert cli.main(["info", str(small)]) == 1
    assert "malformed" in capsys.readouterr().out
    assert video.upscale(str(small), str(tmp_path / "back.mkv"), options()).facts["to_size"] == (34, 26)


# -- the command line ----------------------------------------------------------------------------------------------


def test_the_commands_go_from_clip_to_clip(tmp_path, exact, model, capsys):
    folder = tmp_path / "small"
    assert cli.main(["downscale", exact, "-o", f"{folder}/", "-m", model, "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["output"] == str(folder / "exact_x2.mkv")
    assert (facts["frames"], facts["from_size"], facts["to_size"]) == (4, [33, 25], [17, 13])
    assert cli.main(["upscale", facts["output"], "-m", model]) == 0
    assert "17x13 -> 34x26 pixels" in capsys.readouterr().err
    assert (folder / "exact_restored.mp4").exists()
    assert cli.main(["downscale", exact, "-o", str(folder), "-m", model]) == 1
    assert cli.main(["downscale", exact, "-o", str(folder), "-m", model, "--skip", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["skipped"] == "exists already"


def test_what_a_clip_holds_is_said(carried, capsys):
    assert cli.main(["info", carried[1]]) == 0
    said = capsys.readouterr().out
    for part in (
        "32x24, ffv1 in matroska",
        "8 in 0.",
        "matrix 0, range 2, primaries 5, transfer 6",
        "2 chapters",
        "audio (aac)",
    ):
        assert part in said
    assert "scale 2, from 64x48, every value kept" in said
    assert cli.main(["info", carried[0], "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert (facts["frames"], facts["size"], facts["record"]) == (8, [64, 48], None)


def test_of_several_clips_one_that_fails_costs_no_other(tmp_path, exact, model):
    bad = tmp_path / "bad.mp4"
    bad.write_text("no")
    assert cli.main(["downscale", exact, str(bad), "-o", str(tmp_path / "out"), "-m", model]) == 3
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["exact_x2.mkv"]


def test_a_folder_or_a_pattern_of_clips_stands_for_them_and_one_with_pictures_for_these(
    tmp_path, exact, model, small_set, capsys
):
    folder, out = tmp_path / "films", tmp_path / "out"
    folder.mkdir()
    for name in ("a.mkv", "b.mkv"):
        (folder / name).write_bytes(Path(exact).read_bytes())
    for inputs in (str(folder), f"{folder}/*.mkv"):
        assert cli.main(["downscale", inputs, "-m", model]) == 2
        assert "name the folder" in capsys.readouterr().err
        assert cli.main(["downscale", inputs, "-o", str(out), "-m", model, "--overwrite"]) == 0
        assert sorted(path.name for path in out.iterdir()) == ["a_x2.mkv", "b_x2.mkv"]
    (folder / "c.png").write_bytes(next(small_set.glob("*.png")).read_bytes())
    capsys.readouterr()
    assert cli.main(["downscale", str(folder), "-o", str(tmp_path / "o"), "--dry-run", "--json"]) == 0
    said = capsys.readouterr()
    assert [json.loads(line)["input"] for line in said.out.splitlines()] == [str(folder / "c.png")]
    assert "2 .mkv; clips in a folder with pictures are to be named" in said.err


@pytest.mark.parametrize(
    "given",
    [["--effort", "1"], ["--format", "png"], ["--mark"], ["--verify"], ["--dry-run"], ["--rename"], ["--depth", "8"]],
)
def test_options_for_pictures_are_refused_with_clips(tmp_path, exact, given, capsys):
    assert cli.main(["downscale", exact, "-o", str(tmp_path / "a.mkv"), *given]) == 2
    message = capsys.readouterr().err
    assert f"{given[0]} is for pictures" in message
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("given", [["--codec", "ffv1"], ["--frames", "1:2"]])
def test_options_for_clips_are_refused_with_pictures(small_set, given, capsys):
    picture = str(next(small_set.glob("*.png")))
    for command in ("downscale", "upscale", "compare"):
        assert cli.main([command, picture, *given]) == 2
        assert f"{given[0]} is for clips" in capsys.readouterr().err


def test_clips_and_pictures_do_not_mix_and_a_clip_is_known_by_what_is_in_it(tmp_path, exact, small_set, capsys):
    picture = str(next(small_set.glob("*.png")))
    assert cli.main(["downscale", exact, picture, "-o", str(tmp_path)]) == 2
    assert "one after the other" in capsys.readouterr().err
    (tmp_path / "named.mp4").write_bytes(Path(picture).read_bytes())
    (tmp_path / "odd.dat").write_bytes(Path(exact).read_bytes())
    assert not is_clip(str(tmp_path / "named.mp4"))
    assert is_clip(str(tmp_path / "odd.dat"))
    with pytest.raises(ImageError, match="it is a video clip and not a picture"):
        images.read(Path(exact).read_bytes())


def test_without_the_extra_the_command_says_what_to_install(tmp_path, exact, monkeypatch, capsys):
    monkeypatch.setattr(video, "find_spec", lambda name: None)
    assert cli.main(["downscale", exact, "-o", str(tmp_path / "small.mkv")]) == 1
    assert 'pip install "unshrink[video]"' in capsys.readouterr().err


def test_a_comparison_is_what_single_frames_say(exact, model, options, capsys):
    found = video.compare(exact, options())
    single = load(model, threads=1)
    large = [frame for _, frame in frames_of(exact)]
    back = [single.upscale(single.downscale(frame), size=(33, 25)) for frame in large]
    small = [resize(frame, (17, 13)).round().clip(0, 255).astype(np.uint8) for frame in large]
    cubic = [resize(frame, (33, 25)).round().clip(0, 255).astype(np.uint8) for frame in small]
    for way, came in zip(found.ways, (back, cubic), strict=True):
        luma = [psnr_y(a, b, 2) for a, b in zip(large, came, strict=True)]
        assert way.psnr_y == pytest.approx(np.mean(luma))
        assert way.psnr_y_5 == pytest.approx(min(luma))
        assert way.ssim == pytest.approx(np.mean([ssim_y(a, b, 2) for a, b in zip(large, came, strict=True)]))
    assert found.frames == 4
    assert cli.main(["compare", exact, "-m", model]) == 0
    assert "4 frames of 33x25 through small ones of 17x13 (ffv1)" in capsys.readouterr().out


def test_a_comparison_is_shown_side_by_side_as_a_clip_or_a_picture(tmp_path, whole, exact, model, capsys):
    beside, still = tmp_path / "beside.mkv", tmp_path / "still.png"
    assert cli.main(["compare", exact, "-m", model, "-o", str(beside)]) == 0
    assert cli.main(["compare", exact, "-m", model, "-o", str(still)]) == 0
    single = load(model, threads=1)
    for (time, large), (shown_at, shown) in zip(frames_of(exact), frames_of(beside), strict=True):
        assert shown_at == time
        assert (shown[:, :33] == large).all()
        assert (shown[:, 33:66] == single.upscale(single.downscale(large), size=(33, 25))).all()
    assert images.read(still).size == (99, 25)
    assert cli.main(["compare", exact, "-m", model, "-o", str(still)]) == 1  # is there
    assert cli.main(["compare", exact, "-m", model, "-o", str(tmp_path / "a.gif")]) == 1
    assert cli.main(["compare", whole, "-m", model, "--frames", "2:5", "-o", str(tmp_path / "part.mp4")]) == 0
    assert [time for time, _ in frames_of(tmp_path / "part.mp4")] == [time - TIMES[2] for time in TIMES[2:5]]


def test_flicker_is_what_changes_between_frames_that_should_not():
    from unshrink.video.roundtrip import measured

    still = [np.full((16, 16, 3), 100, np.uint8)] * 3
    steady, shaking = [frame + 9 for frame in still], [still[0], still[1] + 2, still[2]]
    calm, wild = (m.way("", 0) for m in measured(still, [steady, shaking], 2))
    assert calm.psnr_y < wild.psnr_y
    assert calm.flicker == float("inf")
    assert 42 < wild.flicker < 44
