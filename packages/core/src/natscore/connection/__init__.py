"""What each kind of connection accepts and answers."""
