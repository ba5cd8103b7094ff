"""Encoders: models, configuration, training and metrics."""
