"""Known-bad variants that really run, and the faults that give each away: the proof that the checker sees."""
