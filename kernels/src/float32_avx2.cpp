// Chains in float32 with AVX2 and FMA.

#include <immintrin.h>

#include "chain_of.hpp"

namespace unshrink {
namespace {

struct Avx2 {
    using Vector = __m256;
    using Words = __m256;
    static constexpr int LANES = 8, PER = 1, GROUP = 4, ACROSS[] = {3, 2, 4};

    static Vector all_of(float x) { return _mm256_set1_ps(x); }
    static Vector fused(Vector a, Vector b, Vector c) { return _mm256_fmadd_ps(a, b, c); }  // a b + c
    static Vector maximum(Vector a, Vector b) { return _mm256_max_ps(a, b); }
    static Vector minimum(Vector a, Vector b) { return _mm256_min_ps(a, b); }
    static Vector rounded(Vector x) { return _mm256_round_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }

    static Vector power_of_two(Vector n) {
        const __m256i exponent = _mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127));
        return _mm256_castsi256_ps(_mm256_slli_epi32(exponent, 23));
    }

    // Of a row, the lanes at `x` and after that are from `left` on and before `right`; zeros elsewhere.
    static Vector load_within(const float *row, int x, int left, int right) {
        return x >= left && x + LANES <= right ? _mm256_loadu_ps(row + x)
                                               : _mm256_maskload_ps(row + x, mask(x, left, right));
    }

    static void store_within(float *row, int x, int left, int right, Vector values) {
        _mm256_maskstore_ps(row + x, mask(x, left, right), values);
    }

    static Words within(Words words, int x, int right) {
        return x + LANES <= right ? words : _mm256_and_ps(words, _mm256_castsi256_ps(mask(x, 0, right)));
    }

    static Words all(std::uint32_t word) { return _mm256_castsi256_ps(_mm256_set1_epi32(static_cast<int>(word))); }
    static Words load_words(const std::uint32_t *words) {
        return _mm256_loadu_ps(reinterpret_cast<const float *>(words));
    }
    static void store_words(std::uint32_t *to, Words words) { _mm256_store_ps(reinterpret_cast<float *>(to), words); }

    static Vector multiply_add(Words a, Words b, Vector sum) { return fused(a, b, sum); }
    static void values_of(const std::uint32_t *words, Vector (&values)[1]) { values[0] = load_words(words); }
    static Words words_of(const Vector (&values)[1]) { return values[0]; }

    static std::uint32_t word_of(const float (&values)[1]) {
        std::uint32_t bits;
        std::memcpy(&bits, values, sizeof bits);
        return bits;
    }

  private:
    static __m256i mask(int x, int left, int right) {
        const __m256i at = _mm256_add_epi32(_mm256_set1_epi32(x), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
        return _mm256_and_si256(_mm256_cmpgt_epi32(at, _mm256_set1_epi32(left - 1)),
                                _mm256_cmpgt_epi32(_mm256_set1_epi32(right), at));
    }
};

}  // namespace

const Arithmetic float32_avx2 = arithmetic_of<Avx2>();

}  // namespace unshrink
