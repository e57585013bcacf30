"""A trained student made ready for use elsewhere."""
