"""A small program for each limiter: it does what `line_protocol` asks, with the Python and the packages of that limiter alone."""
