"""K replicas of the trainable parameters as matrices: storage, optimizer, dropout, CUDA graphs."""
