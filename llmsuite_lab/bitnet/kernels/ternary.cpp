// Products of a packed ternary matrix (`ternary.h` has the form) with one vector or a few, on several threads.
#include "ternary.h"

namespace {
// use(vector, row, sum of weight * x) for every vector and row; sum (n): of each x
template <int ROWS, class Use>
void multiply(const uint8_t* w, const int8_t* x, const int32_t* sum, long d_out, long columns, long n, int path, int threads, Use use) {
    const Group group = choose<ROWS>(path);
    const long groups = (d_out + ROWS - 1) / ROWS;
    #pragma omp parallel num_threads(threads) if (threads > 1)
    {
        std::vector<int32_t> raw(ROWS * n);
        #pragma omp for schedule(static)
        for (long g = 0; g < groups; g++) {
            const long rows = d_out - g * ROWS < ROWS ? d_out - g * ROWS : ROWS;
            group(w + g * columns, x, columns, n, raw.data());
            for (long b = 0; b < n; b++)
                for (long r = 0; r < rows; r++) use(b, g * ROWS + r, raw[b * ROWS + r] - sum[b]);
        }
    }
}
template <class Use>
void multiply(int rows, const uint8_t* w, const int8_t* x, const int32_t* sum, long d_out, long columns, long n, int path, int threads, Use use) {
    if (rows == 4) multiply<4>(w, x, sum, d_out, columns, n, path, threads, use);
    else multiply<5>(w, x, sum, d_out, columns, n, path, threads, use);
}
}  // namespace

extern "C" int ternary_best() { return best_path(); }

// exact (n, d_out) of x (n, columns) int8
extern "C" void ternary_integers(const uint8_t* w, const int8_t* x, int32_t* exact, long long d_out, long long columns, long long n, int rows, int path,
                                 int threads) {
    std::vector<int32_t> sum(n);
    for (long b = 0; b < n; b++)
        for (long k = 0; k < columns; k++) sum[b] += x[b * columns + k];
    multiply(rows, w, x, sum.data(), d_out, columns, n, path, threads, [=](long b, long i, int32_t y) { exact[b * d_out + i] = y; });
}
// y (n, d_out) = exact * (s * scale) of x (n, d) floats, quantized with s
extern "C" void ternary_multiply(const uint8_t* w, const float* x, float scale, float* y, long long d_out, long long d, long long columns, long long n,
                                 float eps, int rows, int path, int threads) {
    Room q(n * columns);
    std::vector<float> s(n);
    std::vector<int32_t> sum(n);
    for (long b = 0; b < n; b++) {
        sum[b] = quantize(x + b * d, q.at + b * columns, &s[b], d, columns, eps, path);
        s[b] *= scale;
    }
    const float* by = s.data();
    multiply(rows, w, q.at, sum.data(), d_out, columns, n, path, threads, [=](long b, long i, int32_t exact) { y[b * d_out + i] = (float)exact * by[b]; });
}
