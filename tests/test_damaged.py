"""Damaged copies of the small set: whatever a file holds, it is read or refused, and libraries stay silent."""

import io
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

READ_ALL = """
import sys, warnings
from pathlib import Path
import unshrink
warnings.simplefilter("ignore")
read = refused = 0
for path in sorted(Path(sys.argv[1]).iterdir()):
    try:
        picture = unshrink.read(path)
        assert picture.pixels.shape[0] == picture.size[1], path
        read += 1
    except unshrink.ImageError as error:
        assert "\\n" not in str(error) and path.name in str(error), error
        refused += 1
    except Exception as error:
        raise AssertionError(f"{path}: {error!r}") from error
print(read, refused)
"""


def damaged(data: bytes, rng: np.random.Generator) -> list[bytes]:
    """A file cut off at many places, and with some of its bytes replaced, the first ones more often."""
    cut = [data[: int(len(data) * share)] for share in np.linspace(0, 0.99, 12)]
    spoilt = []
    for reach in [200] * 15 + [len(data)] * 15:
        values = np.frombuffer(data, np.uint8).copy()
        values[rng.integers(0, min(reach, len(values)), 4)] = rng.integers(0, 256, 4)
        spoilt.append(values.tobytes())
    return cut + spoilt


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP", "TIFF", "AVIF", "BMP", "GIF", "PPM"])
def test_damaged_files_are_read_or_refused(form, small_set, tmp_path):
    """In a process of its own: a crash would take the tests along, and C libraries write to the real stderr."""
    rng = np.random.default_rng(0)
    for path in sorted(Path(small_set).glob("*.png")):
        stream = io.BytesIO()
        Image.open(path).crop((60, 60, 124, 108)).save(stream, form)
        for number, data in enumerate(damaged(stream.getvalue(), rng)):
            (tmp_path / f"{path.stem}{number}.{form.lower()}").write_bytes(data)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    command = [sys.executable, "-c", READ_ALL, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200, check=False, env=environment)
    assert (done.returncode, done.stderr) == (0, "")
    read, refused = map(int, done.stdout.split())
    assert read + refused == 4 * 42
    assert read > 0
    assert refused >= 4, "empty files at least"
