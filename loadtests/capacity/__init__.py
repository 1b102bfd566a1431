"""How much a variant can take: `find` asks, `knee` searches, `usl` fits, `limiter` says who stood in the way."""
