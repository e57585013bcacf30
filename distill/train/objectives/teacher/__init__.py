"""Terms that learn how similar the teacher finds the texts of a batch."""
