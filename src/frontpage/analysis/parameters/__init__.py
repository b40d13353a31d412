"""The page of all parameters: read from the config files and from the signatures that take their values."""
