"""tools/ship.py: what becomes of trained weights before they are installed."""

import dataclasses

import numpy as np
import ship

from networks import random_weights


def test_the_mean_lies_halfway_and_says_what_the_run_says():
    after = dataclasses.replace(random_weights(2), about={"training": {"steps": 3}})
    before = dataclasses.replace(after, tensors={name: 3 * value for name, value in after.tensors.items()}, about={})
    made = ship.mean(before, after)
    assert made.about == after.about
    for name, value in after.tensors.items():
        assert made.tensors[name].dtype == value.dtype
        np.testing.assert_allclose(made.tensors[name], 2 * value, rtol=1e-3)
