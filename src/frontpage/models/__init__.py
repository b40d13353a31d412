"""Architectures, one a file; what they share: `block`, `norms`, `initialisation`, `language_module`."""
