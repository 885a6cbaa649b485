"""What a clip that plays everywhere does to a small picture, as a degradation: H.264 in 4:2:0, among moved frames.

Each small picture is one frame of a short clip, whose other frames are made by the same network from the same large
picture, moved: so what is coded is what movement leaves, as in real clips.  What arrives has the values of the very
codec that clips are written with (`video.containers`); its gradient is that of JPEG with the steps of H.264 and 4:2:0.

Shapes:  N crops, small (N, 3, h, w) in [0, 1] on the 8-bit grid; drawn (N, 5) in [0, 1).

Reference: Tian et al., Self-Conditioned Probabilistic Learning of Video Rescaling, ICCV 2021 (a codec within training).
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from unshrink.training.jpeg import FULL_RANGE, stepped

FRAMES = 3
"""Of each clip; the one that is restored is any of them."""
FACTORS = (12, 28)
"""Rate factors (CRF)."""
STILL, CUT = 0.25, 0.1
"""Shares of clips that stand still, and whose other frames show another place; all others move steadily."""
SPEED = 3.0
"""Standard deviation of the movement both ways, in pixels of the large picture for each frame."""


def draw_h264(small: Tensor, generator: torch.Generator) -> Tensor:
    """Of each crop: rate factor, place in its clip, kind of movement, and movement down and right: (N, 5)."""
    return torch.rand(len(small), 5, generator=generator, device=small.device)


def h264(small: Tensor, drawn: Tensor, strength: float, moved: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """The small pictures as they arrive, on the 8-bit grid."""
    low, high = FACTORS
    factors, places = low + drawn[:, 0] * (high - low), (drawn[:, 1] * FRAMES).long()
    step, each = movement(drawn[:, 2], drawn[:, 3:]), torch.arange(len(small))
    clips = small.detach()[:, None].repeat(1, FRAMES, 1, 1, 1)
    for ahead in range(1, FRAMES):
        others = (places + ahead) % FRAMES
        clips[each, others] = moved(each, (others - places)[:, None] * step)
    values = torch.stack([coded(*clip) for clip in zip(clips, factors.tolist(), places.tolist(), strict=True)])
    steps = FULL_RANGE[0, 0] * 2 ** ((factors - 4) / 6)  # of the transform, ITU-T H.264, 8.5.9
    imitated = stepped(small, steps[:, None, None, None].expand(-1, 2, 8, 8), torch.ones_like(places, dtype=torch.bool))
    return imitated + (values.to(small) - imitated).detach()


def movement(kind: Tensor, drawn: Tensor) -> Tensor:
    """Whole pixels of the large picture from frame to frame: (N,) and (N, 2), each in [0, 1) -> (N, 2)."""
    normal = SPEED * 2**0.5 * torch.erfinv((2 * drawn - 1).clamp(-0.999, 0.999))
    far = 20 + 40 * drawn
    kind = kind[:, None]
    return torch.where(kind < STILL, 0.0, torch.where(kind < STILL + CUT, far, normal)).round().long()


def coded(clip: Tensor, factor: float, place: int) -> Tensor:
    """A frame of a clip as a player shows it: (F, 3, h, w) in [0, 1] -> (3, h, w)."""
    import av  # only who trains for clips needs it

    from unshrink.video.colour import BT709, LIMITED, Colour, to_frame, to_rgb
    from unshrink.video.containers import CODECS, evened

    codec, colour = CODECS["h264"], Colour(BT709, LIMITED)
    encoder: Any = av.CodecContext.create(codec.encoder, "w")
    decoder: Any = av.CodecContext.create("h264", "r")
    encoder.thread_count = decoder.thread_count = 1
    encoder.width, encoder.height = evened((clip.shape[3], clip.shape[2]))
    encoder.pix_fmt, encoder.framerate = codec.pixels, 25
    encoder.options = {"crf": f"{factor:g}", "x264-params": "log-level=none"}
    packets = []
    for number, pixels in enumerate(_pixels(clip)):
        frame = to_frame(pixels, codec, colour)
        frame.pts = number
        packets += encoder.encode(frame)
    packets += encoder.encode(None)
    came = [frame for packet in [*packets, None] for frame in decoder.decode(packet)]
    shown = to_rgb(min(came, key=lambda frame: abs(frame.pts - place)), colour)
    return torch.from_numpy(shown[: clip.shape[2], : clip.shape[3]]).permute(2, 0, 1) / 255


def _pixels(clip: Tensor) -> NDArray[np.uint8]:
    return (clip * 255).round().byte().permute(0, 2, 3, 1).cpu().numpy()
