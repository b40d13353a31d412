"""Models for other programs: what a run has learned, in the layouts of transformers, llama.cpp, or our own names."""
