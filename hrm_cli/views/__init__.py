"""Visual output: traces, drawings, pictures, charts."""
