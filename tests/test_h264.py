"""Clips that play everywhere as a degradation, against the file that a clip is written to."""

from fractions import Fraction

import numpy as np
import pytest
import torch
from PIL import Image as PilImage
from torch import Tensor

from unshrink.pictures import metrics
from unshrink.training import codecs, h264
from unshrink.training.degradations import DEGRADATIONS

av = pytest.importorskip("av", reason="clips need PyAV: pip install 'unshrink[video]'")


def photo(height: int = 48, width: int = 64, down: int = 0, right: int = 0) -> Tensor:
    """A window of a photo that a good scaler has made small (1, 3, h, w)."""
    from skimage.data import chelsea

    small = np.asarray(PilImage.fromarray(chelsea()).resize((301, 216), PilImage.Resampling.LANCZOS))
    window = small[80 + down :, 80 + right :][:height, :width]
    return torch.from_numpy(window.copy()).permute(2, 0, 1)[None].float() / 255


def pixels(tensor: Tensor) -> np.ndarray:
    return (tensor[0].permute(1, 2, 0) * 255).round().byte().numpy()


def drawn(factor: float = 0.5, place: float = 0.0, kind: float = 0.0, down: float = 0.5, right: float = 0.5) -> Tensor:
    """The numbers of one crop; a clip that stands still, and the rate factor in the middle, unless said."""
    return torch.tensor([[factor, place, kind, down, right]])


def written(clip: list[np.ndarray], factor: float, path: str) -> list[np.ndarray]:
    """Frames as they are read from a file that was written as small clips are."""
    from unshrink.video.colour import BT709, LIMITED, Colour, to_frame, to_rgb
    from unshrink.video.containers import CODECS

    codec, colour = CODECS["h264"], Colour(BT709, LIMITED)
    with av.open(path, "w") as out:
        stream = out.add_stream(codec.encoder, rate=25, options={"crf": f"{factor:g}"})
        stream.height, stream.width, stream.pix_fmt = *clip[0].shape[:2], codec.pixels
        stream.time_base = Fraction(1, 25)
        for frame in [*(to_frame(values, codec, colour) for values in clip), None]:
            out.mux(stream.encode(frame))
    with av.open(path) as container:
        return [to_rgb(frame, colour) for frame in container.decode(video=0)]


@pytest.mark.parametrize("place", range(h264.FRAMES))
def test_what_arrives_is_the_frame_that_a_player_shows(place, tmp_path):
    """Of a clip that moves by two small pixels a frame, in whichever place the frame stands."""
    shifts: list[Tensor] = []

    def moved(which: Tensor, shift: Tensor) -> Tensor:
        assert which.tolist() == [0]
        shifts.append(shift)
        return photo(down=int(shift[0, 0]), right=int(shift[0, 1]))

    numbers = drawn(place=(place + 0.5) / h264.FRAMES, kind=0.99, down=0.8, right=0.3)
    (step,) = h264.movement(numbers[:, 2], numbers[:, 3:])
    assert step.ne(0).all()
    arrived = h264.h264(photo(), numbers, 0.0, moved)
    assert sorted(tuple(shift[0].tolist()) for shift in shifts) == sorted(
        tuple(((other - place) * step).tolist()) for other in range(h264.FRAMES) if other != place
    )
    clip = [pixels(photo(48, 64, *((other - place) * step).tolist())) for other in range(h264.FRAMES)]
    factor = sum(h264.FACTORS) / 2
    expected = written(clip, factor, str(tmp_path / "clip.mkv"))[place]
    np.testing.assert_array_equal(pixels(arrived), expected)


def test_higher_factors_lose_more_and_odd_sides_stay():
    small = photo(47, 63)
    losses = [
        metrics.psnr(pixels(h264.h264(small, drawn(x), 0.0, lambda which, shifts: small)), pixels(small))
        for x in (0, 0.9)
    ]
    assert 28 < losses[1] < losses[0] - 3


def test_clips_stand_still_move_or_are_cut_and_the_gradient_goes_through_all():
    numbers = h264.draw_h264(torch.empty(4000, 3, 8, 8), torch.Generator().manual_seed(0))
    steps = h264.movement(numbers[:, 2], numbers[:, 3:])
    still, far = (steps == 0).all(dim=1), (steps >= 20).any(dim=1)
    assert still.float().mean() == pytest.approx(h264.STILL, abs=0.05)
    assert far.float().mean() == pytest.approx(h264.CUT, abs=0.02)
    assert steps[~far].float().std() == pytest.approx(h264.SPEED * (1 - h264.STILL / 0.9) ** 0.5, rel=0.1)
    assert set((numbers[:, 1] * h264.FRAMES).long().tolist()) == set(range(h264.FRAMES))
    small = photo(32, 32).repeat(3, 1, 1, 1).requires_grad_()
    kinds = torch.cat([drawn(kind=kind, place=kind) for kind in (0.1, 0.3, 0.9)])
    arrived = h264.h264(small, kinds, 0.0, lambda which, shifts: small.detach()[which])
    (gradient,) = torch.autograd.grad(arrived.square().sum(), small)
    assert (gradient.flatten(1).abs().amax(dim=1) > 0).all()


def test_half_of_the_crops_are_pictures_and_half_are_frames():
    """Each as its own degradation makes it of the same numbers, asking for its own neighbours."""
    small = torch.cat([photo(32, 32, down=8 * place) for place in range(4)])
    row = DEGRADATIONS["recoding"]
    numbers = row.draw(small, torch.Generator().manual_seed(0))
    numbers[:, 10] = torch.tensor([0.2, 0.8, 0.3, 0.9])
    arrived = row.apply(small, numbers, 0.0, lambda which, shifts: small[which])
    pictures = codecs.codecs(small, numbers[:, :5], 0.0, None)
    frames = h264.h264(small, numbers[:, 5:10], 0.0, lambda which, shifts: small[which])
    assert not torch.equal(pictures[1], frames[1])
    assert torch.equal(arrived[[0, 2]], pictures[[0, 2]])
    assert torch.equal(arrived[[1, 3]], frames[[1, 3]])
    kinds = row.draw(torch.empty(2000, 3, 8, 8), torch.Generator().manual_seed(0))[:, 10]
    assert (kinds < 0.5).float().mean() == pytest.approx(0.5, abs=0.05)
