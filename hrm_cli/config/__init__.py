"""Configuration: schema, presets, overrides, validation. Does not import torch."""
