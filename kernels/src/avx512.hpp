// Vectors of 16 values with AVX-512.
#pragma once

#include <immintrin.h>

#include <algorithm>
#include <cstdint>

namespace unshrink {
namespace {

struct Avx512 {
    using Vector = __m512;
    using Words = __m512i;
    static constexpr int LANES = 16, GROUP = 8, ACROSS[] = {3, 4, 6};

    static Vector all_of(float x) { return _mm512_set1_ps(x); }
    static Vector fused(Vector a, Vector b, Vector c) { return _mm512_fmadd_ps(a, b, c); }  // a b + c
    static Vector maximum(Vector a, Vector b) { return _mm512_max_ps(a, b); }
    static Vector minimum(Vector a, Vector b) { return _mm512_min_ps(a, b); }
    static Vector rounded(Vector x) { return _mm512_roundscale_ps(x, 8); }

    static Vector power_of_two(Vector n) {
        const __m512i exponent = _mm512_add_epi32(_mm512_cvtps_epi32(n), _mm512_set1_epi32(127));
        return _mm512_castsi512_ps(_mm512_slli_epi32(exponent, 23));
    }

    // Of a row, the lanes at `x` and after that are from `left` on and before `right`; zeros elsewhere.
    static Vector load_within(const float *row, int x, int left, int right) {
        return x >= left && x + LANES <= right ? _mm512_loadu_ps(row + x)
                                               : _mm512_maskz_loadu_ps(mask(x, left, right), row + x);
    }

    static void store_within(float *row, int x, int left, int right, Vector values) {
        _mm512_mask_storeu_ps(row + x, mask(x, left, right), values);
    }

    static Words within(Words words, int x, int right) {
        return x + LANES <= right ? words : _mm512_maskz_mov_epi32(mask(x, 0, right), words);
    }

    static Words all(std::uint32_t word) { return _mm512_set1_epi32(static_cast<int>(word)); }
    static Words load_words(const std::uint32_t *words) { return _mm512_loadu_si512(words); }
    static void store_words(std::uint32_t *to, Words words) { _mm512_store_si512(to, words); }

  private:
    static __mmask16 mask(int x, int left, int right) {
        const int from = std::clamp(left - x, 0, LANES), to = std::clamp(right - x, 0, LANES);
        return static_cast<__mmask16>(((1U << to) - 1) & ~((1U << from) - 1));
    }
};

}  // namespace
}  // namespace unshrink
