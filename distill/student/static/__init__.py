"""A student without a transformer: the mean of a vector for each token of a text."""
