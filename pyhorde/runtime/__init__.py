"""Processes: what they are, who runs them, how they are called, moved and remembered."""
