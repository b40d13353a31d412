"""Parallel text: the same passages in several translations, and where it comes from.

`text` is what all of it becomes, `read` chooses among the formats that are read, `synthetic_text` generates one.
"""
