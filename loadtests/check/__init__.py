"""One run of a design under faults, and the verdict on its history."""
