"""In what a run keeps its weights and multiplies them: `precision=...`, a mode a config; first `mode`."""
