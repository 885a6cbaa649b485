// The Haar transform of planes: a low band, and the differences across columns, across rows and across both.
#pragma once

#include "chain.hpp"

namespace unshrink {

// Rows `from` to `to` of the bands: (C, 2h, 2w) -> (4C, h, w), in the order of `modules.HaarDownsample`.
void split(const Planes<const float> &picture, const Planes<float> &bands, int channels, int width, int from, int to);

// The inverse, of so many rows and columns of the bands.
void merge(const Planes<const float> &bands, const Planes<float> &picture, int channels, int width, int from, int to);

}  // namespace unshrink
