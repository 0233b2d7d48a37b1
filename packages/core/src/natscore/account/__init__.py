"""What belongs to one account."""
