"""A comparison from experiment to record: `experiment`, `compare`, `block_taker`, `rounds`, `schedule`, `fold`, in that order."""
