"""Compiled networks that others have altered change no picture: in a folder that they can write to, and broken inside.

python checks/compiled.py
"""

import hashlib
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from measured import keep
from serving import photo

DIGEST = 32


def upscale(folder, name):
    """The picture that comes back, and what was said."""
    command = [sys.executable, "-m", "unshrink", "upscale", f"{folder}/small.png", "-o", f"{folder}/{name}.png"]
    environment = os.environ | {"UNSHRINK_CACHE": f"{folder}/cache"}
    done = subprocess.run([*command, "-m", "irn-x2", "-q"], env=environment, capture_output=True, text=True)
    out = Path(folder) / f"{name}.png"
    return out.read_bytes() if out.exists() else b"", done.stderr


def altered(blob, how):
    body = bytearray(blob[DIGEST:])
    if how == "weights":
        body[-len(body) // 4 :] = bytes(len(body) // 4)
    else:
        body[: len(body) // 2] = b"\xff\xfe" * (len(body) // 4)
    return hashlib.sha256(body).digest() + bytes(body)


def main():
    found, held = {}, True
    with tempfile.TemporaryDirectory() as folder:
        photo(f"{folder}/small.png", 96, 64)
        right, _ = upscale(folder, "right")
        blobs = {path: path.read_bytes() for path in Path(folder, "cache").iterdir()}
        for how, mode in (("weights", 0o777), ("inside", 0o777), ("inside", 0o700)):
            for path, blob in blobs.items():
                path.write_bytes(altered(blob, how))
            Path(folder, "cache").chmod(mode)
            name = f"{how}, folder {mode:o}"
            picture, said = upscale(folder, name.replace(", ", "_").replace(" ", "_"))
            same, traceback = picture == right, "Traceback" in said
            found[name] = {"same_picture": same, "traceback": traceback, "said": said.count("not kept in")}
            held &= same and not traceback and found[name]["said"] == (mode == 0o777)
    keep("compiled", found)
    raise SystemExit(not (held and blobs))


if __name__ == "__main__":
    main()
