"""A project to begin with: encoder, both configurations, made-up rows, a test and the commands: `pairalign init`."""
