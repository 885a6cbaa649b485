#include "haar.hpp"

namespace unshrink {

void split(const Planes<const float> &picture, const Planes<float> &bands, int channels, int width, int from, int to) {
    for (int c = 0; c < channels; ++c) {
        for (int y = from; y < to; ++y) {
            const float *__restrict top = picture.at(c, 2 * y, 0), *__restrict bottom = picture.at(c, 2 * y + 1, 0);
            float *__restrict low = bands.at(c, y, 0), *__restrict cols = bands.at(channels + c, y, 0);
            float *__restrict rows = bands.at(2 * channels + c, y, 0), *__restrict both =
                                                                           bands.at(3 * channels + c, y, 0);
            for (int x = 0; x < width; ++x) {
                const float a = top[2 * x], b = top[2 * x + 1], d = bottom[2 * x], e = bottom[2 * x + 1];
                low[x] = (a + b + d + e) / 4;
                cols[x] = (a - b + d - e) / 4;
                rows[x] = (a + b - d - e) / 4;
                both[x] = (a - b - d + e) / 4;
            }
        }
    }
}

void merge(const Planes<const float> &bands, const Planes<float> &picture, int channels, int width, int from, int to) {
    for (int c = 0; c < channels; ++c) {
        for (int y = from; y < to; ++y) {
            float *__restrict top = picture.at(c, 2 * y, 0), *__restrict bottom = picture.at(c, 2 * y + 1, 0);
            const float *__restrict low = bands.at(c, y, 0), *__restrict cols = bands.at(channels + c, y, 0);
            const float *__restrict rows = bands.at(2 * channels + c, y, 0), *__restrict both =
                                                                                 bands.at(3 * channels + c, y, 0);
            for (int x = 0; x < width; ++x) {
                top[2 * x] = low[x] + cols[x] + rows[x] + both[x];
                top[2 * x + 1] = low[x] - cols[x] + rows[x] - both[x];
                bottom[2 * x] = low[x] + cols[x] - rows[x] - both[x];
                bottom[2 * x + 1] = low[x] - cols[x] - rows[x] + both[x];
            }
        }
    }
}

}  // namespace unshrink
