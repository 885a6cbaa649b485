// A chain of 3x3 convolutions with LeakyReLU between them, whatever the precision and the instructions.
//
// Lanes are pixels: a vector of words holds the values of one channel, or of two in half the precision, at pixels side
// by side.  So any number of channels fills the lanes, planes need no change of layout, and borders are shifts.
//
// Rows are computed in pairs by Winograd's F(2, 3) down the columns: four transformed rows of the input give two rows
// of the result, with 12 multiplications for each channel instead of 18.  A pair always starts at an even row.
// Reference: Lavin and Gray, Fast Algorithms for Convolutional Neural Networks, CVPR 2016, section 4.1.
//
// Each convolution runs as soon as its input has the rows that it needs, so features stay in the second-level cache.
//
// `L` is what one kind of processor does with vectors:
//   Vector, Words       of LANES values in float32, with the compiler's own + - * /, and of as many words
//   PER                 channels in a word
//   GROUP, ACROSS       results and vectors of pixels that are computed at once, by what the registers hold: for a
//                       number of results that is a multiple of GROUP, of 6 and of 3
//   and functions, which the files that include this one define.
#pragma once

#include <algorithm>
#include <cstring>

#include "chain.hpp"

namespace unshrink {
namespace {

constexpr int PAD = 16;  // words, a cache line: the zeros on each side of a row
constexpr int HELD = 6;  // rows of features: three pairs
constexpr int SUMS = 4;  // transformed rows for two rows of results
constexpr float SLOPE = 0.2F;

// Words from one row to the next: an odd number of cache lines, so that the rows of all channels do not fall into the
// same sets of the cache.
int stride_of(int width) {
    return (((width + PAD - 1) / PAD + 2) | 1) * PAD;
}

// An area with what it depends on around it; its rows and columns count from its own top and left.
struct Frame {
    const Work &work;
    Area area;
    int top, left, height, width;
};

template <typename L>
class Chain {
    using Vector = typename L::Vector;
    static constexpr int LANES = L::LANES, PER = L::PER;

    // The last rows of features, each (channels by so many in a value, values of the row).
    template <typename Value, int EACH>
    struct Ring {
        Value *values;
        int channels, stride;

        Value *at(int row, int channel) const {
            const std::size_t index =
                static_cast<std::size_t>((row + HELD) % HELD) * per_row(channels) + channel / EACH;
            return values + index * stride + PAD;
        }

        static int per_row(int channels) { return (channels + EACH - 1) / EACH; }

        static std::size_t size(int channels, int stride) {
            return static_cast<std::size_t>(HELD) * per_row(channels) * stride;
        }
    };
    using Rows = Ring<std::uint32_t, PER>;  // as they are multiplied
    using Sums = Ring<float, 1>;            // as they are added

    // A convolution in its place.
    struct Link {
        const Convolution *convolution;
        Rows read;         // of the features before it; the first reads the input instead
        Sums kept, added;  // its results, for one that adds them; the results that it adds; or nothing
    };

    // Two rows of A results at B vectors of pixels.
    template <int A, int B>
    struct Tile {
        Vector rows[2][A][B];
    };

    // A row of one channel that the first convolution reads: values, or what they are more than those before them.
    struct Source {
        const float *here, *before;  // either may be null: zeros, and no differences
        int first;                   // before it, differences are zero

        Vector at(int x, int width) const {
            if (!here) {
                return Vector{};
            }
            const Vector values = L::load_within(here, x, first, width);
            return before ? values - L::load_within(before, x, first, width) : values;
        }
    };

  public:
    static int group_of(int outputs) {
        for (int group : {L::GROUP, 6, 3}) {
            if (outputs % group == 0) {
                return group;
            }
        }
        return 0;
    }

    static std::size_t packed_words(int inputs, int outputs) {
        return static_cast<std::size_t>(SUMS) * words_of(inputs) * 3 * outputs;
    }

    // In the order in which they are read: results by groups, transformed rows, words of channels, columns, results.
    static void pack(const float *kernels, int inputs, int outputs, const int *order, std::uint32_t *weights) {
        const int group = group_of(outputs);
        for (int first = 0; first < outputs; first += group) {
            for (int k = 0; k < SUMS; ++k) {
                for (int word = 0; word < words_of(inputs); ++word) {
                    for (int dx = 0; dx < 3; ++dx) {
                        for (int a = 0; a < group; ++a) {
                            const float *of_result = kernels + static_cast<std::size_t>(order[first + a]) * inputs * 9;
                            float values[PER] = {};
                            for (int half = 0; half < PER && word * PER + half < inputs; ++half) {
                                values[half] = transformed(of_result + (word * PER + half) * 9 + dx, k);
                            }
                            *weights++ = L::word_of(values);
                        }
                    }
                }
            }
        }
    }

    static std::size_t scratch_words(const Work &work, int width) {
        const int stride = stride_of(width);
        std::size_t words = 0;
        int most = 0;
        for (int index = 0; index < work.depth; ++index) {
            const int channels = work.convolutions[index].inputs;
            words += index ? Rows::size(channels, stride) : 0;
            words += is_added(work, index) ? Sums::size(work.convolutions[index].outputs, stride) : 0;
            most = std::max(most, words_of(channels));
        }
        return words + static_cast<std::size_t>(SUMS) * most * stride;
    }

    static void run(const Work &work, Area area, std::uint32_t *scratch) {
        const int depth = work.depth;
        const int above = (depth + 1) / 2 * 2;  // even, so that pairs of rows are those of the picture
        const int top = std::max(area.top - above, 0), left = std::max(area.left - depth, 0);
        const Frame frame{work,
                          area,
                          top,
                          left,
                          std::min(area.bottom + depth, work.height) - top,
                          std::min(area.right + depth, work.width) - left};
        const int stride = stride_of(frame.width), last = (frame.height - 1) / 2;  // pair of rows
        std::memset(scratch, 0, scratch_words(work, frame.width) * sizeof *scratch);

        Link links[MOST_DEPTH];
        for (int index = 0; index < depth; ++index) {
            const Convolution &convolution = work.convolutions[index];
            links[index] = {&convolution, {}, {}, convolution.adds < 0 ? Sums{} : links[convolution.adds].kept};
            if (index > 0) {
                links[index].read = {scratch, convolution.inputs, stride};
                scratch += Rows::size(convolution.inputs, stride);
            }
            if (is_added(work, index)) {
                links[index].kept = {reinterpret_cast<float *>(scratch), convolution.outputs, stride};
                scratch += Sums::size(convolution.outputs, stride);
            }
        }
        const int from = area.top - top, to = area.bottom - top;
        for (int arrived = 0; arrived < last + depth; ++arrived) {
            for (int index = 0; index < depth; ++index) {
                const int p = arrived - index, around = depth - 1 - index;
                if (p < 0 || p > last || 2 * p + 1 < from - around || 2 * p >= to + around) {
                    continue;
                }
                if (index == 0) {
                    transform_input(frame, p, scratch, stride);
                } else {
                    transform(frame, links[index].read, p, p == last, scratch);
                }
                convolve(frame, links[index], p, scratch, stride, index + 1 < depth ? &links[index + 1].read : nullptr);
            }
        }
    }

  private:
    static constexpr int words_of(int channels) { return (channels + PER - 1) / PER; }

    // Whether a later convolution adds the results of this one.
    static bool is_added(const Work &work, int index) {
        return index + 2 < work.depth && work.convolutions[index + 2].adds == index;
    }

    // Of one column of a kernel, whose rows are 3 apart.
    static float transformed(const float *g, int k) {
        const float sums[SUMS] = {g[0], (g[0] + g[3] + g[6]) / 2, (g[0] - g[3] + g[6]) / 2, -g[6]};
        return sums[k];
    }

    // The channels of a word in rows 2p - 1 to 2p + 2 -> those of the four that are multiplied.
    static void transform(const Vector (&rows)[SUMS][PER], std::uint32_t *to, int stride) {
        Vector sums[SUMS][PER];
        for (int half = 0; half < PER; ++half) {
            sums[0][half] = rows[0][half] - rows[2][half];
            sums[1][half] = rows[1][half] + rows[2][half];
            sums[2][half] = rows[2][half] - rows[1][half];
            sums[3][half] = rows[1][half] - rows[3][half];
        }
        for (int k = 0; k < SUMS; ++k) {
            L::store_words(to + k * stride, L::words_of(sums[k]));
        }
    }

    // Of all features; the result is (words of channels, 4, words of the row).
    static void transform(const Frame &frame, const Rows &rows, int p, bool is_last, std::uint32_t *into) {
        for (int channel = 0; channel < rows.channels; channel += PER, into += SUMS * rows.stride) {
            const std::uint32_t *from[SUMS];
            for (int k = 0; k < SUMS; ++k) {
                from[k] = rows.at(2 * p - 1 + k, channel);
            }
            for (int x = 0; x < frame.width; x += LANES) {
                Vector values[SUMS][PER];
                for (int k = 0; k < SUMS; ++k) {
                    L::values_of(from[k] + x, values[k]);
                }
                for (int half = 0; is_last && half < PER; ++half) {
                    values[3][half] = Vector{};  // below the frame
                }
                transform(values, into + PAD + x, rows.stride);
            }
        }
    }

    // Of the input: rounded once, since what is added and subtracted is still float32.
    static void transform_input(const Frame &frame, int p, std::uint32_t *into, int stride) {
        const int channels = frame.work.convolutions[0].inputs;
        for (int channel = 0; channel < channels; channel += PER, into += SUMS * stride) {
            Source sources[SUMS][PER];
            for (int k = 0; k < SUMS; ++k) {
                for (int half = 0; half < PER; ++half) {
                    sources[k][half] = source_of(frame, channel + half, 2 * p - 1 + k);
                }
            }
            for (int x = 0; x < frame.width; x += LANES) {
                Vector values[SUMS][PER];
                for (int k = 0; k < SUMS; ++k) {
                    for (int half = 0; half < PER; ++half) {
                        values[k][half] = sources[k][half].at(x, frame.width);
                    }
                }
                transform(values, into + PAD + x, stride);
            }
        }
    }

    static Source source_of(const Frame &frame, int channel, int row) {
        const Planes<const float> &input = frame.work.input;
        const int y = frame.top + row, of = frame.work.differences;
        if (channel >= frame.work.convolutions[0].inputs || row < 0 || row >= frame.height) {
            return {nullptr, nullptr, 0};
        }
        if (!of) {
            return {input.at(channel, y, frame.left), nullptr, 0};
        }
        const float *here = input.at(channel % of, y, frame.left);
        if (channel < of) {
            return {here, here - 1, frame.left == 0};
        }
        return {y ? here : nullptr, here - input.row, 0};
    }

    // Adds what one transformed row gives.
    template <int A, int B>
    static inline __attribute__((always_inline)) void multiply(Vector (&sums)[A][B], const std::uint32_t *row,
                                                               std::size_t step, int words,
                                                               const std::uint32_t *weights) {
        for (int word = 0; word < words; ++word, row += step) {
            for (int dx = -1; dx <= 1; ++dx, weights += A) {
                typename L::Words pixels[B];
                for (int b = 0; b < B; ++b) {
                    pixels[b] = L::load_words(row + dx + b * LANES);
                }
                for (int a = 0; a < A; ++a) {
                    const typename L::Words weight = L::all(weights[a]);
                    for (int b = 0; b < B; ++b) {
                        sums[a][b] = L::multiply_add(pixels[b], weight, sums[a][b]);
                    }
                }
            }
        }
    }

    // rows: the transformed ones, at the first pixel of the tile; weights: of its group, as packed.
    template <int A, int B>
    static __attribute__((noinline)) void convolve(const std::uint32_t *rows, int stride, int words,
                                                   const std::uint32_t *weights, Tile<A, B> &tile) {
        const std::size_t step = static_cast<std::size_t>(SUMS) * stride,
                          part = static_cast<std::size_t>(words) * 3 * A;
        Vector sums[A][B];
        for (auto &row : sums) {
            std::fill(row, row + B, Vector{});
        }
        multiply<A, B>(sums, rows + stride, step, words, weights + part);
        for (int a = 0; a < A; ++a) {
            for (int b = 0; b < B; ++b) {
                tile.rows[0][a][b] = sums[a][b];
                sums[a][b] = Vector{};
            }
        }
        multiply<A, B>(sums, rows + 2 * stride, step, words, weights + 2 * part);
        for (int a = 0; a < A; ++a) {
            for (int b = 0; b < B; ++b) {
                const Vector first = tile.rows[0][a][b];
                tile.rows[1][a][b] = first - sums[a][b];
                sums[a][b] = first + sums[a][b];
            }
        }
        multiply<A, B>(sums, rows, step, words, weights);
        for (int a = 0; a < A; ++a) {
            for (int b = 0; b < B; ++b) {
                tile.rows[0][a][b] = sums[a][b];
                sums[a][b] = tile.rows[1][a][b];
            }
        }
        multiply<A, B>(sums, rows + 3 * stride, step, words, weights + 3 * part);
        for (int a = 0; a < A; ++a) {
            for (int b = 0; b < B; ++b) {
                tile.rows[1][a][b] = sums[a][b];
            }
        }
    }

    // Rows 2p and 2p + 1 of the results, kept for the next convolution, or finished.
    static void convolve(const Frame &frame, const Link &link, int p, const std::uint32_t *rows, int stride,
                         const Rows *into) {
        const int group = group_of(link.convolution->outputs);
        if (group == L::GROUP) {
            across<L::GROUP, L::ACROSS[0]>(frame, link, p, rows, stride, into, 0);
        } else if (group == 6) {
            across<6, L::ACROSS[1]>(frame, link, p, rows, stride, into, 0);
        } else {
            across<3, L::ACROSS[2]>(frame, link, p, rows, stride, into, 0);
        }
    }

    // From a pixel to the end of the row, B vectors at a time.
    template <int A, int B>
    static void across(const Frame &frame, const Link &link, int p, const std::uint32_t *rows, int stride,
                       const Rows *into, int x) {
        const int vectors = (frame.width - x + LANES - 1) / LANES;
        // One vector alone at the end would be slow: there is too little to do while its sums wait for each other
        int whole = vectors / B - (B > 2 && vectors % B == 1 && vectors > B);
        for (; whole > 0; --whole, x += B * LANES) {
            tiles_at<A, B>(frame, link, p, rows, stride, into, x);
        }
        if constexpr (B > 1) {
            if (x < frame.width) {
                across<A, B - 1>(frame, link, p, rows, stride, into, x);
            }
        }
    }

    template <int A, int B>
    static void tiles_at(const Frame &frame, const Link &link, int p, const std::uint32_t *rows, int stride,
                         const Rows *into, int x) {
        const Convolution &convolution = *link.convolution;
        const int words = words_of(convolution.inputs);
        const std::uint32_t *weights = convolution.weights;
        for (int first = 0; first < convolution.outputs; first += A, weights += packed_words(convolution.inputs, A)) {
            Tile<A, B> tile;
            convolve<A, B>(rows + PAD + x, stride, words, weights, tile);
            if (into) {
                keep<A, B>(frame, link, tile, p, first, x, *into);
            } else if (frame.work.ending == Ending::add || frame.work.ending == Ending::subtract) {
                add<A, B>(frame, tile, p, first, x);
            } else {
                scale<A, B>(frame, tile, p, first, x);
            }
        }
    }

    static Vector leaky(Vector x) { return L::maximum(x, x * L::all_of(SLOPE)); }

    template <int A, int B>
    static void keep(const Frame &frame, const Link &link, Tile<A, B> &tile, int p, int first, int x,
                     const Rows &into) {
        for (int y = 0; y < 2; ++y) {
            const int row = 2 * p + y, width = row < frame.height ? frame.width : 0;
            for (int b = 0; b < B; ++b) {
                const int at = x + b * LANES;
                for (int a = 0; a < A; ++a) {
                    Vector &value = tile.rows[y][a][b];
                    if (link.added.values) {
                        value = value + L::load_within(link.added.at(row, first + a), at, 0, frame.width);
                    }
                    if (link.kept.values) {
                        L::store_within(link.kept.at(row, first + a), at, 0, width, value);
                    }
                    if (link.convolution->leaky) {
                        value = leaky(value);
                    }
                }
                store<A, B>(tile, y, b, into.at(row, first) + at, into.stride, at, width);
            }
        }
    }

    // A vector of each result as words of features.
    template <int A, int B>
    static void store(const Tile<A, B> &tile, int y, int b, std::uint32_t *to, int stride, int x, int width) {
        if constexpr (A % PER == 0) {
            for (int a = 0; a < A; a += PER, to += stride) {
                Vector values[PER];
                for (int half = 0; half < PER; ++half) {
                    values[half] = tile.rows[y][a + half][b];
                }
                L::store_words(to, L::within(L::words_of(values), x, width));
            }
        }
    }

    // Calls `finish(row and vector of the tile, row of the picture, column of the frame)` where rows are of the area.
    template <int B, typename Finish>
    static void finished(const Frame &frame, int p, int x, const Finish &finish) {
        for (int y = 0; y < 2; ++y) {
            const int row = frame.top + 2 * p + y;
            if (row < frame.area.top || row >= frame.area.bottom) {
                continue;
            }
            for (int b = 0; b < B; ++b) {
                finish(y, b, row, x + b * LANES);
            }
        }
    }

    template <int A, int B>
    static void add(const Frame &frame, const Tile<A, B> &tile, int p, int first, int x) {
        const Work &work = frame.work;
        const int left = frame.area.left - frame.left, right = frame.area.right - frame.left;
        finished<B>(frame, p, x, [&](int y, int b, int row, int at) {
            for (int a = 0; a < A; ++a) {
                const Vector onto = L::load_within(work.onto.at(first + a, row, frame.left), at, left, right);
                const Vector r = tile.rows[y][a][b];
                const Vector made = work.ending == Ending::add ? onto + r : onto - r;
                L::store_within(work.result.at(first + a, row, frame.left), at, left, right, made);
            }
        });
    }

    template <int A, int B>
    static void scale(const Frame &frame, const Tile<A, B> &tile, int p, int first, int x) {
        if constexpr (A % 2 == 0) {
            const Work &work = frame.work;
            const int left = frame.area.left - frame.left, right = frame.area.right - frame.left;
            finished<B>(frame, p, x, [&](int y, int b, int row, int at) {
                for (int a = 0; a < A; a += 2) {
                    const int channel = (first + a) / 2;
                    const Vector onto = L::load_within(work.onto.at(channel, row, frame.left), at, left, right);
                    const Vector shift = tile.rows[y][a][b],
                                 log_scale = log_scale_of(tile.rows[y][a + 1][b], work.clamp);
                    const Vector made = work.ending == Ending::scale ? L::fused(onto, exp_of(log_scale), shift)
                                                                     : (onto - shift) * exp_of(-log_scale);
                    L::store_within(work.result.at(channel, row, frame.left), at, left, right, made);
                }
            });
        }
    }

    static Vector log_scale_of(Vector x, float clamp) {
        const Vector one = L::all_of(1), e = exp_of(-L::minimum(L::maximum(x, L::all_of(-80)), L::all_of(80)));
        return L::all_of(clamp) * ((one - e) / (one + e));
    }

    // For |x| <= 80, to a few units in the last place, and exactly 1 at 0.  Reference: Cephes, expf.
    static Vector exp_of(Vector x) {
        const Vector n = L::rounded(x * L::all_of(1.44269504F));
        Vector r = L::fused(n, L::all_of(-0.693359375F), x);
        r = L::fused(n, L::all_of(2.12194440e-4F), r);
        Vector series = L::all_of(1.0F / 720);
        for (float coefficient : {1.0F / 120, 1.0F / 24, 1.0F / 6, 0.5F, 1.0F, 1.0F}) {
            series = L::fused(series, r, L::all_of(coefficient));
        }
        return series * L::power_of_two(n);
    }
};

template <typename L>
constexpr Arithmetic arithmetic_of() {
    return {Chain<L>::group_of, Chain<L>::packed_words, Chain<L>::pack, Chain<L>::scratch_words, Chain<L>::run};
}

}  // namespace
}  // namespace unshrink
