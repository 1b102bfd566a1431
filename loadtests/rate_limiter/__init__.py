"""The load of the rate limiter: who asks it (`mixes`), what it promises (`promises`), what came of it (`judge`), what it cost."""
