"""The record: it survives every format, leaves the XMP packet as it was, and lets nothing malformed through."""

import contextlib
import dataclasses
import io
import json
import struct
import time
from fractions import Fraction
from hashlib import sha256
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from unshrink.errors import ProvenanceError, UnshrinkWarning
from unshrink.pictures.image import Image
from unshrink.pictures.io import read, write
from unshrink.pictures.record import NAMESPACE, Record, checksum, embed, extract
from unshrink.pictures.sizes import Frame, shrunk

RESIZED = Record("irn-x4", "0123456789abcdef", 4, (1500, 1000), 8, 3, "fedcba9876543210", (1600, 1068))
RECORD = Record("irn-x4", "0123456789abcdef", 4, (4000, 3000), 8, 3, "fedcba9876543210")
JSON = (
    '{"format":1,"model":"irn-x4","weights":"0123456789abcdef","scale":4,"size":[4000,3000],"depth":8,'
    '"channels":3,"pixels":"fedcba9876543210"}'
)
OTHER = (
    b'<?xpacket begin="\xef\xbb\xbf" id="W5M0MpCehiHzreSzNTczkc9d"?>\n<x:xmpmeta xmlns:x="adobe:ns:meta/">\n'
    b'<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">\n<rdf:Description rdf:about="" '
    b'xmlns:dc="http://purl.org/dc/elements/1.1/" dc:format="image/jpeg">\xc3\xa4</rdf:Description>\n</rdf:RDF>\n'
    b"</x:xmpmeta>\n" + b" " * 2000 + b'\n<?xpacket end="w"?>'
)


def picture(channels=3, depth=8, xmp=None) -> Image:
    pixels = np.random.default_rng(0).integers(0, 2**depth, (6, 9, channels), f"uint{depth}")
    return Image(pixels, xmp=xmp)


def through_file(image, form, **options):
    stream = io.BytesIO()
    write(image, stream, format=form, **options)
    return stream.getvalue()


# ---- the record -----------------------------------------------------------------------------------------------------


def test_json_is_canonical():
    assert RECORD.to_json() == JSON
    assert Record.from_json(JSON) == RECORD
    assert RESIZED.to_json() == JSON.replace("4000,3000", "1500,1000")[:-1] + ',"resized":[1600,1068]}'
    assert Record.from_json(RESIZED.to_json()) == RESIZED
    told = dataclasses.replace(RECORD, precision="bfloat16")
    assert told.to_json() == JSON[:-1] + ',"precision":"bfloat16"}'
    assert Record.from_json(told.to_json()) == told


records = st.builds(
    Record,
    model=st.from_regex(r"[a-z0-9][a-z0-9._-]{0,63}", fullmatch=True),
    weights=st.from_regex(r"[0-9a-f]{16}", fullmatch=True),
    scale=st.integers(2, 16),
    size=st.tuples(st.integers(1, 8589), st.integers(1, 1_000_000)),
    depth=st.sampled_from([8, 16]),
    channels=st.integers(1, 4),
    pixels=st.from_regex(r"[0-9a-f]{16}", fullmatch=True),
)


@st.composite
def resized_records(draw):
    """Those of pictures that were resized on the way."""
    size, scale = draw(st.tuples(st.integers(9, 5000), st.integers(9, 5000))), draw(st.integers(2, 8))
    frame = Frame(size, shrunk(size, Fraction(draw(st.integers(110, 100 * scale)), 100)), scale)
    assume(frame.resized)
    return dataclasses.replace(RESIZED, size=size, scale=scale, resized=frame.between)


records = records | resized_records()


@given(record=records)
def test_every_record_survives_json_and_a_picture(record):
    assert Record.from_json(record.to_json()) == record
    found, plain = extract(embed(picture(xmp=OTHER), record))
    assert found == record
    assert plain.xmp == OTHER


def test_unknown_keys_and_white_space_are_ignored():
    assert Record.from_json(json.dumps({"new": [1], **json.loads(JSON)}, indent=2)) == RECORD


def test_a_newer_format_says_update():
    with pytest.raises(ProvenanceError, match=r"format 2 .* newer version of unshrink; update unshrink, or .*`model`"):
        Record.from_json('{"format":2,"anything":true}')


WRONG = {
    "format": [0, -1, "1", 1.0, True, None, 10**10],
    "model": ["", "IRN", "-a", "a" * 65, "a/b", "../a", "a\n", 1, None, ["a"]],
    "weights": ["", "0123456789abcde", "0123456789ABCDEF", "0123456789abcdefg", "0123456789abcdef\n", 1, None],
    "scale": [0, 1, 17, -4, 4.0, "4", True, None, 10**30],
    "size": [[], [1], [1, 2, 3], [0, 1], [1, -1], [1.0, 1], [True, 1], ["1", 1], [10**6 + 1, 1], [10**5] * 2, 7, None],
    "depth": [0, 1, 10, 12, 32, 8.0, "8", True, None],
    "channels": [0, 5, -1, 3.0, "RGB", True, None],
    "pixels": ["", "0123456789ABCDEF", "x" * 16, 7, None],
    "resized": [[], [1], [1, 2, 3], [0, 1], [1.0, 1], ["1", 1], [10**5] * 2, 7, False, "4000x3000", [4000, 3000]],
    "precision": ["", "Float32", "float 32", "f" * 17, 32, False, ["float32"]],
}  # fmt: skip


@pytest.mark.parametrize("key, value", [(key, value) for key, values in WRONG.items() for value in values])
def test_wrong_values(key, value):
    with pytest.raises(ProvenanceError, match=r"malformed.*`model`") as caught:
        Record.from_json(json.dumps({**json.loads(JSON), key: value}))
    assert key in str(caught.value)
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize("key", sorted(WRONG.keys() - {"resized", "precision"}))
def test_missing_keys(key):
    with pytest.raises(ProvenanceError, match="malformed"):
        Record.from_json(json.dumps({name: value for name, value in json.loads(JSON).items() if name != key}))


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "1", "null", "NaN", '"x"', "[" * 4000, '{"a":' * 800, "9" * 4096, JSON + " " * 5000, JSON + "x"],
)
def test_malformed_json(text):
    with pytest.raises(ProvenanceError, match="malformed"):
        Record.from_json(text)


@given(st.text(max_size=200) | st.recursive(st.none() | st.integers() | st.text(), st.lists).map(json.dumps))
def test_any_text_is_a_record_or_a_provenance_error(text):
    with pytest.raises(ProvenanceError):
        Record.from_json(text)


# ---- the checksum ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("depth, letter", [(8, "B"), (16, "<H")])
def test_checksum_by_the_specification(depth, letter):
    pixels = picture(depth=depth).pixels
    samples = b"".join(struct.pack(letter.replace("B", "<B"), int(value)) for value in pixels.reshape(-1))
    assert checksum(pixels) == sha256(b"9 6 3 %d\n" % depth + samples).hexdigest()[:16]


@pytest.mark.parametrize("depth", [8, 16])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_checksum_as_documented(depth, channels):
    document = (Path(__file__).parents[1] / "docs" / "file-format.md").read_text(encoding="utf-8")
    names = {}
    exec(document.partition("```python\n")[2].partition("```")[0], names)
    noisy, plain = picture(channels, depth).pixels, np.full((6, 9, channels), 2**depth - 1, f"uint{depth}")
    for pixels in (noisy, plain):
        assert names["fingerprint"](9, 6, channels, depth, pixels.reshape(-1).tolist()) == checksum(pixels)
    assert checksum(np.arange(24, dtype=np.uint8).reshape(2, 4, 3)) in document
    assert checksum(np.arange(24, dtype=np.uint16).reshape(2, 4, 3) * np.uint16(2000)) in document
    assert JSON in document


def test_checksum_never_changes():
    """Pictures made long ago carry these."""
    ramp = np.arange(24).reshape(2, 4, 3)
    assert checksum(ramp.astype(np.uint8)) == "537858a00d2b08ba"
    assert checksum((ramp * 2000).astype(np.uint16)) == "78a2c7cd8ff14985"


def test_checksum_tells_apart():
    pixels = picture().pixels
    changed = pixels.copy()
    changed[5, 8, 2] ^= 1
    variants = [pixels, changed, pixels.astype(np.uint16), pixels.reshape(9, 6, 3), pixels[::-1], pixels[..., ::-1]]
    variants += [pixels[..., :1], pixels[..., :2], np.dstack([pixels, pixels[..., :1]])]
    assert len({checksum(variant) for variant in variants}) == len(variants)


def test_checksum_does_not_depend_on_memory_or_packing():
    for depth in (8, 16):
        rgb, grey = picture(3, depth).pixels, picture(1, depth).pixels
        opaque = np.full_like(grey, 2**depth - 1)
        assert checksum(rgb) == checksum(np.asfortranarray(rgb)) == checksum(rgb[::-1][::-1])
        assert checksum(rgb) == checksum(rgb.astype(rgb.dtype.newbyteorder(">")))
        assert checksum(rgb) == checksum(np.dstack([rgb, opaque]))
        assert checksum(grey) == checksum(np.dstack([grey, grey, grey])) == checksum(np.dstack([grey, opaque]))
        assert checksum(np.dstack([grey, rgb[..., :1]])) == checksum(np.dstack([grey, grey, grey, rgb[..., :1]]))
        assert checksum(np.dstack([grey, grey, grey, opaque])) == checksum(grey)


# ---- in pictures ----------------------------------------------------------------------------------------------------

FORMATS = [("png", 8), ("png", 16), ("tiff", 8), ("tiff", 16), ("webp", 8), ("jpeg", 8), ("avif", 8)]


@pytest.mark.parametrize("form, depth", FORMATS)
@pytest.mark.parametrize("xmp", [None, OTHER])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_the_record_survives_every_format(form, depth, xmp, channels):
    if form == "jpeg" and channels in (2, 4):
        pytest.skip("JPEG has no alpha")
    image = picture(channels, depth, xmp)
    record = dataclasses.replace(RECORD, pixels=checksum(image.pixels))
    source = through_file(embed(image, record), form, lossy=True)
    found, plain = extract(read(source))
    assert found == record
    assert plain.xmp == xmp
    if form not in ("jpeg", "avif"):
        assert checksum(plain.pixels) == record.pixels
    if (form, depth, channels) == ("tiff", 16, 2):
        return  # the one kind that Pillow cannot open
    shown = PIL.Image.open(io.BytesIO(source)).info["xmp"]
    assert record.to_json().replace('"', "&quot;").encode() in shown
    assert NAMESPACE.encode() in shown


def test_the_packet_is_well_formed_xml():
    ElementTree = pytest.importorskip("xml.etree.ElementTree")
    for xmp in (None, OTHER):
        root = ElementTree.fromstring(embed(picture(xmp=xmp), RECORD).xmp.decode())
        values = [element.get(f"{{{NAMESPACE}}}record") for element in root.iter()]
        assert [value for value in values if value] == [JSON]


def test_without_a_record():
    for xmp in (None, OTHER, b"\xff\0 no packet"):
        image = picture(xmp=xmp)
        assert extract(image) == (None, image)


def test_a_new_record_replaces_the_old_one():
    newer = dataclasses.replace(RECORD, scale=2)
    found, plain = extract(embed(embed(picture(xmp=OTHER), RECORD), newer))
    assert (found, plain.xmp) == (newer, OTHER)


REWRITTEN = {
    "attribute beside others": b"<rdf:Description rdf:about='' dc:format='image/png' unshrink:record=\"%s\"/>",
    "single quotes": b"<rdf:Description rdf:about='' unshrink:record='%s'/>",
    "element": b"<rdf:Description rdf:about=''>\n <unshrink:record>%s</unshrink:record>\n</rdf:Description>",
}


@pytest.mark.parametrize("how", REWRITTEN)
def test_a_packet_that_another_program_has_rewritten(how):
    content = JSON.replace('"', "&#34;" if how == "single quotes" else "&quot;").encode()
    if how == "element":
        content = JSON.encode()
    found, plain = extract(picture(xmp=OTHER.replace(b"</rdf:RDF>", REWRITTEN[how] % content + b"</rdf:RDF>")))
    assert found == RECORD
    assert b"irn-x4" not in plain.xmp
    assert extract(embed(plain, RECORD))[0] == RECORD


def test_two_records_are_refused():
    element = embed(picture(), RECORD).xmp.partition(b'#">')[2].partition(b"</rdf:RDF>")[0]
    twice = OTHER.replace(b"</rdf:RDF>", element * 2 + b"</rdf:RDF>")
    with pytest.raises(ProvenanceError, match=r"several records.*`model`"):
        extract(picture(xmp=twice))


def test_a_malformed_record_in_a_picture():
    xmp = embed(picture(), RECORD).xmp.replace(b"irn-x4", b"../../x")
    with pytest.raises(ProvenanceError, match=r"model = '\.\./\.\./x'"):
        extract(picture(xmp=xmp))
    with pytest.raises(ProvenanceError, match="malformed"):
        extract(picture(xmp=embed(picture(), RECORD).xmp.replace(b"irn-x4", b"\xff\xfe")))


@pytest.mark.parametrize("xmp", [b"no packet", OTHER.decode().encode("utf-16"), OTHER + bytes(1 << 20)])
def test_a_packet_without_a_place_is_replaced_with_a_warning(xmp):
    with pytest.warns(UnshrinkWarning, match="XMP"):
        image = embed(picture(xmp=xmp), RECORD)
    found, plain = extract(image)
    assert (found, plain.xmp) == (RECORD, None)


def test_the_record_goes_before_the_last_end():
    xmp = b"<!-- </rdf:RDF> -->" + OTHER
    image = embed(picture(xmp=xmp), RECORD)
    assert image.xmp.startswith(b"<!-- </rdf:RDF> -->")
    assert extract(image)[1].xmp == xmp


def test_only_the_last_part_of_a_packet_is_searched():
    xmp = embed(picture(), RECORD).xmp
    assert extract(picture(xmp=xmp + bytes(1 << 19)))[0] == RECORD
    assert extract(picture(xmp=xmp + bytes(1 << 20)))[0] is None


def test_long_packets_are_kept():
    long = OTHER.replace(b"\xc3\xa4", b"a" * (3 << 20))
    found, plain = extract(embed(picture(xmp=long), RECORD))
    assert (found, plain.xmp) == (RECORD, long)


@pytest.mark.parametrize(
    "piece",
    [b' unshrink:record="', b" unshrink:record='", b"<unshrink:record>", b" unshrink:record" + b" " * 1000, b"<rdf:"],
)
def test_hostile_packets_cost_little(piece):
    start = time.process_time()
    with contextlib.suppress(ProvenanceError):
        extract(picture(xmp=piece * ((4 << 20) // len(piece))))
    assert time.process_time() - start < 2
