/* SSE2 doubles: a matrix product, the motion of five bodies, the Mandelbrot set. */
#include <emmintrin.h>
#include "bench.h"

static uint32_t fold_double(uint32_t sum, double d)
{
    uint64_t bits;
    __builtin_memcpy(&bits, &d, 8);
    return fold(fold(sum, (uint32_t)bits), (uint32_t)(bits >> 32));
}

static double root(double d)
{
    return _mm_cvtsd_f64(_mm_sqrt_sd(_mm_setzero_pd(), _mm_set_sd(d)));
}

#define N 32

uint32_t bench_matmul(uint32_t n)
{
    static double a[N][N], b[N][N], c[N][N];
    uint32_t seed = 6, sum = 0;
    for (int i = 0; i < N; i++)
        for (int j = 0; j < N; j++) {
            a[i][j] = (double)(next(&seed) >> 8) / 16777216.0;
            b[i][j] = (double)(next(&seed) >> 8) / 16777216.0;
        }
    for (uint32_t round = 0; round < n; round++) {
        for (int i = 0; i < N; i++) {
            for (int j = 0; j < N; j++)
                c[i][j] = 0;
            for (int k = 0; k < N; k++)
                for (int j = 0; j < N; j++)
                    c[i][j] += a[i][k] * b[k][j];
        }
        for (int i = 0; i < N; i++)
            for (int j = 0; j < N; j++)
                a[i][j] = c[j][i] / (double)N + 0.125;
        sum = fold_double(sum, c[round % N][round / 3 % N]);
    }
    return sum;
}

struct body { double x, y, z, vx, vy, vz, mass; };

/* Not the planets, but as many. */
static struct body bodies[5] = {
    { 0, 0, 0, 0, 0, 0, 39.5 },
    { 4.8, -1.2, -0.1, 0.6, 2.8, -0.02, 0.037 },
    { 8.3, 4.1, -0.4, -1.0, 1.8, 0.008, 0.011 },
    { 12.9, -15.1, -0.2, 1.1, 0.9, -0.01, 0.0017 },
    { 15.4, -25.9, 0.2, 0.97, 0.6, -0.03, 0.002 },
};

uint32_t bench_nbody(uint32_t n)
{
    uint32_t sum = 0;
    for (uint32_t round = 0; round < n; round++) {
        for (int step = 0; step < 100; step++) {
            for (int i = 0; i < 5; i++)
                for (int j = i + 1; j < 5; j++) {
                    struct body *p = &bodies[i], *q = &bodies[j];
                    double dx = p->x - q->x, dy = p->y - q->y, dz = p->z - q->z;
                    double square = dx * dx + dy * dy + dz * dz, pull = 0.01 / (square * root(square));
                    p->vx -= dx * (q->mass * pull), p->vy -= dy * (q->mass * pull), p->vz -= dz * (q->mass * pull);
                    q->vx += dx * (p->mass * pull), q->vy += dy * (p->mass * pull), q->vz += dz * (p->mass * pull);
                }
            for (int i = 0; i < 5; i++) {
                struct body *p = &bodies[i];
                p->x += 0.01 * p->vx, p->y += 0.01 * p->vy, p->z += 0.01 * p->vz;
            }
        }
        sum = fold_double(sum, bodies[round % 5].x);
    }
    return sum;
}

uint32_t bench_mandelbrot(uint32_t n)
{
    uint32_t sum = 0;
    for (uint32_t round = 0; round < n; round++) {
        double cy = (double)(round % 64) / 24.0 - 1.25;
        uint32_t steps = 0;
        for (int column = 0; column < 64; column++) {
            double cx = (double)column / 24.0 - 2.0, x = 0, y = 0;
            uint32_t i = 0;
            for (; i < 100; i++) {
                double xx = x * x, yy = y * y;
                if (xx + yy > 4.0)
                    break;
                y = 2.0 * x * y + cy;
                x = xx - yy + cx;
            }
            steps = steps * 31 + i;
        }
        sum = fold(sum, steps);
    }
    return sum;
}
