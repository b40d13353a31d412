"""Fixed texts of the validation set, as monitors read a net's states on them, and the classes they fall into."""
