"""What belongs to an account, and what its users may do."""
