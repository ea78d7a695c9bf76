// One token of a Llama in one call, from the codes that a GGUF file holds. For each layer, x being the residual stream (d):
//     h = g1 x / sqrt(mean(x^2) + eps);   q, k, v = W_Q h, W_K h, W_V h;   q and k turned by their position;   k and v join the cache
//     x = x + W_O [ softmax(scale q K^T) V  for each head ]                 heads / kv query heads share one head of keys and values
//     h = g2 x / sqrt(mean(x^2) + eps);   x = x + W_down( silu(W_gate h) * W_up h )          silu(a) = a / (1 + e^-a)
// and at the end  logits = W_head h,  h = g x / sqrt(mean(x^2) + eps).
//
// Weights have a scale d (and a least value m) for each group of 32 columns, float16; activations are rounded to int8 in the same groups:
//     w = d code + m  (4 bits, code 0..15)     w = d (code - 128)  (8 bits)     x = s q,  s = max|x| / 127,  q in -127..127
// so that inside a group only whole numbers are multiplied:
//     y = sum over groups of   s (d sum(code q) + m sum(q))       or       s d (sum(code q) - 128 sum(q))
// A block is 16 rows x 32 columns, as wide registers read it: columns 4v..4v+3 of row r are the four bytes at 64 v + 4 r (4 bits: the low halves;
// the high halves are columns 16 later), then 16 d, then 16 m. All paths add the same whole numbers; only the order of float sums differs.
#include "decode.h"

struct Matrix { const uint8_t* w; long long rows, columns; int bits; };
struct Layer { const float *norm1, *norm2; Matrix q, k, v, o, gate, up, down; };
struct Model { long long layers, d, heads, kv, dh, ff; float eps, scale; const Layer* layer; const float* norm; Matrix head; };

namespace {
template <int BITS> constexpr long BLOCK = 64 * BITS + (BITS == 4 ? 64 : 32);   // bytes
constexpr long AHEAD = 2560;                                              // bytes that are fetched ahead of their use
struct Ints { const int8_t* q; const float* s; const int32_t* sum; };     // activations, for each group: 32 q, s, and the sum of its q

float half(const uint8_t* at) {
    const unsigned h = at[0] | at[1] << 8, e = h >> 10 & 31, f = h & 1023;
    const float a = e == 0 ? std::ldexp((float)f, -24) : e == 31 ? (f ? NAN : INFINITY) : std::ldexp(1024.0f + f, (int)e - 25);
    return h & 0x8000 ? -a : a;
}

// --- 16 rows of a matrix times the activations -------------------------------------------------------------------------------------------------
template <int BITS> void rows_portable(const uint8_t* w, long groups, const Ints& x, float* y) {
    for (int r = 0; r < 16; r++) y[r] = 0;
    for (long g = 0; g < groups; g++, w += BLOCK<BITS>) {
        const int8_t* q = x.q + 32 * g;
        const uint8_t* d = w + 64 * BITS;
        int32_t sum[16] = {};
        for (int v = 0; v < BITS; v++)
            for (int r = 0; r < 16; r++)
                for (int j = 4 * v; j < 4 * v + 4; j++) {
                    const int c = w[64 * v + 4 * r + j - 4 * v];
                    sum[r] += BITS == 4 ? (c & 15) * q[j] + (c >> 4) * q[16 + j] : (c - 128) * q[j];
                }
        for (int r = 0; r < 16; r++) y[r] += x.s[g] * (half(d + 2 * r) * sum[r] + (BITS == 4 ? half(d + 32 + 2 * r) * x.sum[g] : 0));
    }
}

#ifdef X86
inline int32_t four(const int8_t* q) { int32_t t; memcpy(&t, q, 4); return t; }
AVX2 inline __m256 halves(const uint8_t* at) { return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i*)at)); }
template <int BITS> AVX2 void rows_avx2(const uint8_t* w, long groups, const Ints& x, float* y) {
    const __m256i low = _mm256_set1_epi8(15), one = _mm256_set1_epi16(1), shift = _mm256_set1_epi8((char)128);
    __m256 total[2] = {_mm256_setzero_ps(), _mm256_setzero_ps()};
    for (long g = 0; g < groups; g++, w += BLOCK<BITS>) {
        const int8_t* q = x.q + 32 * g;
        __m256i sum[2] = {_mm256_setzero_si256(), _mm256_setzero_si256()};
        for (int v = 0; v < BITS; v++) {
            _mm_prefetch((const char*)(w + AHEAD + 64 * v), _MM_HINT_T0);     // past the end it is a hint that nobody follows
            const __m256i a = _mm256_set1_epi32(four(q + 4 * v)), b = _mm256_set1_epi32(BITS == 4 ? four(q + 16 + 4 * v) : 0);
            for (int h = 0; h < 2; h++) {
                const __m256i c = _mm256_loadu_si256((const __m256i*)(w + 64 * v + 32 * h));
                if (BITS == 4) {                                          // 16 bits hold it: 16 products of at most 15 * 127 a lane
                    sum[h] = _mm256_add_epi16(sum[h], _mm256_maddubs_epi16(_mm256_and_si256(c, low), a));
                    sum[h] = _mm256_add_epi16(sum[h], _mm256_maddubs_epi16(_mm256_and_si256(_mm256_srli_epi16(c, 4), low), b));
                } else {                                                  // |c| times q with c's sign: 16 bits hold two products of 128 * 127
                    const __m256i t = _mm256_xor_si256(c, shift);
                    sum[h] = _mm256_add_epi32(sum[h], _mm256_madd_epi16(_mm256_maddubs_epi16(_mm256_abs_epi8(t), _mm256_sign_epi8(a, t)), one));
                }
            }
        }
        for (int h = 0; h < 2; h++) {
            const uint8_t* d = w + 64 * BITS + 16 * h;
            const __m256 whole = _mm256_cvtepi32_ps(BITS == 4 ? _mm256_madd_epi16(sum[h], one) : sum[h]);
            total[h] = _mm256_fmadd_ps(_mm256_mul_ps(halves(d), _mm256_set1_ps(x.s[g])), whole, total[h]);
            if (BITS == 4) total[h] = _mm256_fmadd_ps(halves(d + 32), _mm256_set1_ps(x.s[g] * x.sum[g]), total[h]);
        }
    }
    for (int h = 0; h < 2; h++) _mm256_storeu_ps(y + 8 * h, total[h]);
}

VNNI inline __m512 halves512(const uint8_t* at) { return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i*)at)); }
template <int BITS> VNNI void rows_vnni(const uint8_t* w, long groups, const Ints& x, float* y) {
    const __m512i low = _mm512_set1_epi8(15);
    __m512 total = _mm512_setzero_ps(), least = _mm512_setzero_ps();
    for (long g = 0; g < groups; g++, w += BLOCK<BITS>) {
        const int8_t* q = x.q + 32 * g;
        const uint8_t* d = w + 64 * BITS;
        __m512i sum[2] = {_mm512_set1_epi32(BITS == 4 ? 0 : -128 * x.sum[g]), _mm512_setzero_si512()};   // two, so that neither waits for itself
        for (int v = 0; v < BITS; v++) {
            _mm_prefetch((const char*)(w + AHEAD + 64 * v), _MM_HINT_T0);
            const __m512i c = _mm512_loadu_si512(w + 64 * v), a = _mm512_set1_epi32(four(q + 4 * v));
            if (BITS == 4) {
                sum[0] = _mm512_dpbusd_epi32(sum[0], _mm512_and_si512(c, low), a);
                sum[1] = _mm512_dpbusd_epi32(sum[1], _mm512_and_si512(_mm512_srli_epi16(c, 4), low), _mm512_set1_epi32(four(q + 16 + 4 * v)));
            } else {
                sum[v % 2] = _mm512_dpbusd_epi32(sum[v % 2], c, a);
            }
        }
        _mm_prefetch((const char*)(w + AHEAD + 64 * BITS), _MM_HINT_T0);
        const __m512 whole = _mm512_cvtepi32_ps(_mm512_add_epi32(sum[0], sum[1]));
        total = _mm512_fmadd_ps(_mm512_mul_ps(halves512(d), _mm512_set1_ps(x.s[g])), whole, total);
        if (BITS == 4) least = _mm512_fmadd_ps(halves512(d + 32), _mm512_set1_ps(x.s[g] * x.sum[g]), least);
    }
    _mm512_storeu_ps(y, _mm512_add_ps(total, least));
}
#endif

// --- activations as whole numbers in groups of 32 -------------------------------------------------------------------------------------------------
INLINE void round(const float* x, long groups, int8_t* q, float* s, int32_t* sum) {
    for (long g = 0; g < groups; g++, x += 32, q += 32) {
        float top[8] = {}, odd[8] = {}, m = 0, bad = 0;                   // 0 x is nan where x is nan or infinite: such a group's s is nan
        for (int i = 0; i < 32; i += 8)
            for (int j = 0; j < 8; j++) { const float a = std::fabs(x[i + j]); top[j] = a > top[j] ? a : top[j]; odd[j] += 0 * x[i + j]; }
        for (int j = 0; j < 8; j++) { m = top[j] > m ? top[j] : m; bad += odd[j]; }
        const bool some = bad == 0 && m > 1e-30f;
        const float k = 127 / m, whole = 12582912;                        // 1.5 * 2^23: adding it rounds to a whole number, ties to even
        sum[g] = 0;
        s[g] = bad == 0 ? some * m / 127 : NAN;
        for (int i = 0; i < 32; i++) { const int t = some ? (int)(x[i] * k + whole - whole) : 0; q[i] = (int8_t)t; sum[g] += t; }
    }
}
struct Path {
    void (*rows4)(const uint8_t*, long, const Ints&, float*);
    void (*rows8)(const uint8_t*, long, const Ints&, float*);
    void (*round)(const float*, long, int8_t*, float*, int32_t*);
};
#define PATH(NAME, TARGET)                                                                                                            \
    TARGET void round_##NAME(const float* x, long n, int8_t* q, float* s, int32_t* sum) { round(x, n, q, s, sum); }                   \
    const Path NAME = {rows_##NAME<4>, rows_##NAME<8>, round_##NAME};
PATH(portable, )
#ifdef X86
PATH(avx2, AVX2)
PATH(vnni, VNNI)
const Path* const PATHS[] = {&portable, &avx2, &vnni};
#else
const Path* const PATHS[] = {&portable, &portable, &portable};
#endif

// One thread's part of the work, and its own copy of the activations as whole numbers: rounding them once more is cheaper than waiting for another.
struct Worker : Thread {
    const Path& path;
    std::vector<float> h, s;
    std::vector<int8_t> q;
    std::vector<int32_t> sum;
    Worker(int path, long widest, long positions)
        : Thread(path, positions), path(*PATHS[path]), h(widest), s(widest / 32), q(widest), sum(widest / 32) {}
    void round(const float* x, long n) { path.round(x, n / 32, q.data(), s.data(), sum.data()); }
    void norm_round(const float* x, const float* g, long n, float eps) {
        floats.norm(x, g, eps, h.data(), n);
        round(h.data(), n);
    }
    template <class Use> void product(const Matrix& M, Use use) {         // use(row, value) for the rows that are this thread's
        const long blocks = (M.rows + 15) / 16, groups = M.columns / 32;
        for (long b = first(blocks); b < last(blocks); b++) {
            float y[16];
            const uint8_t* w = M.w + b * groups * (M.bits == 4 ? BLOCK<4> : BLOCK<8>);
            (M.bits == 4 ? path.rows4 : path.rows8)(w, groups, {q.data(), s.data(), sum.data()}, y);
            for (long i = 0; i < 16 && 16 * b + i < M.rows; i++) use(16 * b + i, y[i]);
        }
    }
};
}  // namespace

extern "C" int q4_best() { return best_path(); }

// x (d): the token's embedding, overwritten. cache (layers, 2 kv, capacity, dh): keys, then values; this token's go to `pos`. cos, sin (dh): of it.
// logits (rows of head). trace (layers, d): x after each layer; may be null.
extern "C" void q4_step(const Model* model, float* x, float* cache, long long capacity, long long pos, const float* cos, const float* sin,
                        float* logits, float* trace, int path, int threads) {
    const Model& m = *model;
    const long d = m.d, dh = m.dh, heads = m.heads, kv = m.kv, ff = m.ff, all = heads * dh;
    std::vector<float> query(all), key(kv * dh), value(kv * dh), mixed(all), up(ff);
    long widest = d > all ? d : all;
    widest = widest > ff ? widest : ff;
    #pragma omp parallel num_threads(threads) if (threads > 1)
    {
        Worker t(path, widest, pos + 1);
        const auto residual = [&](long i, float y) { x[i] += y; };
        for (long l = 0; l < m.layers; l++) {
            const Layer& layer = m.layer[l];
            t.norm_round(x, layer.norm1, d, m.eps);
            t.product(layer.q, [&](long i, float y) { query[i] = y; });
            t.product(layer.k, [&](long i, float y) { key[i] = y; });
            t.product(layer.v, [&](long i, float y) { value[i] = y; });
            #pragma omp barrier
            t.attention({cache + l * 2 * kv * capacity * dh, heads, kv, dh, capacity, pos, m.scale, cos, sin}, query.data(), key.data(), value.data(), mixed.data());
            #pragma omp barrier
            t.round(mixed.data(), all);
            t.product(layer.o, residual);
            #pragma omp barrier
            t.norm_round(x, layer.norm2, d, m.eps);
            t.product(layer.gate, [&](long i, float y) { up[i] = silu(y); });
            t.product(layer.up, [&](long i, float y) { up[i] *= y; });    // the same rows, so the same thread
            #pragma omp barrier
            t.round(up.data(), ff);
            t.product(layer.down, residual);
            #pragma omp barrier
            if (trace && t.me == 0) memcpy(trace + l * d, x, d * sizeof(float));   // nobody writes x before the next three barriers
        }
        t.norm_round(x, m.norm, d, m.eps);
        t.product(m.head, [&](long i, float y) { logits[i] = y; });
    }
}
