"""Questions whose answers are known: arithmetic modulo a prime."""
