"""Configuration: schema, presets, overrides, validation. Knows no torch."""
