// Packed ternary matrix times int8 vectors. A byte holds one column of ROWS rows as digits 0, 1, 2 (weight + 1), so with x padded by zeros
//     sum_k w x = sum_k digit x - sum_k x                      and the last sum is one number a vector.
// Forms: 4 rows a byte (2 bits each), 5 rows (base 3, stored as the fraction v/243 in 1/256ths: multiply by 3, look at what overflows).
// Columns are a multiple of 64. Every path gives the same integers.
#pragma once
#include "rounding.h"

namespace {
constexpr long VECTORS = 4;                    // vectors that share one reading of the weights
constexpr long BLOCK = 64;                      // columns are filled up to a multiple of it

// raw[b * ROWS + r] = sum over the columns of digit r times vector b, for n vectors that lie `columns` apart
using Group = void (*)(const uint8_t* w, const int8_t* x, long columns, long n, int32_t* raw);

template <int ROWS> inline int digit(unsigned byte, int row) {
    static const unsigned power[] = {1, 3, 9, 27, 81};
    return ROWS == 4 ? byte >> 2 * row & 3 : (byte * power[row] & 255) * 3 >> 8;
}
template <int ROWS> void portable(const uint8_t* w, const int8_t* x, long columns, long n, int32_t* raw) {
    for (long b = 0; b < n; b++, x += columns, raw += ROWS) {
        int32_t sum[ROWS] = {};
        for (long k = 0; k < columns; k++)
            for (int r = 0; r < ROWS; r++) sum[r] += digit<ROWS>(w[k], r) * x[k];
        for (int r = 0; r < ROWS; r++) raw[r] = sum[r];
    }
}

#ifdef X86
// Sums stay in registers only where their loops are unrolled early and their type is the instructions' own: g++ 12 copied each one in every step.
#define EACH _Pragma("GCC unroll 8")
typedef short Halves __attribute__((vector_size(32)));
typedef int Words __attribute__((vector_size(64)));

// The processor reads ahead by itself, but neither across a page nor for a slow reader, who therefore asks for every line: several vectors always, one
// vector on Intel (1.2 to 2.8 times as fast there). AMD's read one vector as fast as the memory gives: asking for the next page's beginning is enough, for
// every line cost up to a fifth.
const bool SLOW = (__builtin_cpu_init(), __builtin_cpu_is("intel"));
template <int B> INLINE void ask(const uint8_t* w) {                      // past the end it is a hint that nobody follows
    w += 4096;
    if (B > 1 || SLOW) _mm_prefetch((const char*)w, _MM_HINT_T1);
    else if ((uintptr_t)w % 4096 < 64) _mm_prefetch((const char*)w, _MM_HINT_T0);
}

// --- AVX2: pairs of products are added up in 16 bits, for SPAN columns: 64 steps of at most 2 * 2 * 127 stay below 2^15 ------------------------
constexpr long SPAN = 64 * 32;

template <int ROWS> AVX2 inline void digits(__m256i t, __m256i* out) {
    if (ROWS == 4) {
        EACH for (int r = 0; r < 4; r++) out[r] = _mm256_and_si256(_mm256_srli_epi16(t, 2 * r), _mm256_set1_epi8(3));
    } else {                                   // 3t/256: 0 below 86, 1 below 171, else 2; t - 128 trebles like t, and can be compared
        t = _mm256_xor_si256(t, _mm256_set1_epi8((char)128));
        EACH for (int r = 0; r < ROWS; r++) {
            const __m256i one = _mm256_cmpgt_epi8(t, _mm256_set1_epi8(85 - 128)), two = _mm256_cmpgt_epi8(t, _mm256_set1_epi8(170 - 128));
            out[r] = _mm256_sub_epi8(_mm256_setzero_si256(), _mm256_add_epi8(one, two));
            t = _mm256_add_epi8(t, _mm256_add_epi8(t, t));
        }
    }
}
AVX2 inline __m128i totals(Halves a, Halves b, Halves c, Halves d) {
    const __m256i one = _mm256_set1_epi16(1);
    const __m256i ab = _mm256_hadd_epi32(_mm256_madd_epi16((__m256i)a, one), _mm256_madd_epi16((__m256i)b, one));
    const __m256i cd = _mm256_hadd_epi32(_mm256_madd_epi16((__m256i)c, one), _mm256_madd_epi16((__m256i)d, one));
    const __m256i all = _mm256_hadd_epi32(ab, cd);
    return _mm_add_epi32(_mm256_castsi256_si128(all), _mm256_extracti128_si256(all, 1));
}
// raw += digits of a span times B vectors. w: packed, or the digits, SPAN bytes a row
template <int ROWS, int B, bool PACKED> AVX2 void avx2_span(const uint8_t* w, const int8_t* x, long columns, long span, int32_t* raw) {
    Halves sum[ROWS][B];
    EACH for (int r = 0; r < ROWS; r++)
        EACH for (int b = 0; b < B; b++) sum[r][b] = Halves{};
    for (long k = 0; k < span; k += 32) {
        __m256i v[B], code[ROWS];
        EACH for (int b = 0; b < B; b++) v[b] = _mm256_loadu_si256((const __m256i*)(x + b * columns + k));
        if (PACKED) {
            ask<B>(w + k);
            digits<ROWS>(_mm256_loadu_si256((const __m256i*)(w + k)), code);
        }
        EACH for (int r = 0; r < ROWS; r++) {
            if (!PACKED) code[r] = _mm256_load_si256((const __m256i*)(w + r * SPAN + k));
            EACH for (int b = 0; b < B; b++) sum[r][b] += (Halves)_mm256_maddubs_epi16(code[r], v[b]);
        }
    }
    EACH for (int b = 0; b < B; b++) {
        __m128i* four = (__m128i*)(raw + b * ROWS);
        _mm_storeu_si128(four, _mm_add_epi32(_mm_loadu_si128(four), totals(sum[0][b], sum[1][b], sum[2][b], sum[3][b])));
        if (ROWS == 5) raw[b * ROWS + 4] += _mm_cvtsi128_si32(totals(sum[ROWS - 1][b], Halves{}, Halves{}, Halves{}));
    }
}
template <int ROWS> AVX2 void avx2(const uint8_t* w, const int8_t* x, long columns, long n, int32_t* raw) {
    for (long i = 0; i < ROWS * n; i++) raw[i] = 0;
    for (long k = 0; k < columns; k += SPAN) {
        const long span = columns - k < SPAN ? columns - k : SPAN;
        if (n == 1) avx2_span<ROWS, 1, true>(w + k, x + k, columns, span, raw);
        else if (n == 2) avx2_span<ROWS, 2, true>(w + k, x + k, columns, span, raw);
        else {                                 // unpacked once, in the nearest cache, for all vectors
            alignas(32) uint8_t code[ROWS * SPAN];
            for (long j = 0; j < span; j += 32) {
                __m256i row[ROWS];
                ask<VECTORS>(w + k + j);
                digits<ROWS>(_mm256_loadu_si256((const __m256i*)(w + k + j)), row);
                EACH for (int r = 0; r < ROWS; r++) _mm256_store_si256((__m256i*)(code + r * SPAN + j), row[r]);
            }
            for (long b = 0; b < n; b += 2)
                (n - b > 1 ? avx2_span<ROWS, 2, false> : avx2_span<ROWS, 1, false>)(code, x + b * columns + k, columns, span, raw + b * ROWS);
        }
    }
}

// --- AVX-512 VNNI: no digit is unpacked. The byte t times x, and parts of it that are cheaper to have, give the digits' sums ------------------
//     4 rows: t mod 4, 16, 64, 256 hold the lowest 1, 2, 3, 4 digits                  sum of digit r: (this one - the one before) / 4^r
//     5 rows: t, 3t, 9t, ... mod 256; trebling carries the next digit out              sum of digit r: (3 * this one - the one after) / 256
constexpr long WIDE = 1 << 15;                  // columns whose sums, 256 times too large, stay below 2^31

VNNI inline void totals(Words a, Words b, Words c, Words d, uint32_t* out) {
    const __m512i ab = (__m512i)((Words)_mm512_unpacklo_epi32((__m512i)a, (__m512i)b) + (Words)_mm512_unpackhi_epi32((__m512i)a, (__m512i)b));
    const __m512i cd = (__m512i)((Words)_mm512_unpacklo_epi32((__m512i)c, (__m512i)d) + (Words)_mm512_unpackhi_epi32((__m512i)c, (__m512i)d));
    const __m512i all = (__m512i)((Words)_mm512_unpacklo_epi64(ab, cd) + (Words)_mm512_unpackhi_epi64(ab, cd));
    const __m256i half = _mm256_add_epi32(_mm512_castsi512_si256(all), _mm512_extracti64x4_epi64(all, 1));
    _mm_storeu_si128((__m128i*)out, _mm_add_epi32(_mm256_castsi256_si128(half), _mm256_extracti128_si256(half, 1)));
}
template <int ROWS, int B> VNNI void vnni_span(const uint8_t* w, const int8_t* x, long columns, long span, int32_t* raw) {
    constexpr int PARTS = ROWS == 4 ? 4 : 6;
    Words sum[8][B];
    EACH for (int r = 0; r < 8; r++)
        EACH for (int b = 0; b < B; b++) sum[r][b] = Words{};
    for (long k = 0; k < span; k += BLOCK) {
        ask<B>(w + k);
        __m512i v[B], t = _mm512_loadu_si512(w + k);
        EACH for (int b = 0; b < B; b++) v[b] = _mm512_loadu_si512(x + b * columns + k);
        EACH for (int r = 0; r < PARTS; r++) {
            const __m512i part = ROWS == 4 && r < 3 ? _mm512_and_si512(t, _mm512_set1_epi8((char)((4 << 2 * r) - 1))) : t;
            EACH for (int b = 0; b < B; b++) sum[r][b] = (Words)_mm512_dpbusd_epi32((__m512i)sum[r][b], part, v[b]);
            if (ROWS == 5) t = _mm512_add_epi8(t, _mm512_add_epi8(t, t));
        }
    }
    EACH for (int b = 0; b < B; b++) {
        uint32_t s[8];                         // may wrap around: what comes of them does not
        EACH for (int r = 0; r < PARTS; r += 4) totals(sum[r][b], sum[r + 1][b], sum[r + 2][b], sum[r + 3][b], s + r);
        EACH for (int r = 0; r < ROWS; r++)
            raw[b * ROWS + r] += ROWS == 4 ? (int32_t)(s[r] - (r ? s[r - 1] : 0)) >> 2 * r : (int32_t)(3 * s[r] - s[r + 1]) >> 8;
    }
}
template <int ROWS> VNNI void vnni(const uint8_t* w, const int8_t* x, long columns, long n, int32_t* raw) {
    for (long i = 0; i < ROWS * n; i++) raw[i] = 0;
    for (long k = 0; k < columns; k += WIDE)
        for (long b = 0, take; b < n; b += take) {
            take = n - b >= VECTORS ? VECTORS : n - b >= 2 ? 2 : 1;
            const auto products = take == VECTORS ? vnni_span<ROWS, VECTORS> : take == 2 ? vnni_span<ROWS, 2> : vnni_span<ROWS, 1>;
            products(w + k, x + b * columns + k, columns, columns - k < WIDE ? columns - k : WIDE, raw + b * ROWS);
        }
}
#endif

template <int ROWS> Group choose(int path) {
#ifdef X86
    if (path == 2) return vnni<ROWS>;
    if (path == 1) return avx2<ROWS>;
#endif
    return portable<ROWS>;
}
}  // namespace
