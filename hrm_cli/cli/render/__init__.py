"""What commands print: tables, grids, paragraphs."""
