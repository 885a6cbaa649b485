"""Weights: one named, hashed, self-describing file; found by its path, or by its name among those installed."""

from unshrink.weights.catalogue import (
    DEFAULT_SCALE,
    Entry,
    bears_changes,
    find,
    for_ratio,
    for_scale,
    is_default,
    list_models,
    load,
    number_to_mark,
    of_identity,
    of_number,
)
from unshrink.weights.file import DIRECTIONS, IDENTITY_DIGITS, NAME_RULE, SUFFIX, Weights, differences, is_name, save

__all__ = [
    "DEFAULT_SCALE",
    "DIRECTIONS",
    "IDENTITY_DIGITS",
    "NAME_RULE",
    "SUFFIX",
    "Entry",
    "Weights",
    "bears_changes",
    "differences",
    "find",
    "for_ratio",
    "for_scale",
    "is_default",
    "is_name",
    "list_models",
    "load",
    "number_to_mark",
    "of_identity",
    "of_number",
    "save",
]
