"""What clients asked of a running design and what they were told, as a file that any checker can read."""
