"""Architectures, one a file; what they share: `decoder`, `block`, `norms`, `initialisation`, `language_module`."""
