"""What finished runs and corpora show: tables, curves, comparisons, pages, scaling laws, what the notebooks measure."""
