"""Information captured by neural networks: memorization, sample information, generalization bounds, distillation."""
