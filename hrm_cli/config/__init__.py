"""Configuration: schema, presets and overrides. Knows no torch."""
