"""What sets of vectors say about a net: how alike two are, and how classes of texts lie in one. All in fp64."""

from frontpage.evaluation.representations.cka import linear_cka
from frontpage.evaluation.representations.procrustes import disparity as procrustes_disparity
from frontpage.evaluation.representations.silhouettes import silhouette
from frontpage.evaluation.representations.spectrum import effective_rank

__all__ = ["effective_rank", "linear_cka", "procrustes_disparity", "silhouette"]
