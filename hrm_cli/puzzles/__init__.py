"""One folder per domain: rules, tokens, text formats, symmetries, generators. Independent of torch and of models."""
