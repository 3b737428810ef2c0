"""What turns a sensor's latents into vectors of the language model's embedding size."""
