"""Permissions, judged twice: by a server, and by brute force from the text of the specification."""
