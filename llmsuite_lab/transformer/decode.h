// What the kernels that write token by token have in common: instruction sets, float vectors, and attention over a cache of keys and values.
#pragma once
#include <cmath>
#include <cstdint>
#include <cstring>
#include <vector>
#ifdef _OPENMP
#include <omp.h>
#endif
#if defined(__x86_64__) || defined(_M_X64)
#define X86 1
#include <immintrin.h>
#define AVX2 __attribute__((target("avx2,fma,f16c")))
#define VNNI __attribute__((target("avx512f,avx512bw,avx512vl,avx512vnni,avx2,fma,f16c")))
#endif
#define INLINE inline __attribute__((always_inline))

namespace {
// 2: AVX-512 VNNI, 1: AVX2, 0: neither
inline int best_path() {
#ifdef X86
    if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma")) return 0;
    return __builtin_cpu_supports("avx512vnni") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") ? 2 : 1;
#else
    return 0;
#endif
}

// --- float vectors: lanes side by side, of which any compiler makes the vector instructions that it may use ------------------------------------
INLINE float dot(const float* a, const float* b, long n) {
    float sum[16] = {};
    long i = 0;
    for (; i + 16 <= n; i += 16)
        for (int j = 0; j < 16; j++) sum[j] += a[i + j] * b[i + j];
    for (; i < n; i++) sum[0] += a[i] * b[i];
    for (int width = 8; width; width /= 2)
        for (int j = 0; j < width; j++) sum[j] += sum[j + width];
    return sum[0];
}
INLINE void add(float p, const float* v, float* y, long n) {              // y += p v
    for (long i = 0; i < n; i++) y[i] += p * v[i];
}
INLINE void norm(const float* x, const float* g, float eps, float* h, long n) {   // h = g x / sqrt(mean(x^2) + eps)
    const float scale = 1 / std::sqrt(dot(x, x, n) / n + eps);
    for (long i = 0; i < n; i++) h[i] = x[i] * scale * g[i];
}
struct Floats {
    float (*dot)(const float*, const float*, long);
    void (*add)(float, const float*, float*, long);
    void (*norm)(const float*, const float*, float, float*, long);
};
#define FLOATS(NAME, TARGET)                                                                                                                  \
    TARGET inline float dot_##NAME(const float* a, const float* b, long n) { return dot(a, b, n); }                                           \
    TARGET inline void add_##NAME(float p, const float* v, float* y, long n) { add(p, v, y, n); }                                             \
    TARGET inline void norm_##NAME(const float* x, const float* g, float eps, float* h, long n) { norm(x, g, eps, h, n); }                    \
    const Floats floats_##NAME = {dot_##NAME, add_##NAME, norm_##NAME};
FLOATS(portable, )
#ifdef X86
FLOATS(avx2, AVX2)
FLOATS(vnni, VNNI)
const Floats* const FLOATS_OF[] = {&floats_portable, &floats_avx2, &floats_vnni};
#else
const Floats* const FLOATS_OF[] = {&floats_portable, &floats_portable, &floats_portable};
#endif

inline float silu(float a) { return a / (1 + std::exp(-a)); }
inline void turn(float* v, const float* cos, const float* sin, long dh) { // the pair (i, i + dh/2), as transformers' weights have it
    for (long i = 0; i < dh / 2; i++) {
        const float a = v[i], b = v[i + dh / 2];
        v[i] = a * cos[i] - b * sin[i];
        v[i + dh / 2] = b * cos[i] + a * sin[i];
    }
}

// A layer's keys and values, (2 kv, capacity, dh): this token's go to `pos`. cos, sin (dh): of its position.
struct Cache {
    float* of_layer;
    long heads, kv, dh, capacity, pos;
    float scale;
    const float *cos, *sin;
};

// One thread's part of a token.
struct Thread {
    const Floats& floats;
    const long me, of;
    std::vector<float> p;
    Thread(int path, long positions) : floats(*FLOATS_OF[path]), me(number()), of(all()), p(positions) {}
#ifdef _OPENMP
    static long number() { return omp_get_thread_num(); }
    static long all() { return omp_get_num_threads(); }
#else
    static long number() { return 0; }
    static long all() { return 1; }
#endif
    long first(long n) const { return n * me / of; }
    long last(long n) const { return n * (me + 1) / of; }

    // mixed = softmax(scale q K^T) V for each head, after this token's key and value have joined the cache; heads / kv query heads share one of each
    void attention(const Cache& c, float* query, float* key, const float* value, float* mixed) {
        float *K = c.of_layer, *V = K + c.kv * c.capacity * c.dh;
        for (long j = first(c.kv); j < last(c.kv); j++) {
            turn(key + j * c.dh, c.cos, c.sin, c.dh);
            memcpy(K + (j * c.capacity + c.pos) * c.dh, key + j * c.dh, c.dh * sizeof(float));
            memcpy(V + (j * c.capacity + c.pos) * c.dh, value + j * c.dh, c.dh * sizeof(float));
        }
        #pragma omp barrier
        for (long j = first(c.heads); j < last(c.heads); j++) {
            const long group = j / (c.heads / c.kv) * c.capacity * c.dh;
            turn(query + j * c.dh, c.cos, c.sin, c.dh);
            attend(query + j * c.dh, K + group, V + group, c.pos + 1, c.dh, c.scale, mixed + j * c.dh);
        }
    }

private:
    void attend(const float* query, const float* K, const float* V, long n, long dh, float scale, float* out) {
        float top = -INFINITY, total = 0;
        for (long t = 0; t < n; t++) { p[t] = scale * floats.dot(query, K + t * dh, dh); top = p[t] > top ? p[t] : top; }
        for (long t = 0; t < n; t++) { p[t] = std::exp(p[t] - top); total += p[t]; }
        for (long i = 0; i < dh; i++) out[i] = 0;
        for (long t = 0; t < n; t++) floats.add(p[t] / total, V + t * dh, out, dh);
    }
};
}  // namespace
