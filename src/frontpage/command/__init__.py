"""From the command line to objects and messages: composing, checking and building a config, errors, exit statuses."""
