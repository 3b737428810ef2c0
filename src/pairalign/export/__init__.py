"""Ship a sensor: what leaves the machine, and the proof of what it leaves untouched."""
