"""Search the learning rate and other options of a method."""
