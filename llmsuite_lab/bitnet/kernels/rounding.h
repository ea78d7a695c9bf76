// Activations as whole numbers: a vector becomes int8 and one scale.
#pragma once
#include "decode.h"

namespace {
#ifdef X86
AVX2 int32_t round_avx2(const float* x, int8_t* q, long d, float k) {
    long i = 0;
    const __m256 scale = _mm256_set1_ps(k);
    __m256i total = _mm256_setzero_si256();
    for (; i + 8 <= d; i += 8) {
        const __m256i v = _mm256_cvtps_epi32(_mm256_mul_ps(_mm256_loadu_ps(x + i), scale));
        const __m128i h = _mm_packs_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
        _mm_storel_epi64((__m128i*)(q + i), _mm_packs_epi16(h, h));
        total = _mm256_add_epi32(total, v);
    }
    int32_t lane[8], sum = 0;
    _mm256_storeu_si256((__m256i*)lane, total);
    for (int32_t v : lane) sum += v;
    for (; i < d; i++) sum += q[i] = (int8_t)__builtin_rintf(x[i] * k);
    return sum;
}
AVX2 float largest_avx2(const float* x, long d, float m) {
    long i = 0;
    const __m256 sign = _mm256_set1_ps(-0.0f);
    __m256 top = _mm256_set1_ps(m), strange = _mm256_setzero_ps();        // 0 x is nan where x is nan or infinite
    for (; i + 8 <= d; i += 8) {
        const __m256 v = _mm256_loadu_ps(x + i);
        top = _mm256_max_ps(top, _mm256_andnot_ps(sign, v));
        strange = _mm256_add_ps(strange, _mm256_mul_ps(v, _mm256_setzero_ps()));
    }
    float lane[8], odd[8], bad = 0;
    _mm256_storeu_ps(lane, top);
    _mm256_storeu_ps(odd, strange);
    for (int j = 0; j < 8; j++) { m = lane[j] > m ? lane[j] : m; bad += odd[j]; }
    for (; i < d; i++) { const float a = __builtin_fabsf(x[i]); m = a > m ? a : m; bad += 0 * x[i]; }
    return bad == 0 ? m : NAN;
}
#endif

// q (columns): round(x * 127/m), zeros behind the d features; s = m/127, m = max(max |x|, eps). A vector with nan or infinity: s is nan, q zeros.
// Returns the sum of q.
inline int32_t quantize(const float* x, int8_t* q, float* s, long d, long columns, float eps, int path) {
    float m = eps;
#ifdef X86
    if (path) m = largest_avx2(x, d, m); else
#endif
    {
        float bad = 0;
        for (long i = 0; i < d; i++) { const float a = __builtin_fabsf(x[i]); m = a > m ? a : m; bad += 0 * x[i]; }
        m = bad == 0 ? m : NAN;
    }
    *s = m / 127;
    for (long i = std::isnan(m) ? 0 : d; i < columns; i++) q[i] = 0;
    if (std::isnan(m)) return 0;
#ifdef X86
    if (path) return round_avx2(x, q, d, 127 / m);
#endif
    int32_t sum = 0;
    for (long i = 0; i < d; i++) sum += q[i] = (int8_t)__builtin_rintf(x[i] * (127 / m));
    return sum;
}

// Room for n bytes that begins where a vector register's loads do not cross two lines of the cache.
struct Room {
    std::vector<int8_t> held;
    int8_t* at;
    explicit Room(long n) : held(n + 64), at(held.data() + (64 - (uintptr_t)held.data() % 64)) {}
};
}  // namespace
