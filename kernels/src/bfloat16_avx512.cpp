// Chains in bfloat16, summed in float32, with AVX-512 BF16: a word holds two channels.

#include "avx512.hpp"
#include "chain_of.hpp"

namespace unshrink {
namespace {

struct Bfloat16 : Avx512 {
    static constexpr int PER = 2;

    static Vector multiply_add(Words a, Words b, Vector sum) { return _mm512_dpbf16_ps(sum, (__m512bh)a, (__m512bh)b); }

    static void values_of(const std::uint32_t *words, Vector (&values)[2]) {
        const Words both = _mm512_load_si512(words);
        values[0] = _mm512_castsi512_ps(_mm512_slli_epi32(both, 16));
        values[1] = _mm512_castsi512_ps(_mm512_and_si512(both, _mm512_set1_epi32(static_cast<int>(0xffff0000U))));
    }

    static Words words_of(const Vector (&values)[2]) {
        const Words interleave = _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8, 23, 7,
                                                  22, 6, 21, 5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
        return _mm512_permutexvar_epi16(interleave, (Words)_mm512_cvtne2ps_pbh(values[1], values[0]));
    }

    static std::uint32_t word_of(const float (&values)[2]) {
        return rounded_bits(values[0]) | rounded_bits(values[1]) << 16;
    }

  private:
    static std::uint32_t rounded_bits(float value) {
        std::uint32_t bits;
        std::memcpy(&bits, &value, sizeof bits);
        return (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
    }
};

}  // namespace

const Arithmetic bfloat16_avx512 = arithmetic_of<Bfloat16>();

}  // namespace unshrink
