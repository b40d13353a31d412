"""What a net of several tasks can learn beside the next token, one task a file."""
