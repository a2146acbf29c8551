"""Cold rooms, refrigerators, vehicles, and the probes in them."""
