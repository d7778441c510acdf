"""One folder per domain: rules, tokens, text formats, symmetries, generators. Knows no torch and no models."""
