"""What the checks of the service share: a service as its own process, its memory, pictures to send, bombs, drips."""

import asyncio
import contextlib
import json
import os
import re
import struct
import subprocess
import sys
import threading
import zlib
from pathlib import Path

import httpx
import numpy as np

from unshrink.pictures.image import Image
from unshrink.pictures.io import write


class Serve:
    """``unshrink serve`` on a free port; its log is read as it comes."""

    def __init__(self, folder, *options):
        command = [
            sys.executable,
            "-m",
            "unshrink",
            "serve",
            "--port",
            "0",
            "--jobs-db",
            str(Path(folder) / "jobs.sqlite3"),
        ]
        self.process = subprocess.Popen([*command, *map(str, options)], stderr=subprocess.PIPE, text=True)
        self.url = re.search(r"http://[\d.]+:\d+", self.process.stderr.readline())[0]
        self.log = []
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()
        httpx.get(f"{self.url}/ready", timeout=120).raise_for_status()

    def _read(self):
        for line in self.process.stderr:
            self.log.append(json.loads(line))

    def end(self, sig):
        self.process.send_signal(sig)
        code = self.process.wait(60)
        self.reader.join()
        return code

    def memory(self):
        """MiB resident: of the service, and of it and its workers together."""
        sizes = [_resident(pid) for pid in self._processes()]
        return sizes[0], sum(sizes)

    def processor_seconds(self):
        """What it and its workers, those that are alive, have used."""
        return sum(_processor_seconds(pid) for pid in self._processes())

    def _processes(self):
        return [self.process.pid, *_children(self.process.pid)]


def _children(pid):
    """Of every thread: the kernel lists them by the one that started them."""
    lists = []
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):  # the thread has just ended
            lists.append(path.read_text())
    return [int(child) for child in " ".join(lists).split()]


def _resident(pid):
    try:
        return int(re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())[1]) / 1024
    except (OSError, TypeError):  # it has just ended
        return 0.0


def _processor_seconds(pid):
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:  # it has just ended
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def photo(path, width, height, seed=0):
    """A picture file of smooth noise."""
    small = np.random.default_rng(seed).integers(0, 256, (height // 8 + 1, width // 8 + 1, 3), np.uint8)
    write(Image(small.repeat(8, 0).repeat(8, 1)[:height, :width]), path, overwrite=True)
    return Path(path).read_bytes()


def bombs():
    """Small files of very many pixels or bytes, by name."""
    import pyvips

    found = {f"{side} black PNG": _black_png(side) for side in (7200, 12000, 19000, 40000)}
    black = pyvips.Image.black(12000, 12000, bands=3)
    found["12000 black WebP"] = black.webpsave_buffer(lossless=True)
    found["12000 black TIFF"] = black.tiffsave_buffer(compression="deflate")
    found["12000 black JPEG"] = black.jpegsave_buffer(Q=10)
    found["text of 1 GB in a PNG"] = _inflating_png(1 << 30)
    return found


def tiny_bombs():
    """Files of a few kilobytes at most that are large pictures, all within the limit of pixels, by name."""
    import pyvips

    found = {}
    for side in (3000, 5000, 7000):
        black = pyvips.Image.black(side, side, bands=3)
        found[f"{side} black tiny WebP"] = black.webpsave_buffer(lossless=True)
        found[f"{side} black tiny PNG"] = _black_png(side)
    return found


async def drip(url, end, answers, pause=2.0):
    """A client that sends one byte of a body at a time; as often as it is sent away, it comes again."""
    host, port = url.removeprefix("http://").split(":")
    loop = asyncio.get_running_loop()
    while loop.time() < end:
        reader, writer = await asyncio.open_connection(host, int(port))
        head = f"POST /v1/downscale HTTP/1.1\r\nHost: {host}:{port}\r\nContent-Length: 1000000\r\n{_BEARER}\r\n"
        writer.write(head.encode())
        answer = asyncio.ensure_future(reader.readline())
        while not answer.done() and loop.time() < end:
            writer.write(b"x")
            await asyncio.wait([answer], timeout=pause)
        if answer.done() and not answer.exception() and answer.result():
            answers[answer.result().split()[1].decode()] += 1
        answer.cancel()
        writer.close()


_BEARER = "Authorization: Bearer dripping\r\n"


def _chunk(kind, body):
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def _png(width, height, data, *more):
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    chunks = [_chunk(b"IHDR", header), *more, _chunk(b"IDAT", data), _chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def _black_png(side):
    return _png(side, side, _zeros(side * (side + 1)))


def _inflating_png(size):
    text = _chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + _zeros(size))
    return _png(8, 8, zlib.compress(bytes(72)), text)


def _zeros(count):
    deflate = zlib.compressobj(9)
    parts = [deflate.compress(bytes(min(1 << 20, count - start))) for start in range(0, count, 1 << 20)]
    return b"".join([*parts, deflate.flush()])
