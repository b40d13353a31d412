// Softmax attention of queries over the keys that are listed for them, on a CPU (listed_keys.py says how they are
// listed; listed_kernel.py compiles this file for REAL, float or double, and heads of WIDTH numbers).
//
// A head of keys and values is one unit of work with all queries that share it, so that nothing is added to by two
// threads and the result does not depend on their number. Nothing of the weights is kept; the backward pass computes
// them again, query after query.

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "lanes.hpp"

using Token = std::int32_t;
using Row = Vector<WIDTH>;
constexpr integer QUERIES = 64;  // whose gates' gradients wait, head by head, until they are summed
constexpr integer CHAINS = Row::PARTS >= 8 ? 1 : LANES < 8 / Row::PARTS ? LANES : 8 / Row::PARTS;  // sums side by side

// Keys of a query: `chosen`, or `count` runs of tokens from `first` on, and all from `near` to the query's own place.
struct Lists {
    const Token *near, *first, *count, *chosen;
    const integer *length, *period;  // of each pattern's runs
    integer patterns, pattern, row;  // how many share the heads; strides of near, first and count
    integer k;                       // columns of `chosen`, which has a row for each row and query, or is null
};

constexpr integer NONE = 0, STRAIGHT = 1, SOFT = 2;  // gates: a gradient alone, or multiplied with values as well

struct Sizes {
    integer rows, heads, group, queries, keys, threads;  // `group` heads of q share a head of k and v
    integer gates;                                       // NONE, or as follows
};

struct Work {
    std::vector<Token> keys;
    std::vector<real> weights, products;
    integer far = 0, number = 0;  // keys: those listed before `near`, and all

    explicit Work(integer most) : keys(most + LANES), weights(most + LANES), products(most + LANES) {}

    void list(const Lists& lists, integer row, integer head, integer t, const Sizes& sizes) {
        const integer pattern = head * lists.patterns / (sizes.heads * sizes.group);
        const integer at = pattern * lists.pattern + row * lists.row + t;
        Token* to = keys.data();
        if (lists.chosen) {
            const Token* from = lists.chosen + (row * sizes.queries + t) * lists.k;
            to = std::copy(from, from + lists.count[at], to);
        } else {
            for (Token run = 0, token = lists.first[at]; run < lists.count[at]; ++run, token += lists.period[pattern])
                for (Token place = 0; place < lists.length[pattern]; ++place) *to++ = token + place;
        }
        far = to - keys.data();
        for (integer own = sizes.keys - sizes.queries + t, key = lists.near[at]; key <= own; ++key) *to++ = key;
        number = to - keys.data();
        std::fill(to, to + LANES, keys[0]);  // so that whole registers can be filled
    }
};

// products[i] = x . row of key i
static void multiply(const Row& x, const real* rows, integer stride, const Work& work, real* products) {
    for (integer i = 0; i < work.number; i += LANES) {
        Lanes sums[LANES];
#pragma GCC unroll 16  // so that the sums stay in registers
        for (integer lane = 0; lane < LANES; ++lane) {
            const Row y = Row::read(rows + work.keys[i + lane] * stride);
            sums[lane] = x.part[0] * y.part[0];
#pragma GCC unroll 16
            for (integer p = 1; p < Row::PARTS; ++p) sums[lane] += x.part[p] * y.part[p];
        }
        store(sum_each(sums), products + i);
    }
}

// The sum of factors[i] times the row of key i; the factors behind the last key are 0.
static Row mix(const real* factors, const real* rows, integer stride, const Work& work) {
    Row sums[CHAINS];
    for (Row& sum : sums) sum = Row::zeros();
    for (integer i = 0; i < work.number; i += CHAINS)
#pragma GCC unroll 8
        for (integer chain = 0; chain < CHAINS; ++chain)
            sums[chain] += factors[i + chain] * Row::read(rows + work.keys[i + chain] * stride);
    for (integer chain = 1; chain < CHAINS; ++chain) sums[0] += sums[chain];
    return sums[0];
}

static void scatter(const real* factors, const Row& x, real* rows, integer stride, const Work& work) {
    for (integer i = 0; i < work.number; ++i) {
        real* to = rows + work.keys[i] * stride;
        Row sum = Row::read(to);
        sum += factors[i] * x;
        sum.write(to);
    }
}

static real largest(const real* numbers, integer number) {
    Lanes most = Lanes{} + numbers[0];  // the last register is filled up with what the first key has
    for (integer i = 0; i < number; i += LANES) most = larger(most, load(numbers + i));
    real all = most[0];
    for (integer lane = 1; lane < LANES; ++lane) all = std::max(all, real(most[lane]));
    return all;
}

// The exponentials of scores less the largest, for weights, 0 behind the last key; one over their sum.
static real exponentials(Work& work) {
    real* weights = work.weights.data();
    const real most = largest(weights, work.number);
    std::fill(weights + work.number, weights + work.number + LANES, -std::numeric_limits<real>::infinity());
    Lanes sums = {};
    for (integer i = 0; i < work.number; i += LANES) {
        const Lanes weight = exponential(load(weights + i) - most);
        store(weight, weights + i);
        sums += weight;
    }
    return 1 / sum(sums);
}

// The gradient of weights, in `products`, becomes that of the scores.
static void to_scores(Work& work) {
    const real* weights = work.weights.data();
    real* products = work.products.data();
    Lanes sums = {};
    for (integer i = 0; i < work.number; i += LANES) sums += load(weights + i) * load(products + i);
    const real mean = sum(sums);
    for (integer i = 0; i < work.number; i += LANES)
        store(load(weights + i) * (load(products + i) - mean), products + i);
}

// The views: q k v y. Gates (rows, queries, k) are of chosen keys' values; see Sizes.
extern "C" void forward(const View* view, const Lists* lists, const real* gates, const Sizes* sizes) {
    const View &q = view[0], &k = view[1], &v = view[2], &y = view[3];
    const integer heads = sizes->heads, group = sizes->group, units = sizes->rows * heads;
    const real scale = 1 / std::sqrt(real(WIDTH));
#pragma omp parallel num_threads(sizes->threads)
    {
        Work work(sizes->keys);
        real* weights = work.weights.data();
#pragma omp for
        for (integer unit = 0; unit < units; ++unit) {
            const integer row = unit / heads, head = unit % heads;
            for (integer t = 0; t < sizes->queries; ++t) {
                const real* gate = gates + (row * sizes->queries + t) * lists->k;
                for (integer g = head * group; g < (head + 1) * group; ++g) {
                    if (g == head * group || lists->patterns > 1) work.list(*lists, row, g, t, *sizes);
                    multiply(scale * Row::read(q.at(row, g, t)), k.at(row, head), k.time, work, weights);
                    const real share = exponentials(work);
                    if (sizes->gates == SOFT)
                        for (integer i = 0; i < work.far; ++i) weights[i] *= gate[i];
                    Row mixed = mix(weights, v.at(row, head), v.time, work);
                    mixed *= share;
                    mixed.write(y.at(row, g, t));
                }
            }
        }
    }
}

// The views: q k v d_y d_q d_k d_v; d_k and d_v hold zeros.
extern "C" void backward(const View* view, const Lists* lists, const real* gates, real* d_gates, const Sizes* sizes) {
    const View &q = view[0], &k = view[1], &v = view[2], &d_y = view[3], &d_q = view[4], &d_k = view[5],
               &d_v = view[6];
    const integer heads = sizes->heads, group = sizes->group, units = sizes->rows * heads, places = lists->k;
    const integer step = sizes->gates == NONE ? sizes->queries : QUERIES;
    const real scale = 1 / std::sqrt(real(WIDTH));
    std::vector<real> shares(sizes->gates == NONE ? 0 : units * step * places);  // of the heads in the gates' gradients
#pragma omp parallel num_threads(sizes->threads)
    {
        Work work(sizes->keys);
        real *weights = work.weights.data(), *products = work.products.data();
        for (integer begin = 0; begin < sizes->queries; begin += step) {
            const integer end = std::min(sizes->queries, begin + step);
#pragma omp for schedule(static)
            for (integer unit = 0; unit < units; ++unit) {
                const integer row = unit / heads, head = unit % heads;
                for (integer t = begin; t < end; ++t) {
                    const real* gate = gates + (row * sizes->queries + t) * places;
                    real* share = shares.data() + (unit * step + t - begin) * places;
                    if (sizes->gates != NONE) std::fill(share, share + places, 0);
                    for (integer g = head * group; g < (head + 1) * group; ++g) {
                        if (g == head * group || lists->patterns > 1) work.list(*lists, row, g, t, *sizes);
                        const Row query = scale * Row::read(q.at(row, g, t)), given = Row::read(d_y.at(row, g, t));
                        multiply(query, k.at(row, head), k.time, work, weights);
                        const real part = exponentials(work);
                        for (integer i = 0; i < work.number; ++i) weights[i] *= part;
                        multiply(given, v.at(row, head), v.time, work, products);
                        if (sizes->gates != NONE)
                            for (integer i = 0; i < work.far; ++i) share[i] += weights[i] * products[i];
                        if (sizes->gates == SOFT)
                            for (integer i = 0; i < work.far; ++i) products[i] *= gate[i];
                        to_scores(work);
                        Row of_query = mix(products, k.at(row, head), k.time, work);
                        of_query *= scale;
                        of_query.write(d_q.at(row, g, t));
                        scatter(products, query, d_k.at(row, head), d_k.time, work);
                        if (sizes->gates == SOFT)
                            for (integer i = 0; i < work.far; ++i) weights[i] *= gate[i];
                        scatter(weights, given, d_v.at(row, head), d_v.time, work);
                    }
                }
            }
            if (sizes->gates == NONE) continue;
#pragma omp for schedule(static)
            for (integer place = 0; place < sizes->rows * (end - begin); ++place) {
                const integer row = place / (end - begin), t = begin + place % (end - begin);
                real* to = d_gates + (row * sizes->queries + t) * places;
                for (integer head = 0; head < heads; ++head) {
                    const real* share = shares.data() + ((row * heads + head) * step + t - begin) * places;
                    for (integer i = 0; i < places; ++i) to[i] = head ? to[i] + share[i] : share[i];
                }
            }
        }
    }
}
