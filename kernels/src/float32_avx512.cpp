// Chains in float32 with AVX-512.

#include "avx512.hpp"
#include "chain_of.hpp"

namespace unshrink {
namespace {

struct Float32 : Avx512 {
    static constexpr int PER = 1;

    static Vector multiply_add(Words a, Words b, Vector sum) {
        return fused(_mm512_castsi512_ps(a), _mm512_castsi512_ps(b), sum);
    }

    static void values_of(const std::uint32_t *words, Vector (&values)[1]) { values[0] = _mm512_load_ps(words); }
    static Words words_of(const Vector (&values)[1]) { return _mm512_castps_si512(values[0]); }

    static std::uint32_t word_of(const float (&values)[1]) {
        std::uint32_t bits;
        std::memcpy(&bits, values, sizeof bits);
        return bits;
    }
};

}  // namespace

const Arithmetic float32_avx512 = arithmetic_of<Float32>();

}  // namespace unshrink
