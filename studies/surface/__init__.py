"""Study `surface`: scores over learning rates, and methods compared each at its own best rate."""
