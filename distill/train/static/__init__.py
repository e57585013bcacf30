"""The token vectors that a static student begins with."""
