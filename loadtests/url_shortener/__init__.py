"""The load of the URL shortener: who asks it for what (`mixes`), what must hold (`history`), and what is counted (`counters`)."""
