"""What computations take of time and memory, each beside the plainest way to do it."""
