"""What tests and benchmarks share: real servers and a raw client."""
