// A chain of 3x3 convolutions over planes of float32, as each kind of processor computes it: see chain_of.hpp.
#pragma once

#include <cstddef>
#include <cstdint>

namespace unshrink {

constexpr int MOST_DEPTH = 64;

// One convolution: its kernels transformed and packed by `Arithmetic::pack`.
struct Convolution {
    int inputs, outputs;
    bool leaky;  // whether LeakyReLU follows; not of the last
    int adds;    // the convolution, two before it, whose results are added to its own; or -1
    const std::uint32_t *weights;
};

// What becomes of the results of the last convolution, r, and the planes `onto`, x.
enum class Ending {
    add,       // x + r
    subtract,  // x - r
    scale,     // x * exp(s(r')) + r, where r' follows each r and s(r') = clamp * (2 sigmoid(r') - 1)
    unscale,   // (x - r) * exp(-s(r'))
};

// (channels, height, width); values of a row lie side by side, rows and channels this far apart.
template <typename Value>
struct Planes {
    Value *values;
    std::ptrdiff_t channel, row;

    Value *at(int c, int y, int x) const { return values + c * channel + y * row + x; }
};

struct Work {
    const Convolution *convolutions;
    int depth;
    Planes<const float> input;
    int differences;  // 0, or of so many channels of the input the first convolution reads `modules.differences`
    Planes<const float> onto;
    Planes<float> result;
    int height, width;
    Ending ending;
    float clamp;
};

struct Area {
    int top, bottom, left, right;  // the top is even
};

// What computes chains in one precision with the instructions of one kind of processor.
struct Arithmetic {
    // How many results are computed together; 0 for a number of them that it does not take.
    int (*group_of)(int outputs);

    // Words of the weights of a convolution.
    std::size_t (*packed_words)(int inputs, int outputs);

    // kernels (outputs, inputs, 3, 3) -> weights; the k-th result is that of the kernel order[k].
    void (*pack)(const float *kernels, int inputs, int outputs, const int *order, std::uint32_t *weights);

    // Words that `run` needs for areas of at most this width; they must lie at a multiple of 64 bytes.
    std::size_t (*scratch_words)(const Work &work, int width);

    // Computes the result in an area.  Values there do not depend on where areas begin and end.
    void (*run)(const Work &work, Area area, std::uint32_t *scratch);
};

extern const Arithmetic float32_avx2, float32_avx512, bfloat16_avx512;

}  // namespace unshrink
