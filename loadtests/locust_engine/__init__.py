"""What every Locust file of a design shares. Importing Locust patches the interpreter, so this runs in Locust's own process."""
