"""A whole run: train what is missing and store its records."""
