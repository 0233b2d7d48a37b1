"""What passes between servers: interest, discovery, whom to dial."""
