"""A run's report: one HTML file that reads without a network, and the same as Markdown."""
