// One token of a one-bit Llama in one call. Every ternary matrix T has a norm of its own in front and one scale:
//     B(x) = (T q) s scale,   q, s = int8(g x / sqrt(mean(x^2) + eps))                one s a token, `ternary.h`
// For each block, x being the residual stream (d):
//     q, k, v = B_Q(x), B_K(x), B_V(x);   q and k turned by their position;   k and v join the cache
//     x = x + B_O[ softmax(scale q K^T) V  for each head ]
//     x = x + B_down( silu(B_gate(x)) * B_up(x) )
// and at the end  logits = W_head h,  h = g x / sqrt(mean(x^2) + eps),  in float32.
#include "ternary.h"

struct Matrix { const uint8_t* w; const float* norm; long long rows, columns; float scale; };
struct Block { Matrix q, k, v, o, gate, up, down; };
struct Model {
    long long blocks, d, heads, kv, dh, ff, vocabulary, rows_a_byte;
    float scale, eps, least;                   // of attention; inside the norms' roots; the smallest max |x| of a token
    const Block* block;
    const float *norm, *head;
};

namespace {
long padded(long columns) { return (columns + BLOCK - 1) / BLOCK * BLOCK; }

// One thread, with its own copy of the activations as whole numbers: rounding them once more is cheaper than waiting for another.
struct Worker : Thread {
    const Model& m;
    const int path;
    const Group group;
    std::vector<float> h;
    Room q;
    Worker(const Model& m, int path, long widest, long positions)
        : Thread(path, positions), m(m), path(path), group(m.rows_a_byte == 4 ? choose<4>(path) : choose<5>(path)), h(widest), q(padded(widest)) {}
    template <class Use> void product(const Matrix& M, const float* x, Use use) {   // use(row, value) for the rows that are this thread's
        const long columns = padded(M.columns), bytes = (M.rows + m.rows_a_byte - 1) / m.rows_a_byte;
        float s;
        floats.norm(x, M.norm, m.eps, h.data(), M.columns);
        const int32_t sum = quantize(h.data(), q.at, &s, M.columns, columns, m.least, path);
        s *= M.scale;
        for (long g = first(bytes); g < last(bytes); g++) {
            int32_t raw[5];
            group(M.w + g * columns, q.at, columns, 1, raw);
            for (long r = 0, i = g * m.rows_a_byte; r < m.rows_a_byte && i < M.rows; r++, i++) use(i, (float)(raw[r] - sum) * s);
        }
    }
};
}  // namespace

// x (d): the token's embedding, overwritten. cache (blocks, 2 kv, capacity, dh): keys, then values; this token's go to `pos`. cos, sin (dh): of it.
// logits (vocabulary). trace (blocks, d): x after each block; may be null.
extern "C" void bit_step(const Model* model, float* x, float* cache, long long capacity, long long pos, const float* cos, const float* sin,
                         float* logits, float* trace, int path, int threads) {
    const Model& m = *model;
    const long d = m.d, dh = m.dh, heads = m.heads, kv = m.kv, ff = m.ff, all = heads * dh;
    std::vector<float> query(all), key(kv * dh), value(kv * dh), mixed(all), up(ff);
    long widest = d > all ? d : all;
    widest = widest > ff ? widest : ff;
    #pragma omp parallel num_threads(threads) if (threads > 1)
    {
        Worker t(m, path, widest, pos + 1);
        const auto residual = [&](long i, float y) { x[i] += y; };
        for (long l = 0; l < m.blocks; l++) {
            const Block& block = m.block[l];
            t.product(block.q, x, [&](long i, float y) { query[i] = y; });
            t.product(block.k, x, [&](long i, float y) { key[i] = y; });
            t.product(block.v, x, [&](long i, float y) { value[i] = y; });
            #pragma omp barrier
            t.attention({cache + l * 2 * kv * capacity * dh, heads, kv, dh, capacity, pos, m.scale, cos, sin}, query.data(), key.data(), value.data(),
                        mixed.data());
            #pragma omp barrier
            t.product(block.o, mixed.data(), residual);
            #pragma omp barrier
            t.product(block.gate, x, [&](long i, float y) { up[i] = silu(y); });
            t.product(block.up, x, [&](long i, float y) { up[i] *= y; });  // the same rows, so the same thread
            #pragma omp barrier
            t.product(block.down, up.data(), residual);
            #pragma omp barrier
            if (trace && t.me == 0) memcpy(trace + l * d, x, d * sizeof(float));   // nobody writes x before the next three barriers
        }
        t.floats.norm(x, m.norm, m.eps, t.h.data(), d);
        for (long i = t.first(m.vocabulary); i < t.last(m.vocabulary); i++) logits[i] = t.floats.dot(m.head + i * d, t.h.data(), d);
    }
}
