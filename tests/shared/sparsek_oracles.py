"""What the tests of SparseK share: scores, documents, and the operator as a sort and a bisection of each prefix."""

import torch

FIGURE = [1.6, -2.0, 0.2, 1.0, 0.6, 3.0, 0.0, 2.8, 2.4]
KNOBS = [(1, 1), (2, 3), (3, 1), (4, 8), (8, 4), (5, 0), (24, 2), (1, 24)]  # k and window


def normal(*shape, seed=3, scale=2.0):
    return scale * torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def packed_ids():
    lengths = [[1, 5, 19, 15], [30, 1, 1, 8]]
    return torch.stack([torch.repeat_interleave(torch.arange(4), torch.tensor(row)) for row in lengths])


def bisected(scores, k):
    """Gates of a list of scores: the threshold by 70 halvings."""
    if len(scores) <= k:
        return [1.0] * len(scores)
    low, high = min(scores) - 1, max(scores)
    for _ in range(70):
        middle = (low + high) / 2
        enough = sum(min(max(score - middle, 0), 1) for score in scores) >= k
        low, high = (middle, high) if enough else (low, middle)
    return [min(max(score - low, 0), 1) for score in scores]


def best(scores, k):
    """The places of the k largest of a list of scores, the newer first among equals."""
    return set(sorted(range(len(scores)), key=lambda place: (-scores[place], -place))[:k])


def naive(scores, k, window, ids):
    """Gates and choice (T, T) of one row, for each query by itself."""
    time = len(scores)
    gates, chosen = torch.zeros(time, time), torch.zeros(time, time, dtype=torch.bool)
    for query in range(time):
        seen = [token for token in range(query - window + 1) if ids is None or ids[token] == ids[query]]
        own = [float(scores[token]) for token in seen]
        for place, gate in enumerate(bisected(own, k)):
            gates[query, seen[place]] = gate
            chosen[query, seen[place]] = place in best(own, k)
    return gates, chosen
