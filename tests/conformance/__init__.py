"""One set of scenarios, three subjects: the core alone, our command on sockets, the Go servers."""
