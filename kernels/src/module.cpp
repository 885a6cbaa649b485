// What Python sees: chains of convolutions, on several threads.

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <memory>
#include <new>
#include <numeric>
#include <stdexcept>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

#include "chain.hpp"
#include "haar.hpp"

namespace nb = nanobind;

namespace {

using Kernels = nb::ndarray<const float, nb::ndim<4>, nb::c_contig, nb::device::cpu>;
using Planes = nb::ndarray<const float, nb::ndim<3>, nb::device::cpu>;
using Result = nb::ndarray<float, nb::ndim<3>, nb::device::cpu>;

// Columns of an area with its surroundings: six tiles, whose features a cache of 1 MiB holds.
constexpr int TILES = 288;
// Convolutions; of more, areas are twice as wide, or surroundings would be too much of them.
constexpr int DEEP = 6;

struct Named {
    const char *name;
    const unshrink::Arithmetic *arithmetic;
};

// What this processor computes, the fastest of each precision first.
std::vector<Named> arithmetics() {
    std::vector<Named> found;
#if defined(__x86_64__)
    __builtin_cpu_init();
    const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    const bool avx512 = avx2 && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
                        __builtin_cpu_supports("avx512vl");
    if (avx512 && __builtin_cpu_supports("avx512bf16")) {
        found.push_back({"bfloat16_avx512", &unshrink::bfloat16_avx512});
    }
    if (avx512) {
        found.push_back({"float32_avx512", &unshrink::float32_avx512});
    }
    if (avx2) {
        found.push_back({"float32_avx2", &unshrink::float32_avx2});
    }
#endif
    return found;
}

std::vector<std::string> names() {
    std::vector<std::string> names;
    for (const Named &each : arithmetics()) {
        names.emplace_back(each.name);
    }
    return names;
}

const unshrink::Arithmetic &arithmetic_called(const std::string &name) {
    for (const Named &each : arithmetics()) {
        if (each.name == name) {
            return *each.arithmetic;
        }
    }
    throw std::invalid_argument("this processor does not compute in " + name);
}

struct Freed {
    void operator()(std::uint32_t *words) const { std::free(words); }
};

using Memory = std::unique_ptr<std::uint32_t, Freed>;

Memory aligned(std::size_t words) {
    const std::size_t bytes = (words * sizeof(std::uint32_t) + 63) / 64 * 64;
    auto *memory = static_cast<std::uint32_t *>(std::aligned_alloc(64, bytes));
    if (!memory) {
        throw std::bad_alloc();
    }
    return Memory(memory);
}

template <typename Array>
auto planes_of(const Array &array) {
    return unshrink::Planes<std::remove_pointer_t<decltype(array.data())>>{array.data(), array.stride(0),
                                                                           array.stride(1)};
}

template <typename Array>
bool has(const Array &planes, std::size_t channels, std::size_t height, std::size_t width) {
    return planes.shape(0) == channels && planes.shape(1) == height && planes.shape(2) == width &&
           (planes.stride(2) == 1 || width <= 1);
}

// Calls `task(its index, index of the thread)` for each of the tasks.
template <typename Task>
void on_threads(std::size_t tasks, int threads, const Task &task) {
    std::atomic<std::size_t> next{0};
    const auto work = [&](int thread) {
        for (std::size_t index; (index = next++) < tasks;) {
            task(index, thread);
        }
    };
    std::vector<std::thread> others;
    for (int thread = 1; thread < threads; ++thread) {
        try {
            others.emplace_back(work, thread);
        } catch (const std::system_error &) {
            break;  // no more threads are to be had: those that there are do all of it
        }
    }
    work(0);
    for (std::thread &other : others) {
        other.join();
    }
}

int widest_of(int depth) {
    return (depth > DEEP ? 2 * TILES : TILES) - 2 * depth;
}

std::vector<unshrink::Area> areas_of(int height, int width, int depth, int threads) {
    const int widest = widest_of(depth), across = (width + widest - 1) / widest;
    // Several for each thread, so that none waits long for the last one
    const int wanted = threads > 1 ? (8 * threads + across - 1) / across : 1;
    // About as many rows as there are convolutions are computed twice
    const int down = std::clamp(height / (8 * depth), 1, wanted);
    std::vector<unshrink::Area> areas;
    for (int row = 0; row < down; ++row) {
        const auto edge = [&](int index) {
            return index == down ? height : static_cast<int>(1L * height * index / down) & ~1;
        };
        for (int left = 0; left < width; left += widest) {
            areas.push_back({edge(row), edge(row + 1), left, std::min(left + widest, width)});
        }
    }
    return areas;
}

void run_all(const unshrink::Arithmetic &arithmetic, const unshrink::Work &work, int threads) {
    const std::vector<unshrink::Area> areas = areas_of(work.height, work.width, work.depth, threads);
    threads = std::min<int>(threads, areas.size());
    const std::size_t words =
        arithmetic.scratch_words(work, std::min(work.width, widest_of(work.depth) + 2 * work.depth));
    std::vector<Memory> scratch;
    for (int thread = 0; thread < threads; ++thread) {
        scratch.push_back(aligned(words));
    }
    on_threads(areas.size(), threads,
               [&](std::size_t index, int thread) { arithmetic.run(work, areas[index], scratch[thread].get()); });
}

// The Haar transform, one way or the other; the picture has twice the sides of the bands.
template <typename From, typename To, typename Transform>
void transform(const From &from, const To &to, std::size_t channels, std::size_t height, std::size_t width, int threads,
               const Transform &rows) {
    constexpr std::size_t AT_ONCE = 16;
    nb::gil_scoped_release released;
    on_threads((height + AT_ONCE - 1) / AT_ONCE, threads, [&](std::size_t index, int) {
        const int first = static_cast<int>(index * AT_ONCE),
                  last = static_cast<int>(std::min(height, (index + 1) * AT_ONCE));
        rows(planes_of(from), planes_of(to), static_cast<int>(channels), static_cast<int>(width), first, last);
    });
}

void refuse_unless(bool fits) {
    if (!fits) {
        throw std::invalid_argument("planes do not have the shapes that fit together, or values of a row lie apart");
    }
}

void split(Planes picture, Result bands, int threads) {
    const std::size_t channels = picture.shape(0), height = bands.shape(1), width = bands.shape(2);
    refuse_unless(has(bands, 4 * channels, height, width) && has(picture, channels, 2 * height, 2 * width));
    transform(picture, bands, channels, height, width, threads, unshrink::split);
}

void merge(Planes bands, Result picture, int threads) {
    const std::size_t channels = picture.shape(0), height = bands.shape(1), width = bands.shape(2);
    refuse_unless(has(bands, 4 * channels, height, width) && has(picture, channels, 2 * height, 2 * width));
    transform(bands, picture, channels, height, width, threads, unshrink::merge);
}

class Chain {
  public:
    Chain(const Chain &) = delete;
    Chain(const std::vector<Kernels> &kernels, const std::string &arithmetic, bool scaled, bool differences,
          bool residual)
        : arithmetic_(arithmetic_called(arithmetic)), scaled_(scaled), differences_(differences), residual_(residual) {
        if (kernels.empty() || kernels.size() > unshrink::MOST_DEPTH || (residual && kernels.size() % 2)) {
            throw std::invalid_argument("a chain has 1 to 64 convolutions; a residual one an even number of them");
        }
        for (std::size_t index = 0; index < kernels.size(); ++index) {
            add(kernels[index], index + 1 == kernels.size());
        }
        for (std::size_t index = 0; index < kernels.size(); ++index) {
            convolutions_[index].weights = weights_[index].get();
        }
    }

    void add_to(Planes onto, Planes input, Result result, bool negative, int threads) const {
        run(input, onto, result, negative ? unshrink::Ending::subtract : unshrink::Ending::add, 1, threads);
    }

    void scale(Planes detail, Planes input, Result result, float clamp, bool inverse, int threads) const {
        run(input, detail, result, inverse ? unshrink::Ending::unscale : unshrink::Ending::scale, clamp, threads);
    }

  private:
    void add(const Kernels &kernels, bool is_last) {
        const int outputs = kernels.shape(0), inputs = kernels.shape(1);
        const int group = arithmetic_.group_of(outputs);
        const bool even = !is_last || scaled_;
        if (kernels.shape(2) != 3 || kernels.shape(3) != 3 || !inputs || !group || (even && group % 2)) {
            throw std::invalid_argument(
                "kernels are (outputs, inputs, 3, 3), outputs a multiple of 8 or 6, of the last of 3");
        }
        if (!convolutions_.empty() && convolutions_.back().outputs != inputs) {
            throw std::invalid_argument("a convolution reads what the one before it gives");
        }
        std::vector<int> order(outputs);
        std::iota(order.begin(), order.end(), 0);
        if (is_last && scaled_) {  // each shift beside its scale
            for (int index = 0; index < outputs; ++index) {
                order[index] = index / 2 + (index % 2) * (outputs / 2);
            }
        }
        // Of a head, or the second of a block: their results are added up
        const int index = static_cast<int>(convolutions_.size());
        const bool sums = residual_ && index % 2 == 0;
        const int adds = sums && index ? index - 2 : -1;
        if (adds >= 0 && convolutions_[adds].outputs != outputs) {
            throw std::invalid_argument("a block gives as many results as it reads");
        }
        weights_.push_back(aligned(arithmetic_.packed_words(inputs, outputs)));
        arithmetic_.pack(kernels.data(), inputs, outputs, order.data(), weights_.back().get());
        convolutions_.push_back({inputs, outputs, !sums, adds, nullptr});
    }

    void run(const Planes &input, const Planes &onto, const Result &result, unshrink::Ending ending, float clamp,
             int threads) const {
        const bool scales = ending == unshrink::Ending::scale || ending == unshrink::Ending::unscale;
        const std::size_t height = input.shape(1), width = input.shape(2);
        const std::size_t inputs = convolutions_.front().inputs / (differences_ ? 2 : 1);
        const std::size_t results = convolutions_.back().outputs / (scales ? 2 : 1);
        refuse_unless(threads > 0 && height && width && scales == scaled_ && has(input, inputs, height, width) &&
                      has(onto, results, height, width) && has(result, results, height, width));
        const unshrink::Work work{convolutions_.data(),
                                  static_cast<int>(convolutions_.size()),
                                  planes_of(input),
                                  differences_ ? static_cast<int>(inputs) : 0,
                                  planes_of(onto),
                                  planes_of(result),
                                  static_cast<int>(height),
                                  static_cast<int>(width),
                                  ending,
                                  clamp};
        nb::gil_scoped_release released;
        run_all(arithmetic_, work, threads);
    }

    const unshrink::Arithmetic &arithmetic_;
    bool scaled_, differences_, residual_;
    std::vector<Memory> weights_;
    std::vector<unshrink::Convolution> convolutions_;
};

}  // namespace

NB_MODULE(_kernels, m) {
    m.def("arithmetics", &names,
          "What this processor computes, \"PRECISION_INSTRUCTIONS\", the fastest of each precision first.");
    m.def("split", &split, nb::arg("picture"), nb::arg("bands"), nb::arg("threads"),
          "Haar: picture (C, 2h, 2w) -> bands (4C, h, w), float32: low, then differences across columns, rows, both.");
    m.def("merge", &merge, nb::arg("bands"), nb::arg("picture"), nb::arg("threads"), "The inverse of `split`.");
    nb::class_<Chain>(
        m, "Chain",
        "3x3 convolutions one after the other, with zeros around planes and LeakyReLU 0.2 between them.\n\n"
        "Args:\n"
        "    kernels: (outputs, inputs, 3, 3) float32 of each; outputs are multiples of 8 or 6, of the last of 3.\n"
        "    arithmetic: one of `arithmetics`.\n"
        "    scaled: whether the last gives a shift and a scale of each channel, the shifts of all first: `scale`.\n"
        "    differences: whether the first reads, of the input, each value less its left and less its upper one.\n"
        "    residual: whether it is a head, blocks of two convolutions that add to what they read, and a tail;\n"
        "        LeakyReLU stands between the two of a block alone.\n\n"
        "Raises:\n"
        "    ValueError: kernels that do not fit, or an arithmetic that this processor does not know.")
        .def(nb::init<const std::vector<Kernels> &, const std::string &, bool, bool, bool>(), nb::arg("kernels"),
             nb::arg("arithmetic"), nb::arg("scaled") = false, nb::arg("differences") = false,
             nb::arg("residual") = false)
        .def("add_to", &Chain::add_to, nb::arg("onto"), nb::arg("input"), nb::arg("result"), nb::arg("negative"),
             nb::arg("threads"),
             "result = onto + chain(input), or less it; planes (C, h, w) float32, values of a row side by side.")
        .def("scale", &Chain::scale, nb::arg("detail"), nb::arg("input"), nb::arg("result"), nb::arg("clamp"),
             nb::arg("inverse"), nb::arg("threads"),
             "result = detail exp(clamp (2 sigmoid(scale) - 1)) + shift, or what gives detail by that, `inverse`.");
}
