"""A small web page to try runs with, served to this machine only by Python's own server."""
