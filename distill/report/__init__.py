"""A run's report as one HTML file that reads without a network."""
