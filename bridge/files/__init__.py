"""Exchange files: what other programs of the field write, read with checks, and what they can read, written."""
