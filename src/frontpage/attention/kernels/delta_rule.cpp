// The gated delta rule on a CPU, token after token, with a state that stays in the nearest cache (delta_rule.py has the
// formula; delta_kernel.py compiles this file for REAL, float or double, keys of KEY_WIDTH and values of VALUE_WIDTH
// numbers).
//
// Heads of keys and values are independent: each is one unit of work, so the result does not depend on the threads. The
// gradient needs sums over both sides of a state; it keeps the state's gradient and the same turned, so that every loop
// runs along memory.

#include <algorithm>
#include <memory>

#include "lanes.hpp"

constexpr integer D = KEY_WIDTH, E = VALUE_WIDTH;
constexpr integer MARK_EVERY = MARK;  // tokens; the states between marks are computed again in the backward pass

struct Sizes {
    integer rows, heads, group, time, threads;  // `group` heads of q share a head of k and v
};

using Key = Vector<D>;
using Value = Vector<E>;
using State = Value[D];
using Turned = Key[E];

static void read(State& state, const real* from) {
    for (integer d = 0; d < D; ++d) state[d] = Value::read(from + d * E);
}

static void write(const State& state, real* to) {
    for (integer d = 0; d < D; ++d) state[d].write(to + d * E);
}

static void turn(Turned& state, const real* from) {
    for (integer e = 0; e < E; ++e) {
        real column[D];
        for (integer d = 0; d < D; ++d) column[d] = from[d * E + e];
        state[e] = Key::read(column);
    }
}

// S' x, what a key or a query reads.
static Value reading(const real* x, const State& state) {
    Value y = Value::zeros();
    for (integer d = 0; d < D; ++d) y += x[d] * state[d];
    return y;
}

struct Forward {
    State state;
};

// For each token: S = decay S; change = v - S' k; S += k (write change)'; o = S' q.
// The views: q k v decay write state o change marks. `state` is read and overwritten; `marks` get it every MARK tokens.
extern "C" void forward(const View* view, const Sizes* sizes) {
    const View &q = view[0], &k = view[1], &v = view[2], &decay = view[3], &write_share = view[4], &states = view[5],
               &o = view[6], &changes = view[7], &marks = view[8];
    const integer heads = sizes->heads, group = sizes->group, units = sizes->rows * heads;
#pragma omp parallel num_threads(sizes->threads)
    {
        const auto work = std::make_unique<Forward>();
        State& state = work->state;
#pragma omp for
        for (integer unit = 0; unit < units; ++unit) {
            const integer row = unit / heads, head = unit % heads;
            read(state, states.at(row, head));
            for (integer t = 0; t < sizes->time; ++t) {
                if (t % MARK_EVERY == 0) write(state, marks.at(row, head, t / MARK_EVERY));
                const real kept = *decay.at(row, head, t), share = *write_share.at(row, head, t);
                const real* key = k.at(row, head, t);
                Value change = Value::read(v.at(row, head, t));
                change -= kept * reading(key, state);
                change.write(changes.at(row, head, t));
                change *= share;
                for (integer d = 0; d < D; ++d) {
                    state[d] *= kept;
                    state[d] += key[d] * change;
                }
                for (integer g = head * group; g < (head + 1) * group; ++g)
                    reading(q.at(row, g, t), state).write(o.at(row, g, t));
            }
            write(state, states.at(row, head));
        }
    }
}

struct Backward {
    State gradient;  // of the state, and the same turned
    Turned turned;
    Turned past[MARK_EVERY + 1];  // the states before and after each token since a mark
};

// The views: q k decay write change marks d_o d_state d_q d_k d_v d_decay d_write. `d_state` is read and overwritten.
extern "C" void backward(const View* view, const Sizes* sizes) {
    const View &q = view[0], &k = view[1], &decay = view[2], &write_share = view[3], &changes = view[4],
               &marks = view[5], &d_o = view[6], &d_states = view[7], &d_q = view[8], &d_k = view[9], &d_v = view[10],
               &d_decay = view[11], &d_write = view[12];
    const integer heads = sizes->heads, group = sizes->group, units = sizes->rows * heads;
#pragma omp parallel num_threads(sizes->threads)
    {
        const auto work = std::make_unique<Backward>();
        State& gradient = work->gradient;
        Turned& turned = work->turned;
#pragma omp for
        for (integer unit = 0; unit < units; ++unit) {
            const integer row = unit / heads, head = unit % heads;
            read(gradient, d_states.at(row, head));
            turn(turned, d_states.at(row, head));
            for (integer mark = (sizes->time + MARK_EVERY - 1) / MARK_EVERY - 1; mark >= 0; --mark) {
                const integer begin = mark * MARK_EVERY, end = std::min(sizes->time, begin + MARK_EVERY);
                turn(work->past[0], marks.at(row, head, mark));
                for (integer t = begin; t < end; ++t) {  // the states once more
                    const real kept = *decay.at(row, head, t), share = *write_share.at(row, head, t);
                    const real* change = changes.at(row, head, t);
                    const Turned& before = work->past[t - begin];
                    Turned& after = work->past[t - begin + 1];
                    const Key key = Key::read(k.at(row, head, t));
                    for (integer e = 0; e < E; ++e) {
                        after[e] = kept * before[e];
                        after[e] += (share * change[e]) * key;
                    }
                }
                for (integer t = end - 1; t >= begin; --t) {
                    const real kept = *decay.at(row, head, t), share = *write_share.at(row, head, t);
                    const Turned &before = work->past[t - begin], &after = work->past[t - begin + 1];
                    for (integer g = head * group; g < (head + 1) * group; ++g) {  // o = S' q
                        const real *query = q.at(row, g, t), *up = d_o.at(row, g, t);
                        const Key asked = Key::read(query);
                        const Value given = Value::read(up);
                        Key of_query = Key::zeros();
                        for (integer e = 0; e < E; ++e) {
                            of_query += up[e] * after[e];
                            turned[e] += up[e] * asked;
                        }
                        for (integer d = 0; d < D; ++d) gradient[d] += query[d] * given;
                        of_query.write(d_q.at(row, g, t));
                    }
                    const real *key = k.at(row, head, t), *change = changes.at(row, head, t);
                    real* of_value = d_v.at(row, head, t);
                    Value taken = reading(key, gradient);  // of write * change, then of change, which is v - S' k
                    *d_write.at(row, head, t) = (taken * Value::read(change)).sum();
                    taken *= share;
                    taken.write(of_value);
                    const Key stored = Key::read(key);
                    Key of_key = Key::zeros(), of_decay = Key::zeros();
                    for (integer e = 0; e < E; ++e) {
                        of_key += (share * change[e]) * turned[e];
                        of_key -= (kept * of_value[e]) * before[e];
                        turned[e] -= of_value[e] * stored;  // now of decay * before
                        of_decay += turned[e] * before[e];
                        turned[e] *= kept;
                    }
                    of_key.write(d_k.at(row, head, t));
                    *d_decay.at(row, head, t) = of_decay.sum();
                    for (integer d = 0; d < D; ++d) {
                        gradient[d] -= key[d] * taken;
                        gradient[d] *= kept;
                    }
                }
            }
            write(gradient, d_states.at(row, head));
        }
    }
}
