"""What sets of vectors say about a net: how alike two are, and how classes of texts lie in one. All in fp64."""
