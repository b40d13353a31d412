"""Architectures, one a file, and text drawn from them; shared: `decoder`, `block`, `norms`, `initialisation`."""
