"""What `benchmarks/generate.py` compares, an engine a file: `compare(quick) -> figures`."""
