"""Real client libraries against real servers: ours on both backends, and the Go releases."""
