"""What is measured in the tests, and folders of results."""

import json
import re

import numpy as np

from unshrink.pictures.image import Image


class Nearest:
    """A method: every second value, and back by repeating it."""

    name, scale = "nearest-x2", 2

    def downscale(self, picture):
        return Image(np.ascontiguousarray(picture.pixels[::2, ::2]))

    def upscale(self, picture):
        return Image(picture.pixels.repeat(2, 0).repeat(2, 1))


def write(folder, method, data, mean, **about):
    path = folder / re.sub(r"\W", "", method) / f"{data}.json"
    path.parent.mkdir(exist_ok=True)
    row = {"file_bytes": 11, "budget_bytes": 10}
    made = {"commit": "abc", "unshrink": "1", "machine": {"cpu": "any"}}
    result = {"schema": 1, "method": method, "scale": 2, "set": data, "mean": mean, "pictures": {"a": row}}
    path.write_text(json.dumps(result | made | about))


def folder_of_results(folder):
    """One method, one codec, one network of a short training and two published rows."""
    means = {"psnr_y": 30.0, "ssim_y": 0.9, "psnr_rgb": 28.0, "lr_psnr_y": None, "lr_ssim_y": 1.0}
    means |= {"psnr_cb": 38.0, "psnr_cr": 39.0, "psnr_chroma": 38.5, "colour_error": 0.6, "colour_error_99": 3.0}
    means |= {"lr_psnr_cb": 41.0, "lr_psnr_cr": None, "lr_psnr_chroma": None, "lr_colour_error": 0.1}
    means |= {"lr_colour_error_99": 0.5}
    means |= {"png_bits_per_pixel": 2.0, "webp_bits_per_pixel": 1.5}
    means |= {"lpips": 0.05}
    write(folder, "<b>mine</b>", "Set5", means, parameters=1000, operations=2000)
    small = {"parameters": 500_000, "operations": 2000, "training": {"steps": 7}}
    write(folder, "short-mine", "Set5", means, **small)
    sizes = {"file_bits_per_pixel": 2.0, "psnr_y": 35.0, "ssim_y": 0.95, "psnr_rgb": 33.0, "psnr_chroma": 37.0}
    write(folder, "jpeg-mine-png", "Set5", sizes, bytes_of={"method": "<b>mine</b>", "file": "png"})
    source = '[sources.them]\ntitle = "Them & co, Their way, 2020"\nurl = "https://example.org"\n'
    read = '[sources.read]\ntitle = "They, Read, 2021"\nurl = "https://example.org"\nchecked = "their table"\n'
    row = '[[row]]\nmethod = "theirs"\nscale = 2\nparameters = "2 M"\nsource = "them"\nSet5 = [31.0]\n'
    other = row.replace("theirs", "read").replace('"them"', '"read"')
    (folder / "published.toml").write_text(source + read + row + other)
    return folder
