// What SparseK lets each query see, token after token, on a CPU, and the gradient of its gates (sparsek_choice.py
// compiles this file for REAL, float or double, and says what its tensors are).
//
// Rows are units of work, so that the result does not depend on the threads. Sums are kept in double or better, because
// thousands of scores go in and out of them.

#include <algorithm>
#include <cmath>
#include <limits>
#include <queue>
#include <vector>

#include "lanes.hpp"

using Token = std::int32_t;
constexpr real INFINITE = std::numeric_limits<real>::infinity();

// A sum that remembers what rounding takes from it.
struct Sum {
    double total = 0, lost = 0;
    void add(double x) {
        const double sum = total + x, kept = sum - total;
        lost += (total - (sum - kept)) + (x - kept);
        total = sum;
    }
    double value() const { return total + lost; }
};

// The candidates of one document's queries, which only grow in number.
//
// The k largest scores are a heap; what leaves it never returns. The threshold only rises. Scores above it are
// `interior`, less than 1 above, or `saturated`; a score moves from saturated to interior to gone, each time at a value
// of the threshold that is known, so that the next value is always at the top of a heap.
class Candidates {
   public:
    explicit Candidates(integer k) : k_(k) {}

    void add(real score, Token token) {
        if (std::isnan(score)) score = INFINITE;  // where a sort has it; without an order no heap would be one
        best_.push({score, token});
        held_.push_back(token);
        if (score > bound_) saturated_.push(score);  // or soon interior
        ++number_;
        if (number_ > k_) {
            const auto [least, out] = best_.top();
            best_.pop();
            held_.erase(std::lower_bound(held_.begin(), held_.end(), out));
            best_out_ = std::max(best_out_, least);
            rise();
        }
    }

    const std::vector<Token>& chosen() const { return held_; }  // ascending

    real threshold() {  // never falls, by not so much as its rounding
        if (number_ <= k_) return -INFINITE;
        const real worst_in = best_.top().first;
        // With a step of 1 or more the k largest have gate 1, and any threshold between will do.
        const bool apart = interior_.empty() || worst_in - best_out_ >= 1;
        return reported_ = std::max(reported_, apart ? (worst_in - 1 + best_out_) / 2 : real(solution()));
    }

   private:
    template <typename T>
    using Least = std::priority_queue<T, std::vector<T>, std::greater<T>>;

    double solution() const {
        return (sum_.value() + (double(saturated_.size()) - double(k_))) / double(interior_.size());
    }

    void rise() {
        while (true) {
            const double falls = interior_.empty() ? INFINITE : interior_.top();
            const double opens = saturated_.empty() ? INFINITE : double(saturated_.top()) - 1;
            const double next = std::min(falls, opens), inside = double(interior_.size());
            // The gates' sum where the threshold is `next`: up to there it falls along a line.
            if (!(next < INFINITE) || !(sum_.value() - next * inside + double(saturated_.size()) > double(k_))) break;
            bound_ = std::max(bound_, next);
            if (falls <= opens) {
                sum_.add(-falls);
                interior_.pop();
            } else {
                sum_.add(saturated_.top());
                interior_.push(saturated_.top());
                saturated_.pop();
            }
        }
    }

    integer k_, number_ = 0;
    std::vector<Token> held_;
    Least<std::pair<real, Token>> best_;  // the older of equal scores first
    real best_out_ = -INFINITE, reported_ = -INFINITE;
    double bound_ = -INFINITE;  // what is not above it never counts again
    Least<real> interior_, saturated_;
    Sum sum_;  // of the interior scores
};

// What is not told from 0 in a difference from a score: a threshold that equals it is a sum and may miss it by rounding.
static real rounding(real score) {
    return 8 * std::numeric_limits<real>::epsilon() * std::max(real(1), std::abs(score));
}

struct Sizes {
    integer rows, tokens, queries, window, k, columns, begins, threads;  // `begins`: the stride of the rows of `first`
};

// scores (rows, tokens), first (rows or 1, tokens) -> chosen (rows, queries, columns), count and thresholds (rows,
// queries) of the last queries.
extern "C" void choose(const real* scores, const integer* first, Token* chosen, Token* count, real* thresholds,
                       const Sizes* sizes) {
#pragma omp parallel for num_threads(sizes->threads) schedule(static)
    for (integer row = 0; row < sizes->rows; ++row) {
        const real* score = scores + row * sizes->tokens;
        const integer *begin = first + row * sizes->begins, before = sizes->tokens - sizes->queries;
        Candidates candidates(sizes->k);
        for (integer t = 0; t < sizes->tokens; ++t) {
            if (t > 0 && begin[t] != begin[t - 1]) candidates = Candidates(sizes->k);
            const integer token = t - sizes->window;
            if (token >= begin[t]) candidates.add(score[token], Token(token));
            if (t < before) continue;
            const integer query = row * sizes->queries + t - before;
            const std::vector<Token>& held = candidates.chosen();
            Token* end = std::copy(held.begin(), held.end(), chosen + query * sizes->columns);
            std::fill(end, chosen + (query + 1) * sizes->columns, 0);
            count[query] = Token(held.size());
            thresholds[query] = candidates.threshold();
        }
    }
}

// The gradient of the gates of chosen tokens, d_gates (rows, queries, columns), becomes that of the scores (rows,
// tokens), all of which are queries. A query takes the mean over its interior tokens off from each of them; a token is
// interior for neighbouring queries, because their threshold only rises, so differences of running sums are enough.
extern "C" void gradient(const real* scores, const integer* first, const Token* chosen, const Token* count,
                         const real* thresholds, const real* d_gates, real* d_scores, const Sizes* sizes) {
#pragma omp parallel for num_threads(sizes->threads) schedule(static)
    for (integer row = 0; row < sizes->rows; ++row) {
        const integer tokens = sizes->tokens;
        const real *score = scores + row * tokens, *threshold = thresholds + row * tokens;
        const integer* begin = first + row * sizes->begins;
        std::vector<integer> enters(tokens), leaves(tokens);
        std::vector<double> inside, taken, sums(tokens);
        for (integer opens = 0, ends; opens < tokens; opens = ends) {  // a document
            for (ends = opens + 1; ends < tokens && begin[ends] == begin[opens];) ++ends;
            inside.assign(ends - opens + 1, 0);
            for (integer j = opens; j < ends; ++j) {
                const real *from = threshold + std::min(j + sizes->window, ends), *to = threshold + ends, s = score[j];
                const real none = rounding(s);
                from = std::partition_point(from, to, [=](real limit) { return !(s - limit < 1 - none); });
                enters[j] = from - threshold;
                leaves[j] = std::partition_point(from, to, [=](real limit) { return s - limit > none; }) - threshold;
                if (enters[j] == leaves[j]) continue;
                ++inside[enters[j] - opens];
                --inside[leaves[j] - opens];
            }
            std::fill(sums.begin() + opens, sums.begin() + ends, 0);
            taken.assign(ends - opens + 1, 0);  // the sum of the means of the queries before
            double number = 0;
            for (integer t = opens; t < ends; ++t) {
                number += inside[t - opens];
                const integer query = row * tokens + t;
                double all = 0;
                for (integer i = 0; i < count[query]; ++i) {
                    const Token token = chosen[query * sizes->columns + i];
                    const real gate = score[token] - threshold[t], part = d_gates[query * sizes->columns + i];
                    const real none = rounding(score[token]);
                    if (!(gate > none && gate < 1 - none)) continue;
                    sums[token] += part;
                    all += part;
                }
                taken[t - opens + 1] = taken[t - opens] + (number > 0 ? all / number : 0);
            }
            for (integer j = opens; j < ends; ++j)
                d_scores[row * tokens + j] = sums[j] - (taken[leaves[j] - opens] - taken[enters[j] - opens]);
        }
    }
}
