"""How replicas keep up with each other: pushes, anti-entropy, acknowledgements."""
