// Packed ternary matrix times int8 vectors. A byte holds one column of ROWS rows as digits 0, 1, 2 (weight + 1), so with x padded by zeros
//     sum_k w x = sum_k digit x - sum_k x                      and the last sum is one number a vector.
// Forms: 4 rows a byte (2 bits each), 5 rows (base 3, stored as the fraction v/243 in 1/256ths: multiply by 3, look at what overflows).
// Columns are a multiple of 64. Every path gives the same integers.
#pragma once
#include "decode.h"

namespace {
constexpr long VECTORS = 4;                    // vectors that share one reading of the weights
constexpr long BLOCK = 64;                      // columns are filled up to a multiple of it

// raw[r * B + b] = sum over the columns of digit r times vector b
using Group = void (*)(const uint8_t* w, const int8_t* x, long columns, int32_t* raw);

template <int ROWS> inline int digit(unsigned byte, int row) {
    static const unsigned power[] = {1, 3, 9, 27, 81};
    return ROWS == 4 ? byte >> 2 * row & 3 : (byte * power[row] & 255) * 3 >> 8;
}
template <int ROWS, int B> void portable(const uint8_t* w, const int8_t* x, long columns, int32_t* raw) {
    int32_t sum[ROWS * B] = {};
    for (long k = 0; k < columns; k++)
        for (int r = 0; r < ROWS; r++)
            for (int b = 0; b < B; b++) sum[r * B + b] += digit<ROWS>(w[k], r) * x[b * columns + k];
    for (int i = 0; i < ROWS * B; i++) raw[i] = sum[i];
}

#ifdef X86
template <int ROWS> AVX2 inline void digits(__m256i t, __m256i* out) {
    if (ROWS == 4) {                           // rows 1 and 3 are left where they stand in a half: 4 times too large, put right once at the end
        const __m256i low = _mm256_set1_epi8(3), high = _mm256_set1_epi8(12), half = _mm256_srli_epi16(t, 4);
        out[0] = _mm256_and_si256(t, low);
        out[1] = _mm256_and_si256(t, high);
        out[2] = _mm256_and_si256(half, low);
        out[3] = _mm256_and_si256(half, high);
    } else {                                   // 3t/256: 0 below 86, 1 below 171, else 2
        const __m256i one = _mm256_set1_epi8(86), two = _mm256_set1_epi8((char)171), zero = _mm256_setzero_si256();
        for (int r = 0; r < ROWS; r++) {
            const __m256i a = _mm256_cmpeq_epi8(_mm256_max_epu8(t, one), t), b = _mm256_cmpeq_epi8(_mm256_max_epu8(t, two), t);
            out[r] = _mm256_sub_epi8(zero, _mm256_add_epi8(a, b));
            t = _mm256_add_epi8(t, _mm256_add_epi8(t, t));
        }
    }
}
template <int ROWS, int B> AVX2 void avx2(const uint8_t* w, const int8_t* x, long columns, int32_t* raw) {
    const __m256i one = _mm256_set1_epi16(1);
    __m256i wide[ROWS * B];
    for (auto& v : wide) v = _mm256_setzero_si256();
    for (long k = 0; k < columns;) {
        const long most = 32 * (ROWS == 4 ? 16 : 64);                     // 16 steps of at most 2 * 8 * 127, or 64 of 2 * 2 * 127: below 2^15
        const long end = k + most < columns ? k + most : columns;
        __m256i narrow[ROWS * B], code[ROWS];
        for (auto& v : narrow) v = _mm256_setzero_si256();
        for (; k < end; k += 32) {
            _mm_prefetch((const char*)(w + k + 8192), _MM_HINT_T0);       // past the end it is a hint that nobody follows
            digits<ROWS>(_mm256_loadu_si256((const __m256i*)(w + k)), code);
            for (int b = 0; b < B; b++) {
                const __m256i v = _mm256_loadu_si256((const __m256i*)(x + b * columns + k));
                for (int r = 0; r < ROWS; r++) narrow[r * B + b] = _mm256_add_epi16(narrow[r * B + b], _mm256_maddubs_epi16(code[r], v));
            }
        }
        for (int i = 0; i < ROWS * B; i++) wide[i] = _mm256_add_epi32(wide[i], _mm256_madd_epi16(narrow[i], one));
    }
    for (int i = 0; i < ROWS * B; i++) {
        __m128i s = _mm_add_epi32(_mm256_castsi256_si128(wide[i]), _mm256_extracti128_si256(wide[i], 1));
        s = _mm_add_epi32(s, _mm_shuffle_epi32(s, 0x4e));
        raw[i] = _mm_cvtsi128_si32(_mm_add_epi32(s, _mm_shuffle_epi32(s, 0xb1))) >> (ROWS == 4 ? i / B % 2 * 2 : 0);
    }
}

template <int ROWS> VNNI inline void digits(__m512i t, __m512i* out) {
    if (ROWS == 4) {                           // left where they stand: 4^r too large, put right once at the end
        for (int r = 0; r < 4; r++) out[r] = _mm512_and_si512(t, _mm512_set1_epi8((char)(3 << 2 * r)));
    } else {
        const __m512i one = _mm512_set1_epi8(1), two = _mm512_set1_epi8(2);
        for (int r = 0; r < ROWS; r++) {
            const __mmask64 a = _mm512_cmpge_epu8_mask(t, _mm512_set1_epi8(86)), b = _mm512_cmpge_epu8_mask(t, _mm512_set1_epi8((char)171));
            out[r] = _mm512_mask_mov_epi8(_mm512_maskz_mov_epi8(a, one), b, two);
            t = _mm512_add_epi8(t, _mm512_add_epi8(t, t));
        }
    }
}
template <int ROWS, int B> VNNI void vnni(const uint8_t* w, const int8_t* x, long columns, int32_t* raw) {
    __m512i sum[ROWS * B], code[ROWS];
    for (auto& v : sum) v = _mm512_setzero_si512();
    for (long k = 0; k < columns; k += BLOCK) {
        _mm_prefetch((const char*)(w + k + 4096), _MM_HINT_T0);
        digits<ROWS>(_mm512_loadu_si512(w + k), code);
        for (int b = 0; b < B; b++) {
            const __m512i v = _mm512_loadu_si512(x + b * columns + k);
            for (int r = 0; r < ROWS; r++) sum[r * B + b] = _mm512_dpbusd_epi32(sum[r * B + b], code[r], v);
        }
    }
    for (int r = 0; r < ROWS; r++)
        for (int b = 0; b < B; b++) raw[r * B + b] = _mm512_reduce_add_epi32(sum[r * B + b]) >> (ROWS == 4 ? 2 * r : 0);
}
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

template <int ROWS, int B> Group choose(int path) {
#ifdef X86
    if (path == 2) return vnni<ROWS, B>;
    if (path == 1) return avx2<ROWS, B>;
#endif
    return portable<ROWS, B>;
}
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
