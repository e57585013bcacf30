"""Words and sentences of text in any script."""
