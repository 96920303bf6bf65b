"""Memory and time of a method: measured, and predicted."""
