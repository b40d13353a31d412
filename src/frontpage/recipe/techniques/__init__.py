"""Techniques of training: what training descends in place of the next token's nats, one idea a file."""
