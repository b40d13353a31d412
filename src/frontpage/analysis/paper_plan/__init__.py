"""Runs of many GPUs planned on paper: `plan` asks the estimates of memory and operations, `page` is docs/scale.md."""
