"""Everything that is looked at: traces, drawings, pictures, charts."""
