// Numbers in registers of the processor, and tensors in memory, for the kernels beside it: REAL is float or double.

#pragma once

#include <cstdint>
#include <cstring>
#include <type_traits>
#include <utility>

using real = REAL;
using integer = std::int64_t;

// A tensor (rows, heads, time, ...) whose last dimensions are contiguous; strides count numbers.
struct View {
    real* first;
    integer row, head, time;
    real* at(integer r, integer h, integer t = 0) const { return first + r * row + h * head + t * time; }
};

#if defined(__AVX512F__)
constexpr int REGISTER = 64;  // bytes
#elif defined(__AVX__)
constexpr int REGISTER = 32;
#else
constexpr int REGISTER = 16;  // SSE, NEON
#endif
typedef real Lanes __attribute__((vector_size(REGISTER)));
constexpr integer LANES = REGISTER / sizeof(real);

static Lanes load(const real* from) {
    Lanes x;
    std::memcpy(&x, from, sizeof x);
    return x;
}

static void store(const Lanes& x, real* to) { std::memcpy(to, &x, sizeof x); }

static real sum(const Lanes& x) {
    real total = 0;
    for (integer i = 0; i < LANES; ++i) total += x[i];
    return total;
}

// N numbers in registers of the processor, filled up with zeros.
template <integer N>
struct Vector {
    static constexpr integer PARTS = (N + LANES - 1) / LANES, FULL = N / LANES;
    Lanes part[PARTS];

    static Vector zeros() {
        Vector x;
        for (Lanes& lanes : x.part) lanes = Lanes{};
        return x;
    }
    static Vector read(const real* from) {  // register by register: as a whole it would go by way of memory
        Vector x;
        for (integer p = 0; p < FULL; ++p) x.part[p] = load(from + p * LANES);
        if constexpr (FULL < PARTS) {
            x.part[FULL] = Lanes{};
            std::memcpy(&x.part[FULL], from + FULL * LANES, (N - FULL * LANES) * sizeof(real));
        }
        return x;
    }
    void write(real* to) const {
#pragma GCC unroll 16  // left alone, GCC copies it by smaller registers
        for (integer p = 0; p < FULL; ++p) store(part[p], to + p * LANES);
        if constexpr (FULL < PARTS)
            std::memcpy(to + FULL * LANES, &part[FULL], (N - FULL * LANES) * sizeof(real));
    }
    Vector& operator+=(const Vector& y) {
        for (integer p = 0; p < PARTS; ++p) part[p] += y.part[p];
        return *this;
    }
    Vector& operator-=(const Vector& y) {
        for (integer p = 0; p < PARTS; ++p) part[p] -= y.part[p];
        return *this;
    }
    Vector& operator*=(real factor) {
        for (integer p = 0; p < PARTS; ++p) part[p] *= factor;
        return *this;
    }
    friend Vector operator*(real factor, Vector x) { return x *= factor; }
    friend Vector operator*(Vector x, const Vector& y) {
        for (integer p = 0; p < PARTS; ++p) x.part[p] *= y.part[p];
        return x;
    }
    real sum() const {
        Lanes all = part[0];
        for (integer p = 1; p < PARTS; ++p) all += part[p];
        return ::sum(all);
    }
};

// Whole numbers as wide as `real`; what a comparison of lanes gives, all bits set where it holds.
typedef std::conditional_t<sizeof(real) == 4, std::int32_t, std::int64_t> Whole;
typedef Whole Bits __attribute__((vector_size(REGISTER)));

static Lanes where(Bits holds, Lanes x, Lanes otherwise) {
    return (Lanes)(((Bits)x & holds) | ((Bits)otherwise & ~holds));
}

static Lanes larger(Lanes x, Lanes y) { return where(x > y, x, y); }

// exp(x) for x up to about 0, exactly 0 far below, NaN of NaN: 2^n times the series of what is left, at most ln(2) / 2.
static Lanes exponential(Lanes x) {
    constexpr bool SINGLE = sizeof(real) == 4;
    constexpr long double LN2 = 0.693147180559945309417232121458L;
    constexpr real LEAST = SINGLE ? -87 : -708, HIGH = SINGLE ? 0.693359375 : 0.6931471803691238, LOW = LN2 - HIGH;
    constexpr int DIGITS = SINGLE ? 23 : 52, TERMS = SINGLE ? 7 : 13;
    constexpr real ROUND = real(std::int64_t(3) << (DIGITS - 1));  // a sum with it has no digits after the point
    const Lanes shifted = larger(x, Lanes{} + LEAST) * real(1 / LN2) + ROUND, n = shifted - ROUND;
    const Lanes rest = larger(x, Lanes{} + LEAST) - n * HIGH - n * LOW;
    Lanes y = Lanes{} + 1;
    for (int term = TERMS; term > 0; --term) y = 1 + y * rest * real(1.0L / term);
    const Bits power = ((Bits)shifted << DIGITS) + (Bits)(Lanes{} + 1);
    return where(x == x, where(x < LEAST, Lanes{}, y * (Lanes)power), x);
}

// Neighbouring groups of HALF lanes of x added to each other, and of y: (x0 + x1, y0 + y1, x2 + x3, y2 + y3, ...).
template <integer HALF, integer... LANE>
static Lanes fold(const Lanes& x, const Lanes& y, std::integer_sequence<integer, LANE...>) {
    constexpr auto of_y = [](integer lane) { return lane % (2 * HALF) >= HALF; };
#if defined(__clang__)
    return __builtin_shufflevector(x, y, (of_y(LANE) ? LANES + LANE - HALF : LANE)...) +
           __builtin_shufflevector(x, y, (of_y(LANE) ? LANES + LANE : LANE + HALF)...);
#else
    constexpr Bits low = {Whole(of_y(LANE) ? LANES + LANE - HALF : LANE)...};
    constexpr Bits high = {Whole(of_y(LANE) ? LANES + LANE : LANE + HALF)...};
    return __builtin_shuffle(x, y, low) + __builtin_shuffle(x, y, high);
#endif
}

// Lane i of the result is the sum of x[i]; x is overwritten.
template <integer HALF = LANES / 2>
static Lanes sum_each(Lanes (&x)[LANES]) {
    if constexpr (HALF == 0) {
        return x[0];
    } else {
        for (integer i = 0; i < HALF; ++i)
            x[i] = fold<HALF>(x[i], x[i + HALF], std::make_integer_sequence<integer, LANES>());
        return sum_each<HALF / 2>(x);
    }
}
