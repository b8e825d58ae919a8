"""One schedule template an operator class: tiled TIR for the cluster from a kernel computation."""
