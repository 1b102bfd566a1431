"""`designs bench limiter`: what a decision costs Redis, here and with the public Python limiters, and who keeps the limit."""
