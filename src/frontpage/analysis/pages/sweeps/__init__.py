"""One study of trials as one page: reading it, drawing it, scoring its winner on titles that it was not chosen on."""
