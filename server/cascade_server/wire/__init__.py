"""Messages to values and back: rows of our own protocol, tensors of the Open Inference Protocol."""
