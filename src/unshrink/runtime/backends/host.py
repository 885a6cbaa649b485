"""How pieces go through backends that compute in the memory of the machine, and what they take of it."""

from collections.abc import Iterable, Sequence

from unshrink.network.layers import Step

BYTES_PER_FEATURE = 16  # at the peak of a run, measured with OpenVINO, the hungriest: four copies in float32
BYTES_PER_VALUE = 4


class Host:
    """What such backends have in common: `Backend.device_memory`, `joins` and `bytes_per_pixel`."""

    @property
    def device_memory(self) -> int:
        """None of its own."""
        return 0

    def joins(self, before: Step, after: Step) -> bool:
        """Each resampling goes with its neighbour on the coarser side: so little lies between."""
        return after.grows > 1 or before.shrinks > 1

    def bytes_per_pixel(self, steps: Sequence[Step]) -> int:
        """Of the hungriest step."""
        return bytes_at_peak([[step] for step in steps], BYTES_PER_FEATURE)


def bytes_at_peak(units: Iterable[Sequence[Step]], bytes_per_feature: int) -> int:
    """The most that a unit, steps that are run as one, takes for each pixel of the coarsest.

    Args:
        units: steps between which planes are held.
        bytes_per_feature: what a feature of one pixel takes while its step runs.
    """
    units = list(units)
    scale = max(step.scale for unit in units for step in unit)
    return max((scale // unit[0].scale) ** 2 * _of_unit(unit, bytes_per_feature) for unit in units)


def _of_unit(unit: Sequence[Step], bytes_per_feature: int) -> int:
    first, last = unit[0], unit[-1]
    values = first.channels[0] * first.shrinks**2 + last.channels[1] * last.grows**2
    return max(bytes_per_feature * max(step.layer.features for step in unit), BYTES_PER_VALUE * values)
