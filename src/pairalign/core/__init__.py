"""The foundations: the encoder contract, registry, configuration, errors and types."""
