"""What may be said of measured blocks: `statistics` and `two_samples` are the methods, `findings` the conclusions."""
