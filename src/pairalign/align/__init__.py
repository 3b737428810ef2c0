"""Stage one: latents, objectives, anchor cache, the Lightning task and its run."""
