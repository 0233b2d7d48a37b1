"""What a hostile or careless operator and their clients do to a real server process."""
