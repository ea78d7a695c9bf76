"""Training on many processes: launch them, split the batch (DDP), then the model states (ZeRO-1, -2, -3), and count the bytes and the traffic."""
