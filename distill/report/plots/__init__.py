"""The report's plots: matplotlib draws, the page's style sheet colours."""
