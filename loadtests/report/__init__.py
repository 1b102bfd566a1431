"""Reports of a comparison: `page` (one HTML file), `markdown`, `card` (terminal). They add nothing to the `Result` they read."""
